"""What must hold after every fault: from the calls, the topic, and PostgreSQL."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from kafka import KafkaConsumer, TopicPartition

from devstack.oracle.compare import compare
from notify.domain.lanes import lane_of
from notify.domain.patch import SET
from notify.domain.update import Update, read
from tests.faults.load import Call, Outcome, Sent
from tests.faults.watch import Bounds, Look

#: Problems that a verdict names.
NAMED: Final = 10


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
    """A message of the topic that one of our senders sent, or another one (no number)."""

    partition: int
    offset: int
    app: str
    record: str
    number: int | None


def read_topic(servers: str, topic: str, partitions: int) -> list[Message]:
    """Every readable message of the topic, by partition, in log order."""
    consumer = KafkaConsumer(
        bootstrap_servers=servers.split(","),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        metrics_enabled=False,
    )
    try:
        at = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(at)
        ends = consumer.end_offsets(at)
        for each, start in consumer.beginning_offsets(at).items():
            consumer.seek(each, start)
        found: list[Message] = []
        while any(consumer.position(each) < end for each, end in ends.items()):
            for each, messages in consumer.poll(timeout_ms=200, max_records=5_000).items():
                for message in messages:
                    read = _read(each.partition, message.offset, message.value)
                    if read is not None:
                        found.append(read)
    finally:
        consumer.close(autocommit=False)
    return found


def _read(partition: int, offset: int, value: bytes | None) -> Message | None:
    update = read(value)
    if not isinstance(update, Update):
        return None
    _, number = update.patch.ops.get("tags.n", (SET, None))
    return Message(
        partition, offset, update.app, update.record, number if isinstance(number, int) else None
    )


def judge(
    calls: Sequence[Call],
    messages: Sequence[Message],
    looks: Iterable[Look],
    *,
    dsn: str,
    servers: str,
    topic: str,
    bounds: Bounds,
    poisoned: Collection[tuple[str, str]] = (),
) -> Verdict:
    """The verdict on a drained stack. Writes of the `poisoned` records may be dead-lettered."""
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
    report = compare(dsn, servers, topic, poisoned=poisoned)
    if not report.equal:
        verdict.problems.append(str(report))
    return verdict


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
    problems = []
    for look in looks:
        for stream in look.streams:
            highest: Counter[int] = Counter()
            lanes = len(stream.lasts)
            for message in by_partition[stream.partition]:
                if message.offset >= stream.frontier:
                    break
                highest[lane_of(message.app, message.record, lanes)] = message.offset
            problems += [
                f"partition {stream.partition}: the frontier was {stream.frontier} while lane "
                f"{lane} stood at {stream.lasts[lane]}, before offset {offset}"
                for lane, offset in highest.items()
                if stream.lasts[lane] < offset
            ]
    return problems
