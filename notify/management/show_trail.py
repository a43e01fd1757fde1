"""The way of updates as text for a person, and as data for a program."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from notify.domain.records.decide import LINK_REFUSED, MIRROR_STOPPED, SKIPPED
from notify.management.table import duration, table
from notify.operations.trail.facts import DeadFacts, DroppedFacts, RecordFacts
from notify.operations.trail.join import OWN, Dropped, Passage, Trail, UpdateState
from notify.operations.trail.lines import BatchEvent, Writer
from notify.telemetry.redaction import redacted

_SAID: Final = {
    UpdateState.APPLIED: "applied",
    UpdateState.SKIPPED: "skipped, so not applied",
    UpdateState.DEAD_LETTERED: "dead-lettered",
    UpdateState.WAITING: "decided, but not applied yet",
    UpdateState.UNDECIDED: "in Kafka, but not decided yet",
    UpdateState.UNKNOWN: "result unknown",
}
_WHY: Final = {
    SKIPPED: "a skip rule drops its updates",
    LINK_REFUSED: "the link to it was refused: it has reached its link limit",
    MIRROR_STOPPED: "not mirrored to it: it has more children than its link limit allows",
}
#: Attributes whose text may contain values of an update.
_ERRORS: Final = ("error", "halted")
Row = tuple[str, str, str, str]


def text(trail: Trail, app_name: str | None) -> str:
    """The trail as text: a heading, and a table of steps with the time that each took."""
    accepted = trail.accepted
    app = accepted.app if app_name is None else f"{app_name} ({accepted.app})"
    head = [
        f"Update {accepted.trace_id}: {_SAID[trail.state]}",
        f"app {app}, record {accepted.record}",
        f"partition {accepted.partition}, offset {accepted.offset}",
    ]
    if accepted.message_id is not None:
        head[-1] += f", message {accepted.message_id}"
    foot = []
    if trail.ended_at is not None:
        foot.append(f"From ack to row: {_took(accepted.at, trail.ended_at)}")
    if trail.halted is not None:
        foot.append(f"Partition {accepted.partition} is halted: {redacted(trail.halted)}")
    return "\n".join(
        [*head, table(("STEP", "WHEN (UTC)", "AFTER", "WHAT"), list(_rows(trail))), *foot]
    )


def _rows(trail: Trail) -> Iterator[Row]:
    accepted, decided = trail.accepted, trail.decided
    yield ("accepted", _when(accepted.at), "", f"acked by Kafka, logged by {accepted.by}")
    before: datetime | None = accepted.at
    if decided is not None:
        chunk = f"with offsets {decided.first}..{decided.next - 1}"
        policy = "" if decided.policy is None else f" under policy {decided.policy}"
        who = "" if decided.by is None else f", by {decided.by}"
        yield ("decided", _when(decided.at), _took(before, decided.at), f"{chunk}{policy}{who}")
        before = decided.at
    elif trail.state is UpdateState.UNDECIDED:
        yield ("decided", "not yet", "", f"{trail.undecided_messages} messages are before it")
        return
    else:
        yield ("decided", "unknown", "", "no log line and no row in plan_log")
    if trail.error is not None:
        yield ("dead-lettered", "", "", redacted(trail.error))
    for dropped in trail.dropped:
        yield ("dropped", "", "", _dropped(dropped))
    for passage in trail.passages:
        yield from _passage(passage, before)


def _dropped(dropped: Dropped) -> str:
    rule = "" if dropped.rule is None else f" (rule {dropped.rule})"
    why = _WHY.get(dropped.reason, dropped.reason) + rule
    if dropped.is_certain:
        return f"record {dropped.record}: {why}"
    return f"record {dropped.record}: {why} (possibly: {dropped.n} updates of its chunk were)"


def _passage(passage: Passage, decided_at: datetime | None) -> Iterator[Row]:
    lane = "lane unknown" if passage.lane is None else f"lane {passage.lane:02d}"
    told = (
        "" if passage.is_recorded else ", as linked now" if passage.role != OWN else ", by its id"
    )
    yield ("write", "", "", f"{lane}: record {passage.record} ({passage.role}{told})")
    before = decided_at
    for each in sorted((*passage.sent, *passage.tries), key=lambda step: step.at):
        what = each.what.replace("_", "-")
        error = "" if each.error is None else f": {redacted(each.error)}"
        yield (what, _when(each.at), _took(before, each.at), f"{_batch(each)}, by {each.by}{error}")
        before = each.at
    yield _end(passage, before)


def _end(passage: Passage, before: datetime | None) -> Row:
    done = passage.done
    if passage.state is UpdateState.DEAD_LETTERED:
        when, took = ("", "") if done is None else (_when(done.at), _took(before, done.at))
        return ("dead-lettered", when, took, redacted(passage.error or ""))
    if done is not None:
        seconds = "" if done.seconds is None else f", {_span(done.seconds)} of work"
        return (
            "applied",
            _when(done.at),
            _took(before, done.at),
            f"{_batch(done)}, by {done.by}{seconds}",
        )
    if passage.state is UpdateState.APPLIED:
        stands = (
            "" if passage.lane_last is None else f": the lane has applied up to {passage.lane_last}"
        )
        return ("applied", "unknown", "", f"no log line says when{stands}")
    if passage.state is UpdateState.WAITING:
        return ("applied", "not yet", "", f"the lane has applied up to {passage.lane_last}")
    return ("applied", "unknown", "", "no log line, and PostgreSQL does not answer")


def _batch(batch: BatchEvent) -> str:
    attempt = "" if batch.attempt in (None, 1) else f", send {batch.attempt}"
    rows = "" if batch.rows is None else f", {batch.rows} row{'s' * (batch.rows != 1)}"
    return f"({batch.prev}..{batch.last}]{rows}{attempt}"


def record_text(facts: RecordFacts, app_name: str | None) -> str:
    """The record's partition, lane and links, and its skipped updates and dead letters, as text."""
    app = facts.app if app_name is None else f"{app_name} ({facts.app})"
    lines = [f"Record {facts.record} of app {app}"]
    if facts.linked.target != facts.record:
        lines.append(f"is an alias of record {facts.linked.target} now")
    stream = facts.stream
    if stream is None or facts.lane is None:
        lines.append(f"partition {facts.partition}: it has no stream: run `manage.py topic check`")
    else:
        last = stream.lasts.get(facts.lane)
        lines.append(
            f"partition {facts.partition}, lane {facts.lane:02d} of {stream.lanes}: applied up to "
            f"offset {last}, all lanes before {stream.frontier}, decided before {stream.planned}"
        )
        if stream.halted is not None:
            lines.append(f"the partition is halted: {redacted(stream.halted)}")
    lines += [f"is mirrored to {parent} by {label}" for label, parent in facts.linked.parents]
    lines += ["Skipped: " + _losses([_skipped(row) for row in facts.dropped])]
    lines += ["Dead letters: " + _losses([_letter(row) for row in facts.dead])]
    return "\n".join(lines)


def _losses(rows: Sequence[Row]) -> str:
    if not rows:
        return "none"
    return f"the newest {len(rows)}\n" + table(("WHEN (UTC)", "OFFSETS", "RECORD", "WHY"), rows)


def _skipped(row: DroppedFacts) -> Row:
    rule = "" if row.rule is None else f", rule {row.rule}"
    why = f"{row.reason}{rule}, {row.n} of them"
    return (_when(row.at), f"{row.first}..{row.last}", row.record, why)


def _letter(row: DeadFacts) -> Row:
    return (_when(row.at), str(row.offset), row.record or "", redacted(row.error))


def data(trail: Trail, app_name: str | None) -> dict[str, Any]:
    """The same with stable keys; times are ISO 8601, in UTC."""
    accepted, decided = trail.accepted, trail.decided
    ended = trail.ended_at
    return {
        **_plain(accepted, "trace_id", "app"),
        "app_name": app_name,
        **_plain(accepted, "record", "message_id", "partition", "offset"),
        "state": trail.state,
        "accepted_at": _json(accepted.at),
        "accepted_by": _json(accepted.by),
        "decided": decided and _plain(decided, "at", "first", "next", "policy", "messages", "by"),
        "dropped": [
            {**_plain(each, "record", "reason", "rule"), "certain": each.is_certain}
            for each in trail.dropped
        ],
        "writes": [_passage_data(passage) for passage in trail.passages],
        **_plain(trail, "error", "halted", "undecided_messages"),
        "seconds": None if ended is None else (ended - accepted.at).total_seconds(),
    }


def _passage_data(passage: Passage) -> dict[str, Any]:
    return {
        **_plain(passage, "record", "role", "lane", "state"),
        "recorded": passage.is_recorded,
        "sent": [_batch_data(batch) for batch in passage.sent],
        "tries": [_batch_data(batch) for batch in passage.tries],
        "done": passage.done and _batch_data(passage.done),
        **_plain(passage, "lane_last", "error"),
    }


def _batch_data(batch: BatchEvent) -> dict[str, Any]:
    return _plain(batch, "at", "what", "prev", "last", "attempt", "seconds", "by", "error")


def record_data(facts: RecordFacts, app_name: str | None) -> dict[str, Any]:
    """`record_text` with stable keys."""
    stream = facts.stream
    return {
        "app": facts.app,
        "app_name": app_name,
        "record": facts.record,
        "stands_for": facts.linked.target,
        "mirrored_to": [
            {"label": label, "record": parent} for label, parent in facts.linked.parents
        ],
        "partition": facts.partition,
        "lane": facts.lane,
        "lane_last": None if stream is None or facts.lane is None else stream.lasts.get(facts.lane),
        "planned": stream and stream.planned,
        "frontier": stream and stream.frontier,
        "halted": stream and _json(stream.halted, is_error=True),
        "skipped": [
            _plain(row, "at", "record", "reason", "rule", "first", "last", "n")
            for row in facts.dropped
        ],
        "dead_letters": [
            _plain(row, "id", "at", "offset", "record", "error") for row in facts.dead
        ],
    }


def _plain(of: object, *names: str) -> dict[str, Any]:
    """These attributes, for JSON."""
    return {name: _json(getattr(of, name), is_error=name in _ERRORS) for name in names}


def _json(value: Any, *, is_error: bool = False) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Writer):
        return asdict(value)
    return redacted(value) if is_error and value else value


def _when(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _took(before: datetime | None, at: datetime) -> str:
    """The time between; clocks of two machines may put what came later first."""
    return "" if before is None else _span((at - before).total_seconds())


def _span(seconds: float) -> str:
    if abs(seconds) < 1:
        return f"{seconds * 1000:.1f} ms"
    return duration(seconds)
