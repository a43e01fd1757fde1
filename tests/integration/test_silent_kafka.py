"""A broker that is there and says nothing: what the bridge's consumer does meanwhile."""

import os
import signal
import uuid
from pathlib import Path
from typing import Any, Final

import pytest

from devstack.stack import FINDERS, Stack
from ingest.consumer import KafkaLog
from ingest.log_ends import LogEnds
from notify.domain.engine.stream import LogFacts
from notify.kafka.topic import Topics
from tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

HEARTBEAT_MS: Final = 1_000
POLL_MS: Final = 20
POLLS: Final = 50
#: Looks for messages in one poll: a poll that spins takes about fifty.
TURNS_MAX: Final = 8


def test_a_poll_does_not_spin_while_kafka_is_silent(kafka: list[str], tmp_path: Path) -> None:
    """kafka-python leaves callbacks on the fetch that hangs, at each turn: it took 15 MB/s, and a core."""
    environ = {name: text for name, text in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
    with Stack(tmp_path, environ=environ, say=lambda line: None) as stack:
        broker = FINDERS["kafka"](stack.directory, stack.env)
        stack.add(broker)
        stack.settle(broker)
        servers, name = broker.url.split(","), f"t{uuid.uuid4().hex[:10]}"
        with Topics(servers, timeout_ms=60_000) as topics:
            topics.create(name, partitions=1, replication=1)
        log = _log(servers, name)
        try:
            _assigned(log)
            stack.kill("kafka", signal.SIGSTOP)
            turns = _turns(log)
            for _ in range(2 * HEARTBEAT_MS // POLL_MS):  # until a heartbeat is due
                log.poll(POLL_MS)
            turns.clear()
            for _ in range(POLLS):
                log.poll(POLL_MS)
            assert len(turns) <= POLLS * TURNS_MAX
        finally:
            stack.kill("kafka", signal.SIGCONT)
            log.close()


def _log(servers: list[str], name: str) -> KafkaLog:
    def facts(partitions: Any) -> dict[int, LogFacts]:
        return {}

    return KafkaLog(
        servers=servers,
        topic=name,
        group=name,
        facts=facts,
        session_timeout_ms=12_000,
        heartbeat_ms=HEARTBEAT_MS,
        fetch_bytes=100_000,
        ends=LogEnds(lambda partitions: {}),
    )


def _assigned(log: KafkaLog) -> None:
    """Returns with a fetch on its way."""
    got: list[int] = []

    def is_assigned() -> bool:
        got.extend(log.poll(POLL_MS).assigned)
        return bool(got)

    wait_for(is_assigned)
    log.resume(0)
    for _ in range(20):
        log.poll(POLL_MS)


def _turns(log: KafkaLog) -> list[int]:
    """A list that grows by one at each look for messages."""
    turns: list[int] = []
    fetcher = log._consumer._fetcher
    look = fetcher.fetch_records

    def counted(*arguments: Any, **named: Any) -> Any:
        turns.append(1)
        return look(*arguments, **named)

    fetcher.fetch_records = counted
    return turns
