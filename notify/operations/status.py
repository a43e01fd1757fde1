"""Reads the state of every partition from PostgreSQL and, if it answers, from Kafka."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import OuterRef, Q, Subquery, Sum
from django.db.models.functions import Now

from notify.domain.engine.lanes import lane_of
from notify.domain.errors import PlanUnreadable, ReplayDisagrees
from notify.domain.records import plan as plans
from notify.domain.records.decide import OWN_ONLY, writes
from notify.domain.records.update import Update
from notify.domain.records.update import read as read_update
from notify.kafka.topic import Extent, Head, KafkaAway, TopicMissing, Topics
from notify.models import App, Hot, Lane, Plan, PlanLog, Stream, Topic
from notify.monitoring import snapshot
from notify.monitoring.partition_state import (
    TROUBLE,
    PartitionState,
    StateBounds,
    StreamNow,
    state_of,
)
from notify.operations import streams

HOT_SECONDS: Final = 60
TOP_RECORDS: Final = 10


class LaneBehind(NamedTuple):
    """A lane that holds its partition's frontier: it has not applied the oldest update, `offset`.

    `waiting_seconds`: since that was decided. `tries`: sends that may have killed their worker.
    """

    lane: int
    last: int
    offset: int
    app: str
    record: str
    waiting_seconds: float
    tries: int


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition. What only Kafka knows is None while Kafka is away.

    `lag_messages` are not known to be applied, `unplanned_messages` of them not even decided;
    `lag_seconds` is the age of the oldest of them; `waiting_seconds`: for how long decided updates have
    waited at the frontier, 0 if none do. `lanes_behind` is None if it cannot be told. `now` is what the
    state was judged by.
    """

    partition: int
    state: PartitionState
    now: StreamNow
    planned: int
    frontier: int
    lanes: int
    lanes_wanted: int
    halted: str | None
    ticked_ago_seconds: float | None
    waiting_seconds: float
    log_end: int | None
    lag_seconds: float | None
    lanes_behind: tuple[LaneBehind, ...] | None

    @property
    def window_offsets(self) -> int:
        """How many offsets are decided but not known to be applied."""
        return self.planned - self.frontier

    @property
    def lag_messages(self) -> int | None:
        """How many offsets there are from the frontier to the log's end."""
        return None if self.log_end is None else max(0, self.log_end - self.frontier)

    @property
    def unplanned_messages(self) -> int | None:
        """How many offsets there are from `planned` to the log's end."""
        return None if self.log_end is None else max(0, self.log_end - self.planned)


class TopRecord(NamedTuple):
    """A record's updates in the last HOT_SECONDS; the counts may be slightly too high."""

    app: str
    record: str
    direct: int
    mirrored: int


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """All partitions of the active topic, the hottest records, and the names of their apps."""

    topic: Topic
    partitions: tuple[PartitionStatus, ...]
    top_records: tuple[TopRecord, ...]
    app_names: Mapping[str, str]
    kafka_error: str | None

    @property
    def is_fine(self) -> bool:
        """Whether all partitions are well."""
        return not any(each.state in TROUBLE for each in self.partitions)


class _Oldest(NamedTuple):
    """The recorded chunk at a stream's frontier, and when it was decided."""

    plan: Plan
    at: datetime


@dataclass(frozen=True, slots=True)
class _Log:
    """Kafka's answers: the extents of the partitions, and their messages at the frontier."""

    extents: Mapping[int, Extent]
    heads: Mapping[int, Head]
    error: str | None = None


def read(servers: Sequence[str]) -> PipelineStatus:
    """Reads the status. Raises NoTopic. If Kafka does not answer, the status says so."""
    topic = streams.active_topic()
    last_plan = PlanLog.objects.filter(stream=OuterRef("id")).order_by("-first").values("at")[:1]
    found = list(
        Stream.objects.filter(topic_id=topic.id)
        .order_by("partition")
        .annotate(now=Now(), planned_at=Subquery(last_plan))
    )
    # Before Kafka is asked: while it waits for an answer, what was fresh grows old.
    recorded = {each.stream: each for each in snapshot.streams()}
    bounds = StateBounds.of_settings()
    log = _ask_kafka(servers, topic, found)
    oldest = _oldest_plans(found)
    lanes: dict[int, dict[int, Lane]] = {}
    for lane in Lane.objects.filter(stream__in=[stream.id for stream in found]):
        lanes.setdefault(lane.stream, {})[lane.lane] = lane
    partitions = tuple(
        _partition(
            stream,
            recorded[stream.id],
            log,
            oldest.get(stream.id),
            lanes.get(stream.id, {}),
            now=stream.now,
            planned_at=stream.planned_at,
            bounds=bounds,
        )
        for stream in found
        if stream.id in recorded
    )
    top = _top_records([stream.id for stream in found])
    named = {record.app for record in top} | {
        lane.app for each in partitions for lane in each.lanes_behind or ()
    }
    names = {str(app.id): app.name for app in App.objects.filter(id__in=named)}
    return PipelineStatus(topic, partitions, top, names, log.error)


def _ask_kafka(servers: Sequence[str], topic: Topic, found: Sequence[Stream]) -> _Log:
    try:
        with Topics(servers) as topics:
            if topics.describe(topic.name).id != topic.id:
                return _Log(
                    {}, {}, f"the topic {topic.name} was replaced: run `manage.py topic check`"
                )
            extents = topics.extents(topic.name, [stream.partition for stream in found])
            behind = {
                stream.partition: max(stream.frontier, extents[stream.partition].start)
                for stream in found
                if stream.frontier < extents[stream.partition].end
            }
            return _Log(extents, topics.heads(topic.name, behind))
    except (KafkaAway, TopicMissing) as error:
        return _Log({}, {}, str(error))


def _oldest_plans(found: Sequence[Stream]) -> dict[int, _Oldest]:
    wanted = Q()
    for stream in found:
        if stream.frontier < stream.planned:
            at = stream.frontier
            wanted |= Q(stream=stream.id, first__lte=at, next__gt=at)
    if not wanted:
        return {}
    decided = {log.stream: log.at for log in PlanLog.objects.filter(wanted)}
    return {
        plan.stream: _Oldest(plan, decided[plan.stream])
        for plan in Plan.objects.filter(wanted)
        if plan.stream in decided
    }


def _partition(
    stream: Stream,
    recorded: StreamNow,
    log: _Log,
    oldest: _Oldest | None,
    lanes: Mapping[int, Lane],
    *,
    now: datetime,
    planned_at: datetime | None,
    bounds: StateBounds,
) -> PartitionStatus:
    extent = log.extents.get(stream.partition)
    head = log.heads.get(stream.partition)
    lag_seconds = None
    if head is not None:
        lag_seconds = max(0.0, now.timestamp() - _at(head) / 1000)
    elif extent is not None and extent.end <= stream.frontier:
        lag_seconds = 0.0
    idle = math.inf if planned_at is None else (now - planned_at).total_seconds()
    unread = 0.0 if stream.frontier < stream.planned else min(idle, lag_seconds or 0.0)
    judged = replace(
        recorded,
        unread_s=max(unread, recorded.unread_s or 0.0),
        log_end=recorded.log_end if extent is None else extent.end,
    )
    lanes_behind: tuple[LaneBehind, ...] | None = None
    if stream.frontier == stream.planned:
        lanes_behind = ()
    elif head is not None and oldest is not None:
        waits = max(0.0, (now - oldest.at).total_seconds())
        lanes_behind = _behind(head, oldest.plan, lanes, waiting_seconds=waits)
    return PartitionStatus(
        partition=stream.partition,
        state=state_of(judged, bounds),
        now=judged,
        planned=stream.planned,
        frontier=stream.frontier,
        lanes=stream.lanes,
        lanes_wanted=stream.lanes_wanted,
        halted=stream.halted,
        ticked_ago_seconds=recorded.ticked_ago_s,
        waiting_seconds=recorded.waiting_s,
        log_end=None if extent is None else extent.end,
        lag_seconds=lag_seconds,
        lanes_behind=lanes_behind,
    )


def _at(head: Head) -> int:
    update = read_update(head.value)
    return update.at if isinstance(update, Update) else head.timestamp_ms


def _behind(
    head: Head, plan: Plan, lanes: Mapping[int, Lane], *, waiting_seconds: float
) -> tuple[LaneBehind, ...] | None:
    """The lanes that have not applied the message at the frontier, by its recorded decision."""
    if not plan.first <= head.offset < plan.next:
        return None
    try:
        decision = plans.decode(plan.first, bytes(plan.decisions)).get(head.offset, OWN_ONLY)
        written = writes(read_update(head.value), decision)
    except (PlanUnreadable, ReplayDisagrees):
        return None
    behind: dict[int, LaneBehind] = {}
    for write in written:
        lane = lanes.get(lane_of(write.app, write.record, len(lanes)))
        if lane is not None and lane.last < head.offset:
            behind.setdefault(
                lane.lane,
                LaneBehind(
                    lane.lane,
                    lane.last,
                    head.offset,
                    write.app,
                    write.record,
                    waiting_seconds,
                    max(0, lane.tries),
                ),
            )
    return tuple(behind.values())


def _top_records(stream_ids: Sequence[int]) -> tuple[TopRecord, ...]:
    rows = (
        Hot.objects.filter(
            bucket__gte=Now() - timedelta(seconds=HOT_SECONDS), stream__in=stream_ids
        )
        .order_by()
        .values_list("app", "record")
        .annotate(direct_sum=Sum("direct"), mirrored_sum=Sum("mirrored"))
    )
    top = sorted(rows, key=_updates, reverse=True)[:TOP_RECORDS]
    return tuple(TopRecord(str(app), str(record), *counts) for app, record, *counts in top)


def _updates(row: tuple[UUID, UUID, int, int]) -> int:
    return row[2] + row[3]
