"""`manage.py status`: whether the pipeline is well, and if not, what stops it."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.conf import settings

from notify.management import exit_codes
from notify.management.answering import AnsweringCommand, CommandResult
from notify.management.table import duration, table
from notify.monitoring.findings import cure_of
from notify.monitoring.partition_state import ABOUT, TROUBLE, PartitionState, state_sentence
from notify.operations.status import HOT_SECONDS, PartitionStatus, PipelineStatus, read

UNKNOWN: Final = "unknown"
_COLUMNS: Final = 80
_APP_CHARS: Final = 19
#: What --json says of a partition, besides the lanes that it waits for.
_PARTITION: Final = (
    "partition", "state", "planned", "frontier", "log_end", "lag_messages", "unplanned_messages",
    "lag_seconds", "window_offsets", "ticked_ago_seconds", "waiting_seconds", "lanes", "lanes_wanted",
    "halted",
)  # fmt: skip


class Command(AnsweringCommand):
    """Show the state of every partition."""

    help = (
        "Show the state and the lag of every partition, the lanes that it waits for, and the records "
        "with most updates. LAG counts messages that are not known to be applied; UNPLANNED counts "
        "those of them that are not even decided. Values that only Kafka has are `unknown` while it "
        "does not answer."
    )

    def answer(self, _options: Mapping[str, Any], /) -> CommandResult:
        """The status as text and as data."""
        status = read(settings.KAFKA_BOOTSTRAP_SERVERS)
        code = exit_codes.OK if status.is_fine else exit_codes.ATTENTION
        if status.kafka_error is not None:
            code = exit_codes.AWAY
        return CommandResult("\n\n".join(_sections(status)), _data(status), code)


def _sections(status: PipelineStatus) -> Iterator[str]:
    yield _summary(status)
    if status.kafka_error is not None:
        yield textwrap.fill(f"Kafka: {status.kafka_error}", _COLUMNS)
    yield _partitions(status)
    yield from _troubles(status)
    lanes = _lanes(status)
    if lanes:
        yield lanes
    yield _top_records(status)


def _summary(status: PipelineStatus) -> str:
    lags = [each.lag_messages for each in status.partitions]
    ages = [each.lag_seconds for each in status.partitions]
    lag = UNKNOWN if None in lags else f"{sum(lag or 0 for lag in lags):,} messages"
    age = UNKNOWN if None in ages else duration(max((age or 0.0 for age in ages), default=0.0))
    troubled = sum(each.state in TROUBLE for each in status.partitions)
    health = f"{troubled} of them in trouble" if troubled else "all well"
    return (
        f"Topic {status.topic.name}: {len(status.partitions)} partitions, {health}\n"
        f"Lag {lag}, time lag {age}"
    )


def _partitions(status: PipelineStatus) -> str:
    header = ("PART", "STATE", "LAG", "TIME LAG", "UNPLANNED", "WINDOW", "LANES", "TICKED")
    rows = [
        (
            str(each.partition),
            each.state,
            _count(each.lag_messages),
            UNKNOWN if each.lag_seconds is None else duration(each.lag_seconds),
            _count(each.unplanned_messages),
            _count(each.window_offsets),
            _lane_count(each),
            "never" if each.ticked_ago_seconds is None else duration(each.ticked_ago_seconds),
        )
        for each in status.partitions
    ]
    return table(header, rows, right=(0, 2, 3, 4, 5, 6, 7))


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def _lane_count(each: PartitionStatus) -> str:
    if each.lanes == each.lanes_wanted:
        return str(each.lanes)
    return f"{each.lanes} to {each.lanes_wanted}"


def _troubles(status: PipelineStatus) -> Iterator[str]:
    """A paragraph for each state that is trouble, and for each reason of a halt: which partitions, since
    when, and what to do."""
    alike: dict[tuple[PartitionState, str | None], list[PartitionStatus]] = {}
    for each in status.partitions:
        if each.state in TROUBLE:
            alike.setdefault((each.state, each.halted), []).append(each)
    for (state, _), partitions in alike.items():
        said = state_sentence([each.now for each in partitions], state)
        more = f"More: docs/operations.md, {ABOUT[state].section!r}."
        text = " ".join(filter(None, (said, cure_of(state.value, said), more)))
        yield textwrap.fill(text, _COLUMNS, break_on_hyphens=False)


def _lanes(status: PipelineStatus) -> str:
    rows = [
        (
            str(each.partition),
            f"{lane.lane:02d}",
            duration(lane.waiting_seconds),
            str(lane.tries),
            _app_name(status, lane.app),
            lane.record,
        )
        for each in status.partitions
        for lane in each.lanes_behind or ()
    ]
    untold = [str(each.partition) for each in status.partitions if each.lanes_behind is None]
    told = f"Lanes behind: {UNKNOWN} for partition {', '.join(untold)}" if untold else ""
    if not rows:
        return textwrap.fill(told, _COLUMNS)
    listed = table(("PART", "LANE", "WAITS", "TRIES", "APP", "RECORD"), rows, right=(0, 1, 2, 3))
    return "\n".join(filter(None, ("Lanes that their partition waits for", listed, told)))


def _top_records(status: PipelineStatus) -> str:
    title = f"Top records of the last {HOT_SECONDS} s"
    if not status.top_records:
        return f"{title}: none"
    rows = [
        (
            f"{top.direct + top.mirrored:,}",
            f"{top.mirrored / max(1, top.direct + top.mirrored):.0%}",
            _app_name(status, top.app),
            top.record,
        )
        for top in status.top_records
    ]
    return f"{title}\n" + table(("UPDATES", "MIRRORED", "APP", "RECORD"), rows, right=(0, 1))


def _app_name(status: PipelineStatus, app: str) -> str:
    name = status.app_names.get(app, app)
    return name if len(name) <= _APP_CHARS else name[: _APP_CHARS - 1] + "…"


def _data(status: PipelineStatus) -> dict[str, Any]:
    return {
        "topic": status.topic.name,
        "topic_id": str(status.topic.id),
        "fine": status.is_fine and status.kafka_error is None,
        "kafka_error": status.kafka_error,
        "partitions": [_partition_data(status, each) for each in status.partitions],
        "top_records_seconds": HOT_SECONDS,
        "top_records": [
            {**top._asdict(), "app_name": status.app_names.get(top.app)}
            for top in status.top_records
        ],
    }


def _partition_data(status: PipelineStatus, each: PartitionStatus) -> dict[str, Any]:
    lanes = each.lanes_behind
    return {name: getattr(each, name) for name in _PARTITION} | {
        "lanes_behind": lanes
        and [{**lane._asdict(), "app_name": status.app_names.get(lane.app)} for lane in lanes],
    }
