"""What must hold after every fault: from the calls, the topic, and PostgreSQL.

The topic is read, and counters are added up, by code of its own: neither the product's parser nor
its decisions are used, nor those of `devstack/oracle`.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from typing import Any, Final

import psycopg
from kafka import KafkaConsumer, TopicPartition

from devstack.oracle.compare import compare
from notify.domain.engine.lanes import lane_of
from tests.qa.faults.load import Call, Outcome, Sent
from tests.qa.faults.watch import Bounds, Look, StreamLook

#: Problems of one kind that a verdict names.
NAMED: Final = 10
_ROWS: Final = "SELECT app::text, id::text, session_count, (tags->>'n')::bigint FROM record"


@dataclass(slots=True)
class Verdict:
    """Counted in updates. `problems` is empty if everything held."""

    acked: int
    unknown: int
    failed: int
    lost: int
    doubled: int
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Message:
    """An update in the topic: what it adds to the session count, and its sender's number, if any."""

    partition: int
    offset: int
    app: str
    record: str
    number: int | None
    sessions: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What a record comes to: its session count, and the last number that was set."""

    sessions: int
    number: int | None


def read_topic(
    servers: str, topic: str, starts: Mapping[int, int]
) -> tuple[list[Message], dict[int, int]]:
    """Every update of each partition from its start on, by partition in log order, and the ends."""
    consumer = KafkaConsumer(
        bootstrap_servers=servers.split(","),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=4 * 1024 * 1024,
        metrics_enabled=False,
    )
    try:
        at = {TopicPartition(topic, number): start for number, start in starts.items()}
        consumer.assign(list(at))
        for each, start in at.items():
            consumer.seek(each, start)
        ends = consumer.end_offsets(list(at))
        found: list[Message] = []
        # Tansu lists ends that are too small; what a fetch tells is right.
        while any(
            consumer.position(each) < max(end, consumer.highwater(each) or 0)
            for each, end in ends.items()
        ):
            for each, messages in consumer.poll(timeout_ms=200, max_records=5_000).items():
                for message in messages:
                    read = _read(each.partition, message.offset, message.value)
                    if read is not None:
                        found.append(read)
        return found, {each.partition: consumer.position(each) for each in at}
    finally:
        consumer.close(autocommit=False)


def _read(partition: int, offset: int, value: bytes) -> Message | None:
    """None for what is no update."""
    try:
        fields: dict[str, Any] = json.loads(value)
    except ValueError:
        return None
    patch = fields.get("patch", {})
    return Message(
        partition,
        offset,
        sys.intern(fields["app"]),
        sys.intern(fields["record"]),
        patch.get("=", {}).get("tags.n"),
        patch.get("+", {}).get("session_count", 0),
    )


def judge(
    calls: Sequence[Call],
    messages: Sequence[Message],
    looks: Iterable[Look],
    *,
    dsn: str,
    servers: str,
    topic: str,
    ends: Mapping[int, int],
    bounds: Bounds,
    sent: Mapping[tuple[str, str], int],
    poisoned: Collection[tuple[str, str]] = (),
    is_replayed: bool = True,
) -> Verdict:
    """The verdict on a drained stack, where the log ends at `ends`.

    `sent` are the sums that a backlog added to the session counts of records of its own. Writes of
    the `poisoned` records may be dead-lettered. `is_replayed`: compare with the oracle's serial
    replay too, which takes about 10 s for 100,000 messages.
    """
    by_outcome: dict[Outcome, list[Sent]] = defaultdict(list)
    for call in calls:
        by_outcome[call.outcome] += call.sent
    places: dict[Sent, list[Message]] = defaultdict(list)
    for message in messages:
        if message.number is not None:
            places[message.app, message.record, message.number].append(message)
    acked = by_outcome[Outcome.OK]
    lost = [sent for sent in acked if sent not in places]
    doubled = [sent for sent in acked if len(places[sent]) > 1]
    verdict = Verdict(
        len(acked),
        len(by_outcome[Outcome.UNKNOWN]),
        len(by_outcome[Outcome.FAILED]),
        len(lost),
        len(doubled),
    )
    verdict.problems += [f"acked and not in Kafka: {sent}" for sent in lost[:NAMED]]
    verdict.problems += [f"acked once, in Kafka twice: {sent}" for sent in doubled[:NAMED]]
    verdict.problems += [
        f"refused, and in Kafka: {sent}" for sent in by_outcome[Outcome.FAILED] if sent in places
    ][:NAMED]
    verdict.problems += _out_of_order(acked, places)[:NAMED]
    verdict.problems += _too_early(looks, messages)[:NAMED]
    verdict.problems += [problem for look in looks for problem in look.beyond(bounds)][:NAMED]
    with psycopg.connect(dsn) as connection:
        frontiers: dict[int, int] = dict(
            connection.execute("SELECT partition, frontier FROM stream").fetchall()
        )
        rows = {(app, record): Totals(*found) for app, record, *found in connection.execute(_ROWS)}
    expected = add_up(messages)
    verdict.problems += unread(ends, frontiers)
    verdict.problems += unsent(sent, expected)[:NAMED]
    verdict.problems += differences(expected, rows, poisoned)[:NAMED]
    if is_replayed:
        report = compare(dsn, servers, topic, poisoned=poisoned)
        if not report.equal:
            verdict.problems.append(str(report))
    return verdict


def add_up(messages: Iterable[Message]) -> dict[tuple[str, str], Totals]:
    """What each record comes to if each message is applied once, in log order."""
    found: dict[tuple[str, str], Totals] = defaultdict(lambda: Totals(0, None))
    for message in messages:
        target = message.app, message.record
        before = found[target]
        number = before.number if message.number is None else message.number
        found[target] = Totals(before.sessions + message.sessions, number)
    return found


def unread(ends: Mapping[int, int], frontiers: Mapping[int, int]) -> list[str]:
    """Partitions that are not applied up to the end of their log."""
    return [
        f"partition {partition}: applied up to {frontiers.get(partition)}, the log ends at {end}"
        for partition, end in ends.items()
        if frontiers.get(partition) != end
    ]


def unsent(
    sent: Mapping[tuple[str, str], int], expected: Mapping[tuple[str, str], Totals]
) -> list[str]:
    """Where the topic does not add up to what was sent: the fault of Kafka or of the sender."""
    return [
        f"app {app}, record {record}: {count} sent, {found} in Kafka"
        for (app, record), count in sent.items()
        if (found := expected.get((app, record), Totals(0, None)).sessions) != count
    ]


def differences(
    expected: Mapping[tuple[str, str], Totals],
    rows: Mapping[tuple[str, str], Totals],
    poisoned: Collection[tuple[str, str]] = (),
) -> list[str]:
    """Where PostgreSQL's rows are not what the topic adds up to."""
    return [
        f"app {app}, record {record}: the topic adds up to {expected.get((app, record))}, "
        f"PostgreSQL has {rows.get((app, record))}"
        for app, record in sorted((expected.keys() | rows.keys()) - set(poisoned))
        if expected.get((app, record)) != rows.get((app, record))
    ]


def _out_of_order(acked: Iterable[Sent], places: dict[Sent, list[Message]]) -> list[str]:
    """A record's acked updates stand in the log in the order in which they were sent."""
    offsets: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for app, record, number in acked:
        for message in places[app, record, number][:1]:
            offsets[app, record].append((number, message.offset))
    return [
        f"record {record}: number {before} is at offset {at}, {after} at {then}"
        for (_, record), found in offsets.items()
        for (before, at), (after, then) in pairwise(sorted(found))
        if at >= then
    ]


def _too_early(looks: Iterable[Look], messages: Sequence[Message]) -> list[str]:
    """The frontier was never past an offset whose own lane was not past it.

    Mirrored writes have lanes of their own, which the comparison with the replay covers.
    """
    by_partition: dict[int, list[Message]] = defaultdict(list)
    for message in messages:
        by_partition[message.partition].append(message)
    seen: dict[tuple[int, int], list[StreamLook]] = defaultdict(list)
    for look in looks:
        for stream in look.streams:
            seen[stream.partition, len(stream.lasts)].append(stream)
    problems = []
    for (partition, lanes), streams in seen.items():
        log = iter(by_partition[partition])
        following = next(log, None)
        highest: dict[int, int] = {}
        for stream in sorted(streams, key=attrgetter("frontier")):
            while following is not None and following.offset < stream.frontier:
                highest[lane_of(following.app, following.record, lanes)] = following.offset
                following = next(log, None)
            problems += [
                f"partition {partition}: the frontier was {stream.frontier} while lane "
                f"{lane} stood at {stream.lasts[lane]}, before offset {offset}"
                for lane, offset in highest.items()
                if stream.lasts[lane] < offset
            ]
    return problems
