"""Health: live, ready, pipeline, and what the pipeline is judged by."""

import pytest

from notify.producer import Unavailable
from notify.web.apps_cache import AppsCache, Known, ReadFailed
from notify.web.pipeline import Pipeline
from notify.web.reads import StreamRow
from tests.fake_web import Web


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def stream(
    partition: int = 0,
    *,
    planned: int = 10,
    frontier: int = 10,
    halted: str | None = None,
    ticked_s: float | None = 0.1,
    unread_s: float = 0.0,
    unheard_s: float = 0.0,
) -> StreamRow:
    """A stream that is well, but for what is given."""
    return StreamRow(partition, planned, frontier, halted, ticked_s, unread_s, unheard_s)


def test_live_needs_nothing(web: Web) -> None:
    web.producer.fails = Unavailable("away")
    web.reads.away = True
    assert web.call("GET", "/healthz/live").status == 200


def test_ready_while_kafka_answers_and_apps_are_known(web: Web) -> None:
    assert web.call("GET", "/healthz/ready").status == 200
    web.reads.away = True
    assert web.call("GET", "/healthz/ready").status == 200
    web.producer.has = 7
    assert "7 partitions" in web.call("GET", "/healthz/ready").body["errors"][0]
    web.producer.fails = Unavailable("Kafka does not answer")
    answer = web.call("GET", "/healthz/ready")
    assert (answer.status, answer.body["errors"]) == (503, ["Kafka does not answer"])
    assert answer.headers["Retry-After"] == "1"


def test_not_ready_before_the_first_read(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> Known:
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
        stream(2, ticked_s=None),
        stream(3, ticked_s=11),
    ]
    answer = web.call("GET", "/healthz/pipeline")
    assert answer.status == 503
    assert [error.partition(":")[0] for error in answer.body["errors"]] == [
        "partition 1 is halted",
        "partition 2 was never ticked",
        "partition 3 was last ticked 11 s ago",
    ]
    web.reads.rows = []
    assert "topic create" in web.call("GET", "/healthz/pipeline").body["errors"][0]
    web.reads.away = True
    assert web.call("GET", "/healthz/pipeline").status == 503


def test_a_frontier_that_does_not_move_is_stalled() -> None:
    pipeline = Pipeline(stalled_after_s=10, unheard_after_s=30)
    behind = [stream(planned=20, frontier=10)]
    assert pipeline.problems(behind, 100.0) == []
    assert pipeline.problems(behind, 110.0) == []
    assert "from offset 10 for 11 s" in pipeline.problems(behind, 111.0)[0]
    assert pipeline.problems([stream(planned=30, frontier=11)], 112.0) == []
    assert pipeline.problems([stream(planned=30, frontier=11)], 123.0) != []


def test_waiting_starts_when_something_is_planned() -> None:
    """A quiet stream that was looked at long ago is not stalled when traffic comes back."""
    pipeline = Pipeline(stalled_after_s=10, unheard_after_s=30)
    assert pipeline.problems([stream()], 0.0) == []
    assert pipeline.problems([stream(planned=20)], 1_000.0) == []
    assert pipeline.problems([stream(planned=20, frontier=20)], 1_005.0) == []
    assert pipeline.problems([stream(planned=30, frontier=20)], 2_000.0) == []
    assert pipeline.problems([stream(planned=30, frontier=20)], 2_011.0) != []


def test_partitions_are_judged_apart() -> None:
    pipeline = Pipeline(stalled_after_s=10, unheard_after_s=30)
    pipeline.problems([stream(0, planned=20), stream(1, planned=20)], 0.0)
    (problem,) = pipeline.problems(
        [stream(0, planned=20), stream(1, planned=20, frontier=15)], 11.0
    )
    assert problem.startswith("partition 0 ")


def test_a_partition_that_is_not_read_is_not_well() -> None:
    judge = Pipeline(stalled_after_s=6, unheard_after_s=30)
    assert judge.problems([stream(unread_s=6)], 0) == []
    (problem,) = judge.problems([stream(unread_s=7)], 0)
    assert problem.startswith("partition 0 is not read: Kafka has sent its bridge nothing for 7 s")


def test_a_partition_whose_bridge_hears_nothing_from_kafka_is_not_well() -> None:
    judge = Pipeline(stalled_after_s=6, unheard_after_s=30)
    assert judge.problems([stream(unheard_s=30)], 0) == []
    (problem,) = judge.problems([stream(unheard_s=31)], 0)
    assert problem == (
        "partition 0 is not known: Kafka has not answered its bridge for 31 s, so nobody knows what waits"
    )
