"""What only PostgreSQL knows of an update's way: how far streams and lanes are, what was decided, what
was dropped, and where records are linked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from notify.domain.engine.lanes import lane_of, partition_of
from notify.domain.errors import PlanUnreadable
from notify.domain.records import plan as plans
from notify.domain.records.aliases import resolve
from notify.domain.records.decide import OWN_ONLY, Decision
from notify.domain.records.links import Named, gather
from notify.domain.records.update import MIRROR_LABELS
from notify.models import DeadLetter, Lane, Plan, PlanLog, Skipped, Stream
from notify.operations import streams
from notify.operations.stored_links import links_now

#: Rows of one kind that are told of a record.
ROWS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """Where a partition's stream stands."""

    lanes: int
    planned: int
    frontier: int
    halted: str | None
    lasts: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ChunkFacts:
    """The chunk of an offset. `decision` is None where it is not stored any more: what is applied
    needs none; or where this version cannot read it."""

    first: int
    next: int
    policy: int
    at: datetime
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class DroppedFacts:
    """Rows first..last that were dropped for a record in one chunk: `n` of them."""

    partition: int
    record: str
    reason: str
    rule: int | None
    first: int
    last: int
    n: int
    at: datetime

    def covers(self, partition: int, offset: int) -> bool:
        """Whether the offset may be one of them."""
        return self.partition == partition and self.first <= offset <= self.last

    @property
    def is_all(self) -> bool:
        """Whether every offset from first to last is one of them."""
        return self.n == self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class DeadFacts:
    """A dead letter of the record, or of a message that could not be decided: without a record."""

    id: int
    partition: int
    offset: int
    record: str | None
    error: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LinkedFacts:
    """As of what is planned now: the record that an id stands for, and the parents that its updates
    are mirrored to, by label."""

    target: str
    parents: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that PostgreSQL says of some updates. Keys are partitions, (partition, offset) and
    (app, record)."""

    streams: Mapping[int, StreamFacts] = field(default_factory=dict)
    chunks: Mapping[tuple[int, int], ChunkFacts] = field(default_factory=dict)
    dropped: Sequence[DroppedFacts] = ()
    dead: Sequence[DeadFacts] = ()
    linked: Mapping[tuple[str, str], LinkedFacts] = field(default_factory=dict)

    def lane(self, partition: int, app: str, record: str) -> int | None:
        """The lane of the record, if its stream is known."""
        stream = self.streams.get(partition)
        return None if stream is None else lane_of(app, record, stream.lanes)


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """Where a record's updates go, and its newest losses."""

    app: str
    record: str
    partition: int
    stream: StreamFacts | None
    lane: int | None
    linked: LinkedFacts
    dropped: Sequence[DroppedFacts]
    dead: Sequence[DeadFacts]


#: Partition, offset, app, record.
Place = tuple[int, int, str, str]


def of_updates(places: Sequence[Place]) -> Facts:
    """The facts of these updates. Errors of PostgreSQL, and NoTopic, go through."""
    stored = _streams({place[0] for place in places})
    linked = {(app, record): linked_now(app, record) for _, _, app, record in places}
    chunks = {}
    dropped: dict[DroppedFacts, None] = {}
    dead: dict[DeadFacts, None] = {}
    for partition, offset, app, record in places:
        stream = stored.get(partition)
        if stream is None:
            continue
        chunk = _chunk(stream.id, offset)
        if chunk is not None:
            chunks[partition, offset] = chunk
        names = _names(record, linked[app, record], chunk)
        rows = Skipped.objects.filter(
            app=app, record__in=names, stream=stream.id, first__lte=offset, last__gte=offset
        )
        dropped |= dict.fromkeys(_dropped(partition, row) for row in rows.order_by())
        letters = DeadLetter.objects.filter(stream=stream.id, offset=offset)
        dead |= dict.fromkeys(_dead(partition, row) for row in letters.order_by())
    return Facts(
        {number: _stream_facts(stream) for number, stream in stored.items()},
        chunks,
        tuple(dropped),
        tuple(dead),
        linked,
    )


def of_record(app: str, record: str) -> RecordFacts:
    """The facts of a record, without any log line. Errors of PostgreSQL, and NoTopic, go through."""
    topic = streams.active_topic()
    partition = partition_of(app, topic.partitions)
    stream = _streams({partition}).get(partition)
    facts = None if stream is None else _stream_facts(stream)
    linked = linked_now(app, record)
    lane = None if facts is None else lane_of(app, linked.target, facts.lanes)
    names = _names(record, linked, None)
    mine = {"app": app, "record__in": names, "stream": None if stream is None else stream.id}
    rows = Skipped.objects.filter(**mine).order_by("-id")[:ROWS_MAX]
    letters = DeadLetter.objects.filter(**mine).order_by("-id")[:ROWS_MAX]
    return RecordFacts(
        app,
        record,
        partition,
        facts,
        lane,
        linked,
        [_dropped(partition, row) for row in rows],
        [_dead(partition, row) for row in letters],
    )


def _streams(partitions: Iterable[int]) -> dict[int, Stream]:
    topic = streams.active_topic()
    found = Stream.objects.filter(topic_id=topic.id, partition__in=list(partitions))
    return {stream.partition: stream for stream in found}


def _stream_facts(stream: Stream) -> StreamFacts:
    lanes = Lane.objects.filter(stream=stream.id).values_list("lane", "last")
    return StreamFacts(
        stream.lanes, stream.planned, stream.frontier, stream.halted, dict(lanes.order_by())
    )


def _chunk(stream: int, offset: int) -> ChunkFacts | None:
    """The newest chunk that begins at or before the offset, if it holds it."""
    log = PlanLog.objects.filter(stream=stream, first__lte=offset).order_by("-first").first()
    if log is None or log.next <= offset:
        return None
    plan = Plan.objects.filter(stream=stream, first=log.first).first()
    decision = None
    if plan is not None:
        try:
            decision = plans.decode(plan.first, bytes(plan.decisions)).get(offset, OWN_ONLY)
        except PlanUnreadable:
            decision = None
    return ChunkFacts(log.first, log.next, log.policy_version, log.at, decision)


def _names(record: str, linked: LinkedFacts, chunk: ChunkFacts | None) -> set[str]:
    """The records that the update may have been a write to, or would have been."""
    names = {record, linked.target, *(parent for _, parent in linked.parents)}
    if chunk is not None and chunk.decision is not None:
        names |= {reason.record for reason in chunk.decision.reasons if reason.record}
    return names


def _dropped(partition: int, row: Skipped) -> DroppedFacts:
    return DroppedFacts(
        partition, str(row.record), row.reason, row.rule, row.first, row.last, row.n, row.at
    )


def _dead(partition: int, row: DeadLetter) -> DeadFacts:
    record = None if row.record is None else str(row.record)
    return DeadFacts(row.id, partition, row.offset, record, row.error, row.at)


def linked_now(app: str, record: str) -> LinkedFacts:
    """Where the record's links lead now; an alias that nobody was given stands for a user of its own."""
    itself = {(app, record)}
    links = gather(links_now, Named(itself, itself, set()))
    target = resolve(links, app, record)
    parents = ((label, links.parent(app, target, label)) for label in MIRROR_LABELS)
    return LinkedFacts(
        target, tuple((label, parent) for label, parent in parents if parent is not None)
    )
