"""A bridge joins its group knowing the topic's partitions, or it would give them to nobody and join
again when it learns of them."""

import time
import uuid

import pytest

from ingest.consumer import KafkaLog
from ingest.log_ends import LogEnds
from notify.kafka.topic import Topics

PARTITIONS = 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_leader_of_a_group_knows_what_it_gives(
    kafka: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """On Apache Kafka, which answers a join at once; one time in twenty it then gave nothing for
    five minutes."""
    for _ in range(4):
        name = f"t{uuid.uuid4().hex[:10]}"
        with Topics(kafka, timeout_ms=60_000) as topics:
            topics.create(name, partitions=PARTITIONS, replication=1)
        log = KafkaLog(
            servers=kafka,
            topic=name,
            group=name,
            facts=lambda partitions: {},
            session_timeout_ms=12_000,
            heartbeat_ms=1_000,
            fetch_bytes=100_000,
            ends=LogEnds(lambda partitions: {}),
        )
        try:
            assigned: set[int] = set()
            deadline = time.monotonic() + 180
            while len(assigned) < PARTITIONS and time.monotonic() < deadline:
                assigned |= set(log.poll(100).assigned)
            generation = log._consumer._coordinator._generation
            for _ in range(5):
                log.poll(100)
            joined_again = log._consumer._coordinator._generation != generation
        finally:
            log.close()
        assert assigned == set(range(PARTITIONS))
        assert not joined_again
    assert "No partition metadata" not in caplog.text
