"""What operators may do to streams: make them for a topic, resume them, change their lanes.

Rules 10 and 11 of docs/protocol.md. A bridge may tick at the same time: rows are locked as a tick locks
them, in id order, and whoever held a stream that is moved or ended here finds its token invalid.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from django.db import connection, transaction

from notify.domain.engine.digest import Digests, Expected, Last, last_before
from notify.domain.engine.lanes import LANES_MAX
from notify.domain.engine.stream import (
    LogFacts,
    Position,
    StreamRow,
    fit,
    halt_reason,
    replaced_reason,
)
from notify.kafka.topic import Described, Extent, TopicMissing, Topics
from notify.models import Lane, Plan, PlanLog, Stream, Topic

_TOKEN_MAX: Final = 2**63 - 1
#: Stands for the end of a log that has all that was planned when its real end was read: bridges may have
#: planned more since.
_END_UNKNOWN: Final = 2**63 - 1


class StreamsRefused(Exception):
    """This cannot be done in the present state of the streams."""


class NoTopic(StreamsRefused):
    """No topic is adopted: run `manage.py topic create`, or `topic adopt` for one that exists."""


class NotInRange(StreamsRefused):
    """There is no such partition, or the number of lanes is out of range."""


class Lost(NamedTuple):
    """Offsets first..next-1 of a topic, of which some or all will never be applied."""

    topic: str
    partition: int
    first: int
    next: int

    def __str__(self) -> str:
        return f"{self.topic} partition {self.partition}: offsets {self.first}-{self.next - 1}"


class Undrained(StreamsRefused):
    """The action would lose updates. `lost` has their offsets."""

    def __init__(self, lost: Sequence[Lost]) -> None:
        self.lost = lost
        offsets = sum(each.next - each.first for each in lost)
        super().__init__(
            "\n".join(
                (
                    f"up to {offsets} updates are not applied and would be lost:",
                    *(f"  {each}" for each in lost),
                    "Let the bridge apply them (see `manage.py status`), or give --abandon to lose them.",
                )
            )
        )


@dataclass(frozen=True, slots=True)
class Adopted:
    """The topic that is active now. `changed`: the partitions whose streams were created or moved."""

    topic: Described
    changed: tuple[int, ...]
    lost: tuple[Lost, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """Kafka's topic, the problems that stop streams from using it, and notes for information only."""

    topic: Described
    problems: tuple[str, ...]
    notes: tuple[str, ...]


class Resumed(NamedTuple):
    """A partition that was resumed, and why it was halted."""

    partition: int
    halted: str


class WantedLanes(NamedTuple):
    """A partition's number of lanes now, and after its window has drained."""

    partition: int
    lanes: int
    lanes_wanted: int


def active_topic() -> Topic:
    """The topic that bridges read. Raises NoTopic."""
    topic = Topic.objects.filter(active=True).first()
    if topic is None:
        raise NoTopic(NoTopic.__doc__)
    return topic


def adopt(topics: Topics, name: str, *, lanes: int, abandon: bool) -> Adopted:
    """Make the topic `name` the active one, with a stream of `lanes` lanes for each partition.

    For the topic that is active already, streams move to where its log allows them to go on, which
    is nowhere unless Kafka lost messages. Raises Undrained unless `abandon`; TopicMissing and
    KafkaAway; StreamsRefused for a topic that was active before. Nothing has changed then.
    """
    before = Topic.objects.filter(active=True).first()
    # Read before the log's ends, which only rise: what bridges plan from now on is in the log too.
    stored = streams_of(before) if before is not None else []
    found = topics.describe(name)
    logs = topics.extents(name, range(found.partitions))
    ends: Mapping[int, int] = {}
    replaced: Mapping[int, int] = {}
    if before is not None and before.id != found.id:
        ends = _ends(topics, before)
    elif before is not None:
        replaced = replaced_in(topics, name, stored, logs)
        planned = {each.partition: each.planned for each in stored}
        logs = {
            partition: log
            if log.end < planned.get(partition, 0)
            else log._replace(end=_END_UNKNOWN)
            for partition, log in logs.items()
        }
    return adopt_found(found, logs, old_ends=ends, replaced=replaced, lanes=lanes, abandon=abandon)


def replaced_in(
    topics: Topics, name: str, streams: Iterable[Stream], logs: Mapping[int, Extent]
) -> dict[int, int]:
    """By partition, the first offset at which the log does not hold what was planned. Raises KafkaAway.

    Only what a Load would read is looked at, and only where the log holds all of it.
    """
    expected: dict[int, Expected] = {}
    wanted: list[tuple[int, int, int]] = []
    for stream in streams:
        log = logs.get(stream.partition)
        if log is None or log.start > stream.frontier or log.end < stream.planned:
            continue
        found = expected[stream.partition] = Expected(
            _digests(stream),
            _last_message(stream),
            frontier=stream.frontier,
            planned=stream.planned,
            log_start=log.start,
        )
        wanted.append((stream.partition, found.first, stream.planned - 1))
    for (partition, _, _), messages in topics.ranges(name, wanted):
        for message in messages:
            expected[partition].meet(message.offset, message.value or b"")
    return {
        partition: offset
        for partition, found in expected.items()
        if (offset := found.replaced()) is not None
    }


def _digests(stream: Stream) -> list[Digests]:
    """Of the chunks that were planned when the stream was read: a bridge may have planned more since."""
    rows = Plan.objects.filter(
        stream=stream.id, next__gt=stream.frontier, first__lt=stream.planned
    ).order_by("first")
    return [
        Digests(row.first, row.next, None if row.digests is None else bytes(row.digests))
        for row in rows
    ]


def _last_message(stream: Stream) -> Last | None:
    offset, digest, planned = stream.last_offset, stream.last_digest, stream.last_planned
    if offset is None or digest is None or planned is None:
        return None
    return Last(offset, digest, planned)


def check_replaceable(topics: Topics, *, abandon: bool) -> None:
    """Raises Undrained if adopting a new topic would lose updates now."""
    topic = Topic.objects.filter(active=True).first()
    if topic is None or abandon:
        return
    lost = _unapplied(topic, streams_of(topic), _ends(topics, topic))
    if lost:
        raise Undrained(lost)


def _ends(topics: Topics, topic: Topic) -> dict[int, int]:
    """The log ends of a topic; none if the topic was deleted or replaced."""
    try:
        if topics.describe(topic.name).id != topic.id:
            return {}
        logs = topics.extents(topic.name, range(topic.partitions))
    except TopicMissing:
        return {}
    return {partition: log.end for partition, log in logs.items()}


def adopt_found(
    found: Described,
    logs: Mapping[int, Extent],
    *,
    old_ends: Mapping[int, int],
    replaced: Mapping[int, int] = MappingProxyType({}),
    lanes: int,
    abandon: bool,
) -> Adopted:
    """`adopt` of a topic that is known, with the log of each partition.

    `old_ends` are the log ends of the topic that was active before, where that still exists; `replaced`
    is what `replaced_in` found in the active topic.
    """
    check_lanes(lanes)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE topic IN SHARE ROW EXCLUSIVE MODE")
        before = Topic.objects.filter(active=True).first()
        if before is not None and before.id == found.id:
            return _move(before, found, logs, replaced, abandon=abandon)
        lost = _retire(before, found, old_ends, abandon=abandon) if before is not None else ()
        if Topic.objects.filter(id=found.id).exists():
            raise StreamsRefused(
                f"the topic {found.name} was active before and was replaced, so it cannot be used again. "
                "Run `manage.py topic create` with a new name."
            )
        Topic.objects.create(id=found.id, name=found.name, partitions=found.partitions)
        for partition in range(found.partitions):
            _make(found, partition, logs[partition].start, lanes)
    return Adopted(found, tuple(range(found.partitions)), tuple(lost))


def _make(topic: Described, partition: int, start: int, lanes: int) -> None:
    stream = Stream.objects.create(
        topic_id=topic.id,
        partition=partition,
        lanes=lanes,
        lanes_wanted=lanes,
        planned=start,
        frontier=start,
    )
    Lane.objects.bulk_create(
        Lane(stream=stream.id, lane=number, last=start - 1) for number in range(lanes)
    )


def _retire(
    topic: Topic, successor: Described, ends: Mapping[int, int], *, abandon: bool
) -> Sequence[Lost]:
    """Retires the active topic: from now on nobody can tick or apply its streams."""
    streams = _locked(topic)
    lost = _unapplied(topic, streams, ends)
    if lost and not abandon:
        raise Undrained(lost)
    for stream in streams:
        stream.token = _token()
        stream.halted = f"replaced by the topic {successor.name} ({successor.id})"
        stream.save(update_fields=["token", "halted"])
        _renew_lanes(stream, top=stream.planned - 1)
    topic.active = False
    topic.save(update_fields=["active"])
    return lost


def _unapplied(topic: Topic, streams: Iterable[Stream], ends: Mapping[int, int]) -> list[Lost]:
    return [
        Lost(topic.name, stream.partition, stream.frontier, next_)
        for stream in streams
        if (next_ := max(stream.planned, ends.get(stream.partition, 0))) > stream.frontier
    ]


def _move(
    topic: Topic,
    found: Described,
    logs: Mapping[int, Extent],
    replaced: Mapping[int, int],
    *,
    abandon: bool,
) -> Adopted:
    """Let the active topic's streams go on after Kafka lost messages of theirs.

    Where others took their offsets, what was planned ends at the first of them: they are planned anew.
    """
    if found.partitions < topic.partitions:
        raise StreamsRefused(
            f"the topic {found.name} has {found.partitions} partitions, {topic.partitions} are "
            "stored: restore it, or run `manage.py topic create` with a new name"
        )
    moves: list[tuple[Stream, Position]] = []
    lost: list[Lost] = []
    for stream in _locked(topic):
        log = logs[stream.partition]
        end = min(log.end, replaced.get(stream.partition, log.end))
        position = fit(Position(stream.frontier, stream.planned), start=log.start, end=end)
        if position == (stream.frontier, stream.planned):
            continue
        moves.append((stream, position))
        if log.start > stream.frontier:
            lost.append(Lost(topic.name, stream.partition, stream.frontier, log.start))
        if end < stream.planned:
            lost.append(Lost(topic.name, stream.partition, end, stream.planned))
    if lost and not abandon:
        raise Undrained(lost)
    for stream, position in moves:
        _place(stream, position)
    return Adopted(found, tuple(stream.partition for stream, _ in moves), tuple(lost))


def _place(stream: Stream, position: Position) -> None:
    """Moves a locked stream. Deletes plans after the new position: other messages get their offsets."""
    last = last_before(
        position.planned, _digests(stream), _last_message(stream), planned=stream.planned
    )
    stream.frontier, stream.planned = position
    stream.token = _token()
    stream.halted = None
    stream.last_offset, stream.last_digest, stream.last_planned = last or (None, None, None)
    stream.save(
        update_fields=[
            *("frontier", "planned", "token", "halted"),
            *("last_offset", "last_digest", "last_planned"),
        ]
    )
    for table in (Plan, PlanLog):
        chunks = table.objects.filter(stream=stream.id)
        chunks.filter(first__gte=position.planned).delete()
        chunks.filter(next__gt=position.planned).update(next=position.planned)
    _renew_lanes(stream, top=position.planned - 1)


def _renew_lanes(stream: Stream, *, top: int) -> None:
    """Put new lane rows in the place of a locked stream's, none standing above `top`.

    New rows, since a worker's statement that waits for an old one took its snapshot of the stream
    before: it would go on with the token that has ended. With its row gone it does nothing.
    """
    lanes = list(Lane.objects.select_for_update().filter(stream=stream.id).order_by("lane"))
    Lane.objects.filter(stream=stream.id).delete()
    Lane.objects.bulk_create(
        Lane(
            stream=stream.id,
            lane=lane.lane,
            last=min(lane.last, top),
            isolate=min(lane.isolate, top),
            tries=lane.tries,
        )
        for lane in lanes
    )


def check(topics: Topics, name: str) -> Checked:
    """Compare the active topic's streams with Kafka's topic `name`.

    Raises NoTopic, TopicMissing, KafkaAway.
    """
    topic = active_topic()
    streams = streams_of(topic)
    found = topics.describe(name)
    logs = topics.extents(name, range(min(found.partitions, topic.partitions)))
    replaced = replaced_in(topics, name, streams, logs) if found.id == topic.id else {}
    problems: list[str] = []
    notes: list[str] = []
    if topic.name != name:
        problems.append(f"the active topic is {topic.name}, not {name}: check NOTIFY_TOPIC")
    if len(streams) != topic.partitions:
        problems.append(f"{len(streams)} streams are stored for {topic.partitions} partitions")
    for stream in streams:
        reason = stream.halted
        log = logs.get(stream.partition)
        if reason is None and log is not None:
            facts = LogFacts(str(found.id), found.partitions, log.start, log.end)
            reason = halt_reason(_row(stream), facts, partitions_stored=topic.partitions)
        if reason is None and stream.partition in replaced:
            reason = replaced_reason(replaced[stream.partition])
        if reason is not None:
            state = "is halted" if stream.halted is not None else "cannot continue"
            problems.append(f"partition {stream.partition} {state}: {reason}")
    if found.partitions > topic.partitions:
        notes.append(
            f"Kafka has {found.partitions} partitions, but {topic.partitions} are used. With more, apps "
            "would move to other partitions and lose their order: create a new topic instead."
        )
    return Checked(found, tuple(problems), tuple(notes))


def _row(stream: Stream) -> StreamRow:
    return StreamRow(
        id=stream.id,
        topic_id=str(stream.topic_id),
        partition=stream.partition,
        lanes=stream.lanes,
        lanes_wanted=stream.lanes_wanted,
        token=stream.token,
        planned=stream.planned,
        frontier=stream.frontier,
        halted=stream.halted,
    )


def streams_of(topic: Topic) -> list[Stream]:
    """The topic's streams, by partition."""
    return list(Stream.objects.filter(topic_id=topic.id).order_by("partition"))


def resume(partition: int | None = None) -> list[Resumed]:
    """Clear the halt of one partition of the active topic, or of all; returns what was halted.

    If the cause is still there, the bridge halts it again at the Load. Raises NoTopic, NotInRange.
    """
    with transaction.atomic():
        streams = _locked(active_topic())
        if partition is not None:
            streams = [stream for stream in streams if stream.partition == partition]
            if not streams:
                raise NotInRange(f"there is no partition {partition}: see `manage.py stream list`")
        resumed = [
            Resumed(stream.partition, stream.halted)
            for stream in streams
            if stream.halted is not None
        ]
        _update(streams, halted=None)
    return resumed


def want_lanes(to: int) -> list[WantedLanes]:
    """Ask for `to` lanes in every partition of the active topic.

    Ticks plan nothing until what is planned is applied; then a Load makes the new lanes. Raises
    NoTopic, NotInRange.
    """
    check_lanes(to)
    with transaction.atomic():
        streams = _locked(active_topic())
        _update(streams, lanes_wanted=to)
    return [WantedLanes(stream.partition, stream.lanes, to) for stream in streams]


def check_lanes(lanes: int) -> None:
    """Raises NotInRange unless workers listen on this many lanes."""
    if not 1 <= lanes <= LANES_MAX:
        raise NotInRange(f"a stream has 1 to {LANES_MAX} lanes, not {lanes}")


def _locked(topic: Topic) -> list[Stream]:
    locked = Stream.objects.select_for_update().filter(topic_id=topic.id).order_by("id")
    return sorted(locked, key=lambda stream: stream.partition)


def _update(streams: Iterable[Stream], **fields: object) -> None:
    Stream.objects.filter(id__in=[stream.id for stream in streams]).update(**fields)


def _token() -> int:
    return secrets.randbelow(_TOKEN_MAX) + 1
