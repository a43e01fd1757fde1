"""`KafkaLog` on a real broker: whatever is paused when, nothing is forgotten.

Run it against each new version of kafka-python.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from aiokafka.record.default_records import DefaultRecord
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from ingest import consumer
from ingest.consumer import KafkaLog
from ingest.log_ends import LogEnds, TopicEnds
from ingest.ports import LogAway, Polled
from notify.kafka.topic import Topics
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PARTITIONS = 3
MESSAGES = 4_000
BODY = b"x" * 100
#: A fetch holds about a hundred messages of a partition: many polls, and many moments to pause in.
FETCH_BYTES = 40_000
TIMEOUT_S = 180


@pytest.fixture(scope="module")
def topic(kafka: list[str]) -> str:
    """A topic with MESSAGES messages in each partition."""
    name = f"t{uuid.uuid4().hex[:10]}"
    with Topics(kafka, timeout_ms=60_000) as topics:
        topics.create(name, partitions=PARTITIONS, replication=1)
    producer = KafkaProducer(bootstrap_servers=kafka, linger_ms=5)
    for partition in range(PARTITIONS):
        for _ in range(MESSAGES):
            producer.send(name, BODY, partition=partition)
    producer.flush()
    producer.close()
    return name


class Reader:
    """Polls a KafkaLog and keeps the offsets that came, in the order in which they came."""

    def __init__(self, log: KafkaLog) -> None:
        self.log = log
        self.offsets: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}

    def poll(self) -> Polled:
        polled = self.log.poll(100)
        for partition, messages in polled.messages.items():
            self.offsets[partition] += [message.offset for message in messages]
        return polled

    def join(self, *, at: int = 0) -> None:
        """Return with all partitions assigned, resumed, and sought to `at`."""
        assigned: set[int] = set()

        def is_joined(polled: Polled) -> bool:
            assigned.update(polled.assigned)
            return len(assigned) == PARTITIONS

        self.read_until(is_joined)
        for partition in range(PARTITIONS):
            self.log.seek(partition, at)
            self.log.resume(partition)
            self.offsets[partition].clear()

    def read_until(self, done: Callable[[Polled], bool]) -> None:
        """Poll without a rest, as the bridge does: a group is joined by polling."""
        deadline = time.monotonic() + TIMEOUT_S
        while not done(self.poll()):
            assert time.monotonic() < deadline, f"not within {TIMEOUT_S} s: {self.offsets}"

    def has_all(self, polled: Polled) -> bool:
        return all(offsets[-1:] == [MESSAGES - 1] for offsets in self.offsets.values())


@contextmanager
def _reader(kafka: list[str], topic: str) -> Iterator[Reader]:
    log = KafkaLog(
        servers=kafka,
        topic=topic,
        group=f"g{uuid.uuid4().hex[:10]}",
        facts=lambda partitions: {},
        ends=LogEnds(TopicEnds(kafka, topic)),
        session_timeout_ms=12_000,
        heartbeat_ms=1_000,
        fetch_bytes=FETCH_BYTES,
    )
    try:
        yield Reader(log)
    finally:
        log.close()


def test_a_request_that_is_not_answered_is_given_up(kafka: list[str], topic: str) -> None:
    """Row `half-open-bridge-kafka` of the fault matrix shows what for."""
    with _reader(kafka, topic) as reader:
        reader.join()
        connections = reader.log._consumer._client._manager._conns.values()
        timeouts = {each.config["request_timeout_ms"] for each in connections}
    assert timeouts == {consumer.REQUEST_TIMEOUT_MS}


def test_the_compiled_parser_unpacks_what_is_fetched(kafka: list[str], topic: str) -> None:
    """Decision 0052: nothing else fails if kafka-python's own parser is used, it is only slower."""
    with _reader(kafka, topic) as reader:
        reader.join()
        reader.log._consumer.poll()  # positions
        found = [
            record
            for _ in range(10)
            for records in reader.log._consumer.poll(1_000).values()
            for record in records
        ]
    assert {type(record) for record in found} == {DefaultRecord}


def test_kafka_python_forgets_a_partition_that_is_paused_in_the_middle_of_a_fetch(
    kafka: list[str], topic: str
) -> None:
    """Why a poll takes all that was fetched. When this fails, kafka-python is mended: see
    ingest/consumer.py."""
    client = KafkaConsumer(
        bootstrap_servers=kafka,
        max_poll_records=10,
        enable_auto_commit=False,
        auto_offset_reset="none",
        metrics_enabled=False,
    )
    try:
        parts = [TopicPartition(topic, partition) for partition in range(2)]
        client.assign(parts)
        for part in parts:
            client.seek(part, 0)
        got: list[TopicPartition] = []

        def has_some() -> bool:
            got.extend(client.poll(timeout_ms=200))
            return bool(got)

        wait_for(has_some)
        first = got[0]
        client.pause(first)
        for _ in range(3):
            client.poll(timeout_ms=200)
        stood_at = client.position(first)
        client.resume(first)
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            client.poll(timeout_ms=50)
        assert client.position(first) == stood_at < MESSAGES
    finally:
        client.close(autocommit=False)


def _begin_a_slow_join(log: KafkaLog) -> Callable[[], bool]:
    """Join again as when the topic's metadata has changed, for longer than a poll; says when that is
    over."""
    coordinator = log._consumer._coordinator
    join = coordinator._do_join_and_sync_async

    async def slow() -> bytes:
        assigned: bytes = await join()
        await coordinator._net.sleep(2)
        return assigned

    coordinator._do_join_and_sync_async = slow
    coordinator._assignment_snapshot = {}
    log.poll(10)
    assert not coordinator.stable()
    return lambda: bool(coordinator.stable())


def test_kafka_python_forgets_a_join_that_new_metadata_began(
    kafka: list[str], topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why a poll asks for the join that goes on. When this fails, kafka-python is mended: see
    ingest/consumer.py."""
    monkeypatch.setattr(consumer, "_go_on_joining", lambda consumer: None)
    with _reader(kafka, topic) as reader:
        reader.join()
        is_over = _begin_a_slow_join(reader.log)
        ends = time.monotonic() + 6
        while time.monotonic() < ends:
            reader.poll()
        assert not is_over()


def test_a_join_that_new_metadata_began_is_ended(kafka: list[str], topic: str) -> None:
    with _reader(kafka, topic) as reader:
        reader.join()
        is_over = _begin_a_slow_join(reader.log)
        reader.read_until(lambda polled: is_over())
        reader.read_until(reader.has_all)


@pytest.mark.parametrize("seed", range(3))
def test_no_pause_costs_a_partition_a_message(kafka: list[str], topic: str, seed: int) -> None:
    dice = random.Random(seed)
    with _reader(kafka, topic) as reader:
        reader.join()
        for _ in range(60):
            partition = dice.randrange(PARTITIONS)
            dice.choice((reader.log.pause, reader.log.resume))(partition)
            for _ in range(dice.randrange(3)):
                reader.poll()
        for partition in range(PARTITIONS):
            reader.log.resume(partition)
        reader.read_until(reader.has_all)
    assert reader.offsets == {n: list(range(MESSAGES)) for n in range(PARTITIONS)}


def test_a_paused_partition_brings_nothing_and_others_go_on(kafka: list[str], topic: str) -> None:
    with _reader(kafka, topic) as reader:
        reader.join()
        reader.log.pause(0)
        reader.read_until(
            lambda polled: all(
                reader.offsets[n][-1:] == [MESSAGES - 1] for n in range(1, PARTITIONS)
            )
        )
        assert reader.offsets[0] == []
        assert reader.log.position(0) == 0


def test_a_poll_brings_one_fetch_of_a_partition_at_most(kafka: list[str], topic: str) -> None:
    """So partitions with a backlog are served alike, and a round of the bridge has a bound."""
    with _reader(kafka, topic) as reader:
        reader.join()
        sizes: list[int] = []

        def measured(polled: Polled) -> bool:
            sizes.append(sum(len(messages) for messages in polled.messages.values()))
            return reader.has_all(polled)

        reader.read_until(measured)
    assert max(sizes) * len(BODY) <= 2 * FETCH_BYTES


def test_a_seek_drops_what_was_fetched_before(kafka: list[str], topic: str) -> None:
    """Rule 4. Into the middle of a producer's batch, too."""
    with _reader(kafka, topic) as reader:
        reader.join()
        reader.read_until(lambda polled: all(reader.offsets.values()))
        for partition in range(PARTITIONS):
            reader.log.seek(partition, 17)
            reader.offsets[partition].clear()
        reader.read_until(reader.has_all)
    assert reader.offsets == {n: list(range(17, MESSAGES)) for n in range(PARTITIONS)}


def test_a_log_that_was_opened_again_gets_its_partitions_back(kafka: list[str], topic: str) -> None:
    with _reader(kafka, topic) as reader:
        reader.join()
        reader.read_until(lambda polled: all(reader.offsets.values()))
        reader.log.reopen()
        with pytest.raises(LogAway):
            reader.log.pause(0)
        reader.join(at=MESSAGES - 5)
        reader.read_until(reader.has_all)
    assert reader.offsets == {n: list(range(MESSAGES - 5, MESSAGES)) for n in range(PARTITIONS)}


def test_the_end_of_a_log_is_known_without_a_fetch(kafka: list[str], topic: str) -> None:
    with _reader(kafka, topic) as reader:
        reader.join()
        for partition in range(PARTITIONS):
            reader.log.pause(partition)
        reader.poll()

        def is_known() -> bool:
            end = reader.log.end(0)
            # Tansu's may be short by the last batch of its producer.
            return (
                end is not None and MESSAGES // 2 < end.offset <= MESSAGES and end.age_ms < 30_000
            )

        wait_for(is_known)
