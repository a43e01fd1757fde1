"""What `notify.kafka.topic` promises, on whatever broker the tests run on."""

import gc
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from notify.kafka.topic import (
    Described,
    Extent,
    Head,
    KafkaAway,
    TopicExists,
    TopicMissing,
    TopicRefused,
    Topics,
)
from tests.waiting import wait_for


@pytest.fixture
def topics(kafka: list[str]) -> Iterator[Topics]:
    with Topics(kafka, timeout_ms=60_000) as topics:
        yield topics


def test_a_created_topic_is_described_with_its_id(topics: Topics, namespace: str) -> None:
    made = topics.create(namespace, partitions=3, replication=1)
    assert (made.name, made.partitions) == (namespace, 3)
    assert isinstance(made.id, uuid.UUID)
    assert topics.describe(namespace) == made


def test_a_topic_is_not_made_twice(topics: Topics, namespace: str) -> None:
    made = topics.create(namespace, partitions=1, replication=1)
    with pytest.raises(TopicExists, match=r"topic adopt"):
        topics.create(namespace, partitions=5, replication=1)
    assert topics.describe(namespace) == made


def test_made_again_it_is_another_topic(topics: Topics, kafka: list[str], namespace: str) -> None:
    first = topics.create(namespace, partitions=1, replication=1)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        admin.delete_topics([namespace])
    finally:
        admin.close()
    second: list[Described] = []

    def is_made() -> bool:
        with suppress(TopicExists):  # until the broker has deleted it
            second.append(topics.create(namespace, partitions=1, replication=1))
        return bool(second)

    wait_for(is_made)
    assert second[0].id != first.id


@pytest.mark.parametrize("suffix", ["", " !"], ids=["valid name", "invalid name"])
def test_a_missing_topic_is_missing(topics: Topics, namespace: str, suffix: str) -> None:
    with pytest.raises(TopicMissing, match=r"topic create"):
        topics.describe(namespace + suffix)
    with pytest.raises(TopicMissing):
        topics.extents(namespace + suffix, [0])


def test_a_partition_that_is_not_there_is_missing(topics: Topics, namespace: str) -> None:
    topics.create(namespace, partitions=1, replication=1)
    with pytest.raises(TopicMissing):
        topics.extents(namespace, [0, 1])


@pytest.mark.parametrize(("partitions", "replication"), [(0, 1), (1, 0)])
def test_a_topic_of_nothing_is_refused(
    topics: Topics, namespace: str, partitions: int, replication: int
) -> None:
    with pytest.raises(TopicRefused, match="at least 1"):
        topics.create(namespace, partitions=partitions, replication=replication)


def test_a_topic_has_a_retention_and_replicas_that_must_be_in_sync(
    topics: Topics, kafka: list[str], namespace: str
) -> None:
    topics.create(namespace, partitions=1, replication=1, retention_hours=50)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        asked = [ConfigResource(ConfigResourceType.TOPIC, namespace)]
        found = admin.describe_configs(asked, config_filter="all")["topic"][namespace]
    finally:
        admin.close()
    assert found["min.insync.replicas"]["value"] == "1"
    assert found["retention.ms"]["value"] == "180000000"


@pytest.mark.parametrize(
    ("replication", "min_insync", "expected"), [(1, 0, "1"), (3, 0, "2"), (3, 1, "1"), (3, 3, "3")]
)
def test_by_default_one_replica_may_be_away(
    topics: Topics,
    monkeypatch: pytest.MonkeyPatch,
    replication: int,
    min_insync: int,
    expected: str,
) -> None:
    asked = []

    def create_topics(topics: dict[str, dict[str, Any]]) -> None:
        asked.append(topics["t"]["configs"]["min.insync.replicas"])
        raise TopicAlreadyExistsError

    monkeypatch.setattr(topics._admin, "create_topics", create_topics)
    with pytest.raises(TopicExists):
        topics.create("t", partitions=1, replication=replication, min_insync=min_insync)
    assert asked == [expected]


@pytest.mark.parametrize("min_insync", [-1, 2])
def test_a_topic_that_could_take_no_update_is_refused(
    topics: Topics, namespace: str, min_insync: int
) -> None:
    with pytest.raises(TopicRefused, match=r"Lower NOTIFY_MIN_INSYNC"):
        topics.create(namespace, partitions=1, replication=1, min_insync=min_insync)
    with pytest.raises(TopicMissing):
        topics.describe(namespace)


def test_a_topic_that_keeps_nothing_is_refused(topics: Topics, namespace: str) -> None:
    with pytest.raises(TopicRefused, match=r"at least 1 hour"):
        topics.create(namespace, partitions=1, replication=1, retention_hours=0)


def test_a_topic_that_kafka_refuses_names_the_reason(topics: Topics, namespace: str) -> None:
    refused = pytest.raises(TopicRefused, match=r"each on 99 broker.*InvalidReplicationFactor")
    with refused:
        topics.create(namespace, partitions=1, replication=99)
        pytest.skip("this broker refuses nothing")


def test_extents_and_heads_follow_the_log(topics: Topics, kafka: list[str], namespace: str) -> None:
    topics.create(namespace, partitions=3, replication=1)
    assert topics.extents(namespace, range(3)) == {n: Extent(0, 0) for n in range(3)}
    producer = KafkaProducer(bootstrap_servers=kafka)
    try:
        for number in range(5):
            sent = producer.send(
                namespace, b"%d" % number, partition=1, timestamp_ms=1_000 * (number + 1)
            )
            sent.get(180)
        producer.send(namespace, None, key=b"k", partition=2, timestamp_ms=7_000).get(180)
    finally:
        producer.close()
    assert topics.extents(namespace, [0, 1, 2]) == {
        0: Extent(0, 0),
        1: Extent(0, 5),
        2: Extent(0, 1),
    }
    assert topics.heads(namespace, {1: 3, 2: 0}) == {
        1: Head(3, 4_000, b"3"),
        2: Head(0, 7_000, None),
    }


def test_ranges_are_read_whole_and_no_further(
    topics: Topics, kafka: list[str], namespace: str
) -> None:
    topics.create(namespace, partitions=2, replication=1)
    producer = KafkaProducer(bootstrap_servers=kafka, linger_ms=20)
    try:
        sent = [producer.send(namespace, b"%04d" % n * 500, partition=1) for n in range(900)]
        for each in sent:
            each.get(180)
    finally:
        producer.close()
    wanted = [(1, 3, 801), (1, 5, 5), (1, 880, 2_000), (1, 2_000, 3_000), (0, 0, 10), (1, 9, 8)]
    found = dict(topics.ranges(namespace, wanted))
    offsets = {each: [head.offset for head in heads] for each, heads in found.items()}
    assert offsets == {
        (1, 3, 801): list(range(3, 802)),
        (1, 5, 5): [5],
        (1, 880, 2_000): list(range(880, 900)),
        (1, 2_000, 3_000): [],
        (0, 0, 10): [],
    }
    assert all(head.value == b"%04d" % head.offset * 500 for head in found[1, 3, 801])


def test_ranges_of_a_topic_that_is_gone_are_refused(topics: Topics, namespace: str) -> None:
    with pytest.raises(TopicMissing):
        list(topics.ranges(namespace, [(0, 0, 10)]))


def test_a_partition_without_a_message_has_no_head(kafka: list[str], namespace: str) -> None:
    with Topics(kafka) as topics:  # waits for one until its time limit
        topics.create(namespace, partitions=1, replication=1)
        assert topics.heads(namespace, {0: 0}) == {}


def test_nothing_is_asked_of_kafka_for_nothing(topics: Topics, namespace: str) -> None:
    assert topics.extents(namespace, []) == {}
    assert topics.heads(namespace, {}) == {}


@pytest.fixture
def collected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """kafka-python leaves refused sockets to the garbage collector: it runs while that is expected,
    and no captured log holds them."""
    caplog.set_level(logging.CRITICAL, logger="kafka")
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("collected")
def test_a_broker_that_does_not_answer_is_away() -> None:
    before = set(threading.enumerate())
    with pytest.raises(KafkaAway, match=r"127\.0\.0\.1:1 does not answer"):
        Topics(["127.0.0.1:1"], timeout_ms=200)
    assert set(threading.enumerate()) <= before  # another test's may have ended meanwhile
