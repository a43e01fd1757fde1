"""The log's true ends: kept while Kafka answers, older while it does not."""

from collections.abc import Collection
from types import SimpleNamespace

import pytest

from ingest.log_ends import LogEnds, TopicEnds
from ingest.ports import LogAway, LogEnd
from tests.waiting import wait_for


class Kafka:
    """Says an end for each partition, or nothing."""

    def __init__(self) -> None:
        self.end = 7
        self.away = False

    def __call__(self, partitions: Collection[int]) -> dict[int, int]:
        if self.away:
            raise LogAway("no broker")
        return dict.fromkeys(partitions, self.end)


def test_nothing_is_known_before_the_first_answer() -> None:
    assert LogEnds(Kafka()).end(0) is None


def test_an_end_is_asked_for_again_and_again_until_closed() -> None:
    kafka = Kafka()
    ends = LogEnds(kafka)
    ends.watch([0, 3])
    wait_for(lambda: ends.end(3) is not None)
    kafka.end = 9
    wait_for(lambda: (ends.end(0) or LogEnd(0, 0)).offset == 9)
    ends.close()
    assert ends._thread is not None
    ends._thread.join(timeout=10)
    assert not ends._thread.is_alive()


def test_what_kafka_does_not_answer_keeps_its_end_and_grows_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("ingest.log_ends.time", SimpleNamespace(monotonic=lambda: now[0]))
    kafka = Kafka()
    ends = LogEnds(kafka)
    ends._watched = frozenset([0])
    ends.ask()
    kafka.away = True
    now[0] += 4
    ends.ask()
    now[0] += 3
    assert ends.end(0) == LogEnd(7, 7_000, 3_000)
    ends._watched = frozenset([1])
    ends.ask()
    assert ends.end(0) is None


def test_a_process_that_was_frozen_does_not_call_kafka_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("ingest.log_ends.time", SimpleNamespace(monotonic=lambda: now[0]))
    ends = LogEnds(Kafka())
    ends._watched = frozenset([0])
    ends.ask()
    now[0] += 3_600
    assert ends.end(0) == LogEnd(7, 3_600_000, 0)


def test_a_topic_without_kafka_has_no_ends() -> None:
    ends = TopicEnds(["127.0.0.1:1"], "t")
    with pytest.raises(LogAway, match=r"127\.0\.0\.1:1"):
        ends([0])
