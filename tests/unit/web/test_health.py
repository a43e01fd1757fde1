"""Health: live, ready, pipeline, and what the pipeline is judged by."""

from dataclasses import replace
from typing import Any

import pytest

from notify.kafka.producer import KafkaUnavailable
from notify.monitoring.partition_state import StreamNow
from notify.web.access.apps_cache import AppsCache, AppsSnapshot, ReadFailed
from notify.web.http.pipeline import problems
from tests.fake_web import Web
from tests.streams_now import STATE_BOUNDS, STREAM


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def stream(partition: int = 0, **given: Any) -> StreamNow:
    """A stream that is well, but for what is given."""
    return replace(STREAM, partition=partition, **given)


def test_live_needs_nothing(web: Web) -> None:
    web.producer.fails = KafkaUnavailable("away")
    web.reads.away = True
    assert web.call("GET", "/healthz/live").status == 200


def test_ready_while_kafka_answers_and_apps_are_known(web: Web) -> None:
    assert web.call("GET", "/healthz/ready").status == 200
    web.reads.away = True
    assert web.call("GET", "/healthz/ready").status == 200
    web.producer.has = 7
    assert "7 partitions" in web.call("GET", "/healthz/ready").body["errors"][0]
    web.producer.fails = KafkaUnavailable("Kafka does not answer")
    answer = web.call("GET", "/healthz/ready")
    assert (answer.status, answer.body["errors"]) == (503, ["Kafka does not answer"])
    assert answer.headers["Retry-After"] == "1"


def test_not_ready_before_the_first_read(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> AppsSnapshot:
        raise ReadFailed("PostgreSQL does not answer")

    cache = AppsCache(read, refresh_ms=3_600_000)
    monkeypatch.setattr(web.services.apps, "known", cache.known)
    answer = web.call("GET", "/healthz/ready")
    assert (answer.status, answer.body["errors"]) == (503, ["PostgreSQL does not answer"])
    update = web.call("PUT", "/players/x", {"app_id": "x"})
    assert update.status == 503
    assert int(update.headers["Retry-After"]) > 0
    cache.close()


def test_the_pipeline_names_what_is_wrong(web: Web) -> None:
    web.reads.rows = [stream(0), stream(1)]
    assert web.call("GET", "/healthz/pipeline").body == {"status": "ok", "partitions": 2}
    web.reads.rows = [
        stream(0),
        stream(1, halted="the log starts after frontier"),
        stream(2, ticked_ago_s=None),
        stream(3, ticked_ago_s=11),
        stream(4, ticked_ago_s=None, starting_s=3),
    ]
    answer = web.call("GET", "/healthz/pipeline")
    assert answer.status == 503
    assert answer.body["errors"] == [
        "partition 1 is halted: the log starts after frontier",
        "partition 2 is stalled: no bridge has ever been active",
        "partition 3 is stalled: no bridge has been active for 11 s; the last one was bridge host:7",
        "partition 4 is starting: no bridge is active yet; the start began 3 s ago",
    ]
    web.reads.rows = []
    assert "topic create" in web.call("GET", "/healthz/pipeline").body["errors"][0]
    web.reads.away = True
    assert web.call("GET", "/healthz/pipeline").status == 503


def test_the_first_look_sees_a_partition_that_is_stuck() -> None:
    """N5: it is judged by what is recorded, so a process that never looked before says the same."""
    waits = stream(planned=120, waiting_s=49)
    assert problems([waits], STATE_BOUNDS) == [
        "partition 0 is stuck: decided updates at offset 100 of partition 0 have not been applied for 49 s"
    ]
    assert problems([replace(waits, waiting_s=9)], STATE_BOUNDS) == []


def test_partitions_are_judged_apart() -> None:
    (problem,) = problems([stream(0, waiting_s=11), stream(1, waiting_s=3)], STATE_BOUNDS)
    assert problem.startswith("partition 0 ")


def test_a_partition_that_is_not_read_is_not_well() -> None:
    assert problems([stream(unread_s=10)], STATE_BOUNDS) == []
    assert problems([stream(unread_s=11, log_end=101)], STATE_BOUNDS) == [
        (
            "partition 0 is unread: Kafka has sent no messages to bridge host:7 for 11 s, although 1 "
            "message waits"
        )
    ]


def test_a_partition_whose_bridge_hears_nothing_from_kafka_is_not_well() -> None:
    assert problems([stream(unheard_s=29)], STATE_BOUNDS) == []
    assert problems([stream(unheard_s=31)], STATE_BOUNDS) == [
        "partition 0 is unheard: Kafka has not answered bridge host:7 for 31 s, so the lag is unknown"
    ]
