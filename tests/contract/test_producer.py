"""What `Producer` promises, on the fake and on the real one with whatever broker the tests run on."""

import gc
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from devstack.services import DevstackError, find_kafka, wait_ready
from notify.domain.engine.lanes import partition_of
from notify.kafka import producer_clients
from notify.kafka.producer import (
    Acked,
    KafkaUnavailable,
    Overloaded,
    Producer,
    TopicProducer,
)
from notify.kafka.producer_clients import KafkaPythonClient, forbid_bodies_in_logs
from notify.kafka.producer_library import KAFKA_PYTHON, LIBRARIES, LIBRDKAFKA
from notify.kafka.topic import Topics
from notify.telemetry import metrics
from tests.fake_producer import FakeProducer
from tests.fake_web import APP, STRICT_APP
from tests.waiting import wait_for

PARTITIONS = 4
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REFUSED_SOCKETS = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def topic(kafka: list[str], namespace: str) -> str:
    """A new topic."""
    with Topics(kafka, timeout_ms=60_000) as topics:
        topics.create(namespace, partitions=PARTITIONS, replication=1)
    return namespace


def made(
    servers: list[str], topic: str, library: str, *, ack_timeout_ms: int = 60_000
) -> TopicProducer:
    """A producer that has not connected yet."""
    return TopicProducer(
        servers, topic, bytes_max=1_000_000, ack_timeout_ms=ack_timeout_ms, library=library
    )


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    """Each library, one after the other."""
    found: str = request.param
    if found == LIBRDKAFKA:
        pytest.importorskip("confluent_kafka")
    return found


@pytest.fixture
def real(kafka: list[str], topic: str, library: str) -> Iterator[TopicProducer]:
    """The real producer of the new topic."""
    producer = made(kafka, topic, library)
    yield producer
    producer.close()


@pytest.fixture(params=["fake", "real"])
def producer(request: pytest.FixtureRequest, library: str) -> Producer:
    """Both, one after the other."""
    if request.param == "fake":
        if library != KAFKA_PYTHON:
            pytest.skip("the fake has no library")
        return FakeProducer(has=PARTITIONS)
    found: TopicProducer = request.getfixturevalue("real")
    return found


def send(producer: Producer, *values: bytes, app: str = APP) -> list[int]:
    """Send them as one request does: their offsets, all in the app's partition."""
    acked = producer.send(app, values, partitions=PARTITIONS, traceparent=TRACEPARENT)
    assert {each.partition for each in acked} <= {partition_of(app, PARTITIONS)}
    return [each.offset for each in acked]


def messages(servers: list[str], topic: str, partition: int, count: int) -> list[Any]:
    """The first messages of a partition."""
    consumer = KafkaConsumer(bootstrap_servers=servers, group_id=None, enable_auto_commit=False)
    at = TopicPartition(topic, partition)
    consumer.assign([at])
    consumer.seek(at, 0)
    found: list[Any] = []
    deadline = time.monotonic() + 180
    while len(found) < count and time.monotonic() < deadline:
        for batch in consumer.poll(timeout_ms=100).values():
            found += batch
    consumer.close(autocommit=False)
    return found


def test_offsets_follow_each_other_in_the_order_sent(producer: Producer) -> None:
    assert send(producer, b"a", b"b", b"c") == [0, 1, 2]
    assert send(producer, b"d") == [3]
    assert send(producer) == []


def test_each_value_is_told_where_it_stands(producer: Producer) -> None:
    for app in (APP, STRICT_APP):
        first = len(send(producer, b"a", b"b", app=app))
        acked = producer.send(app, [b"c"], partitions=PARTITIONS, traceparent=TRACEPARENT)
        is_same = partition_of(APP, PARTITIONS) == partition_of(STRICT_APP, PARTITIONS)
        before = 3 if app == STRICT_APP and is_same else 0
        assert acked == [Acked(partition_of(app, PARTITIONS), before + first)]


def test_apps_of_one_partition_share_its_offsets(producer: Producer) -> None:
    first = send(producer, b"a")
    second = send(producer, b"b", app=STRICT_APP)
    is_same = partition_of(APP, PARTITIONS) == partition_of(STRICT_APP, PARTITIONS)
    assert (first, second) == ([0], [1] if is_same else [0])


def test_it_knows_whether_the_topic_has_the_stored_partitions(producer: Producer) -> None:
    producer.check(partitions=PARTITIONS)
    with pytest.raises(KafkaUnavailable, match=f"{PARTITIONS} partitions"):
        producer.check(partitions=PARTITIONS + 1)


def test_what_stands_in_kafka(real: TopicProducer, kafka: list[str], topic: str) -> None:
    send(real, b"one", b"two")
    partition = partition_of(APP, PARTITIONS)
    found = messages(kafka, topic, partition, 2)
    assert [message.value for message in found] == [b"one", b"two"]
    assert {message.key for message in found} == {APP.encode()}
    assert list(found[0].headers) == [("v", b"1"), ("traceparent", TRACEPARENT.encode())]


def test_threads_share_it(real: TopicProducer) -> None:
    got: list[int] = []

    def work() -> None:
        for _ in range(20):
            got.extend(send(real, b"x"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(160))
    assert metrics.WEB_IN_FLIGHT_BYTES._value.get() == 0


def test_acks_are_measured(real: TopicProducer) -> None:
    before = metrics.WEB_UPDATES._value.get()
    send(real, b"a", b"b")
    assert metrics.WEB_UPDATES._value.get() == before + 2


def test_bytes_in_flight_are_capped(real: TopicProducer) -> None:
    real._bytes_max = 10
    assert send(real, b"x" * 100) == [0]  # alone it may be larger
    with real._admitted(0, 8):
        with pytest.raises(Overloaded):
            send(real, b"xyz")
        assert send(real, b"xy") == [1]
    assert send(real, b"x" * 100) == [2]


def test_a_missing_topic_or_partition_is_unavailable(
    kafka: list[str], topic: str, library: str
) -> None:
    producer = made(kafka, topic, library)
    app = next(
        app for n in range(100) if partition_of(app := f"{n:08x}{APP[8:]}", 64) >= PARTITIONS
    )
    with pytest.raises(KafkaUnavailable):
        producer.send(app, [b"x"], partitions=64, traceparent=TRACEPARENT)
    assert send(producer, b"x") == [0]
    producer.close()


@pytest.fixture
def sockets_collected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """kafka-python leaves refused sockets to the garbage collector: it runs while that is expected,
    and no captured log holds them."""
    caplog.set_level(logging.CRITICAL, logger="kafka")
    yield
    gc.collect()


@REFUSED_SOCKETS
def test_kafka_away_is_noticed_once_and_then_at_once(
    sockets_collected: None, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notify.kafka.producer.CONNECT_AGAIN_S", 600)
    connect, tried = producer_clients.connect, []

    def connecting(*words: Any, **options: Any) -> Any:
        tried.append(words)
        return connect(*words, **options)

    monkeypatch.setattr(producer_clients, "connect", connecting)
    producer = made(["127.0.0.1:1"], "t", library, ack_timeout_ms=5_000)
    with pytest.raises(KafkaUnavailable):
        send(producer, b"x")
    for _ in range(3):
        with pytest.raises(KafkaUnavailable, match="a moment ago"):
            send(producer, b"x")
    with pytest.raises(KafkaUnavailable, match="a moment ago"):
        producer.check(partitions=1)
    assert len(tried) == 1
    producer.close()


@REFUSED_SOCKETS
@pytest.mark.parametrize("library", [KAFKA_PYTHON], indirect=True)
def test_brokers_that_moved_are_found_by_the_bootstrap_servers(
    sockets_collected: None, real: TopicProducer
) -> None:
    """As a web process finds them that gets no requests, since it is not ready: nothing else would."""
    send(real, b"x")
    client = real._client
    assert isinstance(client, KafkaPythonClient)
    cluster = client._producer._metadata
    for broker in cluster.brokers():
        broker.port = 1  # nobody listens there
        cluster._manager.close(broker.node_id)
    real._acked_at = float("-inf")

    def is_ready() -> bool:
        try:
            real.check(partitions=PARTITIONS)
        except KafkaUnavailable:
            return False
        return True

    wait_for(is_ready)
    assert real._client is client


def test_while_a_partition_is_away_one_request_finds_out(real: TopicProducer) -> None:
    partition = partition_of(APP, PARTITIONS)
    with pytest.raises(KafkaUnavailable), real._admitted(partition, 1):
        raise KafkaUnavailable("as if the ack had not come")
    with real._admitted(partition, 1), pytest.raises(KafkaUnavailable, match="testing it"):
        send(real, b"x")
    with real._admitted((partition + 1) % PARTITIONS, 1):
        assert send(real, b"x") == [0]


def test_kafka_python_never_logs_bodies() -> None:
    logger = logging.getLogger("kafka")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    forbid_bodies_in_logs()
    assert not logging.getLogger("kafka.producer.kafka").isEnabledFor(logging.DEBUG)
    logger.setLevel(before)


@contextmanager
def own_broker(directory: Path) -> Iterator[tuple[list[str], "subprocess.Popen[bytes]"]]:
    """A broker of the test's own, to be frozen."""
    try:
        service = find_kafka(directory, {"PATH": os.environ["PATH"], "HOME": str(directory)})
    except DevstackError as error:
        pytest.skip(str(error))
    assert service.launch is not None
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            service.launch.argv, env=dict(service.launch.env), stdout=log, stderr=log
        )
        try:
            assert wait_ready(service, lambda: process.poll() is None)
            yield service.url.split(","), process
        finally:
            process.kill()
            process.wait()


def _stands_still(pid: int) -> bool:
    """Whether a stop signal has reached each of its threads: those that ran meanwhile still answer."""
    states = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state.rpartition(")")[2].split()[0] == "T" for state in states)


def until_acked(producer: Producer) -> None:
    """Send until it is acked: a busy broker may take longer than the producer waits."""

    def acked() -> bool:
        try:
            return len(send(producer, b"x")) == 1
        except KafkaUnavailable:
            return False

    wait_for(acked)


@pytest.mark.parametrize("library", [LIBRDKAFKA], indirect=True)
def test_a_client_that_is_given_up_says_so_to_those_that_wait(tmp_path: Path, library: str) -> None:
    with own_broker(tmp_path) as (servers, broker):
        with Topics(servers, timeout_ms=60_000) as topics:
            topics.create("t", partitions=PARTITIONS, replication=1)
        client = producer_clients.connect(
            library, servers, "t", ack_timeout_ms=600_000, security=None
        )
        first = client.send(b"x", key=b"k", headers=[], partition=0)
        assert first.offset(180) == 0
        broker.send_signal(signal.SIGSTOP)
        wait_for(lambda: _stands_still(broker.pid))
        waiting = [client.send(b"x", key=b"k", headers=[], partition=0) for _ in range(3)]
        client.close(timeout_s=0.1)
        for each in waiting:
            with pytest.raises(KafkaError, match="PURGE"):
                each.offset(180)


@REFUSED_SOCKETS
def test_it_comes_back_after_kafka_stood_still(
    tmp_path: Path, sockets_collected: None, library: str
) -> None:
    """kafka-python's idempotent producer alone does not: it hangs after an expired retry."""
    with own_broker(tmp_path) as (servers, broker):
        with Topics(servers, timeout_ms=60_000) as topics:
            topics.create("t", partitions=PARTITIONS, replication=1)
        producer = made(servers, "t", library, ack_timeout_ms=1_500)
        until_acked(producer)
        broker.send_signal(signal.SIGSTOP)
        wait_for(lambda: _stands_still(broker.pid))
        for _ in range(2):
            with pytest.raises(KafkaUnavailable):
                send(producer, b"x")
        broker.send_signal(signal.SIGCONT)
        until_acked(producer)
        producer.check(partitions=PARTITIONS)
        producer.close()
