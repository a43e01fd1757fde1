"""Replays the active topic from its first message and compares PostgreSQL with the result."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import psycopg
from kafka import KafkaConsumer, TopicPartition
from psycopg import Connection

from devstack.oracle.policy_history import NotPlanned, PolicyHistory, read_chunks
from devstack.oracle.serial import Serial, Write
from devstack.oracle.state import Dead, Dropped, State, differences
from notify.kafka.topic import Topics

#: How many differences a report lists.
NAMED: Final = 20
#: How long Kafka may return nothing before the end of the log.
STALLED_S: Final = 30.0
_FETCH_BYTES: Final = 4 * 1024 * 1024

_STREAMS: Final = """
    SELECT stream.partition, stream.id, stream.frontier, stream.planned, topic.partitions
    FROM topic JOIN stream ON stream.topic_id = topic.id
    WHERE topic.active AND topic.name = %s ORDER BY stream.partition
"""
_EARLIER: Final = "SELECT count(*) FROM topic WHERE NOT active"
_RECORDS: Final = """
    SELECT app::text, id::text, kind, identifier, tags, properties, session_count, session_time_s,
        purchase_count, spent_micros, mirrored_updates,
        (extract(epoch FROM created_at) * 1000)::bigint AS created_at,
        (extract(epoch FROM updated_at) * 1000)::bigint AS updated_at, deleted
    FROM record
"""
_LINKS: Final = """
    SELECT link.app::text, link.child::text, link.label, link.parent::text
    FROM link LEFT JOIN parent ON parent.app = link.app AND parent.id = link.parent
    WHERE link.parent_gen = COALESCE(parent.gen, 0)
"""
_GENERATIONS: Final = "SELECT app::text, id::text, gen FROM parent"
_COUNTS: Final = "SELECT app::text, parent::text, label, gen, n FROM link_count"
_DROPPED: Final = """
    SELECT app::text, record::text, reason, rule, sum(n)::bigint
    FROM skipped WHERE stream = ANY(%s) GROUP BY 1, 2, 3, 4
"""
_HITS: Final = "SELECT rule, sum(hits)::bigint FROM skip_count WHERE stream = ANY(%s) GROUP BY 1"
_DEAD: Final = """
    SELECT stream.partition, "offset", split_part(error, ':', 1), app::text, record::text, message
    FROM dead_letter JOIN stream ON stream.id = dead_letter.stream WHERE stream.id = ANY(%s)
"""


class NotComparable(Exception):
    """The topic and the database cannot be compared; the text says why."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A partition's progress in PostgreSQL, and the end of its log in Kafka."""

    partition: int
    id: int
    frontier: int
    planned: int
    end: int

    @property
    def undrained(self) -> str | None:
        """Says how much of the log is not applied; None if all of it is."""
        if self.frontier == self.planned == self.end:
            return None
        return (
            f"partition {self.partition} is applied up to {self.frontier} and planned up to "
            f"{self.planned}, but its log ends at {self.end}"
        )


@dataclass(frozen=True, slots=True)
class Report:
    """How much was compared, and the first differences."""

    messages: int
    records: int
    links: int
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether PostgreSQL equals the serial replay."""
        return not self.differences

    def __str__(self) -> str:
        what = f"{self.messages:,} messages, {self.records:,} records, {self.links:,} links"
        if self.equal:
            return f"equal: PostgreSQL has exactly what a serial replay of the topic gives ({what})"
        return "\n".join(
            (
                f"different: PostgreSQL does not have what a serial replay of the topic gives ({what}):",
                *self._lines(),
            )
        )

    def _lines(self) -> Iterator[str]:
        for line in self.differences:
            yield f"  {line}"
        if len(self.differences) == NAMED:
            yield "  there may be more differences"


def compare(
    dsn: str, bootstrap: str, topic: str, *, poisoned: Collection[tuple[str, str]] = ()
) -> Report:
    """Compares PostgreSQL with a replay. All updates must be applied, and none may arrive meanwhile.

    Writes of the `poisoned` records, by app and id, may be dead-lettered; those of other records may not.

    Raises NotComparable; psycopg.Error or KafkaError if a service does not answer.
    """
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        allow_auto_create_topics=False,
        max_partition_fetch_bytes=_FETCH_BYTES,
        metrics_enabled=False,
    )
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            return _compare(connection, consumer, bootstrap, topic, poisoned)
    finally:
        consumer.close(autocommit=False)


def _compare(
    connection: Connection[Any],
    consumer: KafkaConsumer,
    bootstrap: str,
    topic: str,
    poisoned: Collection[tuple[str, str]],
) -> Report:
    rows = connection.execute(_STREAMS, (topic,)).fetchall()
    if not rows:
        raise NotComparable(f"the database has no active topic {topic}")
    earlier = connection.execute(_EARLIER).fetchone()
    if earlier is not None and earlier[0]:
        raise NotComparable(
            "the database also has records of earlier topics: start with an empty database"
        )
    with Topics(bootstrap.split(",")) as topics:
        logs = topics.extents(topic, [row[0] for row in rows])
    streams = [
        Stream(partition, stream, frontier, planned, logs[partition].end)
        for partition, stream, frontier, planned, _ in rows
    ]
    undrained = tuple(why for stream in streams if (why := stream.undrained))
    if undrained:
        return Report(0, 0, 0, undrained[:NAMED])
    policy = PolicyHistory.read(connection)
    found = read_state(connection, [stream.id for stream in streams])
    serials = {
        stream.partition: Serial(
            partition=stream.partition,
            partitions=rows[0][4],
            rules_at=policy.rules_at(read_chunks(connection, stream.id)),
            refused=_refused(found.dead, stream.partition, poisoned),
        )
        for stream in streams
    }
    messages = _replay(consumer, topic, streams, serials)
    must = State()
    for serial in serials.values():
        must.add(serial.end())
    named = tuple(islice(differences(must, found), NAMED))
    return Report(messages, len(must.records), len(must.links), named)


def _replay(
    consumer: KafkaConsumer, topic: str, streams: list[Stream], serials: dict[int, Serial]
) -> int:
    """Passes every message to its partition's interpreter. Returns the number of messages."""
    left = {TopicPartition(topic, stream.partition): stream.end for stream in streams}
    consumer.assign(list(left))
    for at, start in consumer.beginning_offsets(list(left)).items():
        consumer.seek(at, start)
    messages, progressed = 0, time.monotonic()
    while left := {at: end for at, end in left.items() if consumer.position(at) < end}:
        for at, found in consumer.poll(timeout_ms=100, max_records=5_000).items():
            progressed = time.monotonic()
            for message in found:
                _take(serials[at.partition], at.partition, message.offset, message.value)
            messages += len(found)
        if time.monotonic() - progressed > STALLED_S:
            raise NotComparable(
                f"Kafka returns no more messages of partitions {sorted(at.partition for at in left)}"
            )
    return messages


def _refused(
    dead: Iterable[Dead], partition: int, poisoned: Collection[tuple[str, str]]
) -> dict[Write, str]:
    """The partition's dead-lettered writes of poisoned records, with the reason of each."""
    return {
        (letter.offset, letter.app, letter.record): letter.why
        for letter in dead
        if letter.partition == partition
        and letter.app is not None
        and letter.record is not None
        and (letter.app, letter.record) in poisoned
    }


def _take(serial: Serial, partition: int, offset: int, value: bytes | None) -> None:
    try:
        serial.take(offset, value)
    except NotPlanned as error:
        raise NotComparable(f"partition {partition} {error}") from None


def read_state(connection: Connection[Any], streams: list[int]) -> State:
    """Reads the state from PostgreSQL."""
    found = State()
    with connection.cursor() as cursor:
        cursor.execute(_RECORDS)
        assert cursor.description is not None
        columns = [column.name for column in cursor.description[2:]]
        for app, record, *values in cursor:
            found.records[app, record] = dict(zip(columns, values, strict=True))
        found.links = {row[:3]: row[3] for row in cursor.execute(_LINKS)}
        found.generations = {row[:2]: row[2] for row in cursor.execute(_GENERATIONS)}
        found.counts = {row[:4]: row[4] for row in cursor.execute(_COUNTS)}
        for *dropped, n in cursor.execute(_DROPPED, (streams,)):
            found.dropped[Dropped(*dropped)] = n
        found.hits = Counter(dict(cursor.execute(_HITS, (streams,)).fetchall()))
        found.dead = Counter(Dead(*row) for row in cursor.execute(_DEAD, (streams,)))
    return found
