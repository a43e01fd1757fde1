"""The bridge and the workers as real processes, from the topic to the row."""

import json
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devstack import product
from notify.domain.engine.lanes import partition_of
from notify.domain.records.patch import ADD, SET, Patch
from notify.domain.records.update import Update
from tests.running import IS_APACHE, PARTITIONS, Running, running

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def pipeline(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """One bridge and two workers, on a Redis of their own: tests empty it and fill it up."""
    name = f"t{uuid.uuid4().hex[:10]}"
    with running(tmp_path_factory.mktemp("stack"), name, own=["REDIS_URL"]) as run:
        # A bridge that is told to stop waits for what workers do; a busy machine may need longer than 5 s.
        product.start_bridge(run.stack, "bridge", env={"NOTIFY_DRAIN_MS": "120000"})
        run.wait_settled()
        for name in ("worker-1", "worker-2"):
            product.start_worker(run.stack, name)
        yield run


def _update(run: Running, record: str, number: int, **more: object) -> Update:
    patch = Patch(False, {"tags.n": (SET, number), "session_count": (ADD, 1)})
    fields = {"patch": patch, **more}
    return Update(run.app.app_id, record, 1_700_000_000_000 + number, "m", **fields)  # type: ignore[arg-type]


def _fresh() -> str:
    return str(uuid.uuid4())


def test_updates_of_a_record_are_applied_in_order_and_once(pipeline: Running) -> None:
    records = [_fresh() for _ in range(20)]
    pipeline.produce([_update(pipeline, record, n) for n in range(30) for record in records])
    pipeline.wait(
        "20 records with 30 sessions",
        lambda: (
            pipeline.rows(
                "SELECT count(*) FROM record WHERE id = ANY(%s::uuid[]) AND session_count = 30 "
                "AND tags = '{\"n\": 29}'",
                records,
            )
            == [(20,)]
        ),
    )


def test_a_lost_queue_is_sent_again(pipeline: Running) -> None:
    record = _fresh()
    for name in ("worker-1", "worker-2"):
        pipeline.stack.kill(name)
    pipeline.produce([_update(pipeline, record, 1)])
    pipeline.wait("planned", lambda: bool(pipeline.rows("SELECT 1 FROM plan")))
    import redis

    redis.Redis.from_url(pipeline.stack.env["REDIS_URL"]).flushall()
    for name in ("worker-1", "worker-2"):
        pipeline.stack.restart(name)
    pipeline.wait("the record", lambda: _has(pipeline, record))


def test_a_redis_that_is_full_ends_no_process(pipeline: Running) -> None:
    import redis

    record = _fresh()
    ended = pipeline.stack.ended()  # by other tests
    with redis.Redis.from_url(pipeline.stack.env["REDIS_URL"]) as client:
        refused = _refused(client)
        client.config_set("maxmemory", 1)
        try:
            pipeline.produce([_update(pipeline, record, 1)])
            pipeline.wait("a refusal", lambda: _refused(client) > refused + 3)
        finally:
            client.config_set("maxmemory", 0)
    pipeline.wait("the record", lambda: _has(pipeline, record))
    assert pipeline.stack.ended() == ended


def _refused(client: Any) -> int:
    return int(client.info("errorstats").get("errorstat_OOM", {"count": 0})["count"])


def _has(run: Running, record: str) -> bool:
    return bool(run.rows("SELECT 1 FROM record WHERE id = %s", record))


def test_a_message_that_cannot_be_read_is_listed_and_the_rest_goes_on(pipeline: Running) -> None:
    record = _fresh()
    partition = partition_of(pipeline.app.app_id, PARTITIONS)
    before = len(pipeline.rows("SELECT 1 FROM dead_letter"))
    pipeline.produce_raw(b"\xff{", partition=partition)
    misrouted = (partition + 1) % PARTITIONS
    from notify.domain.records.update import encode

    pipeline.produce_raw(encode(_update(pipeline, _fresh(), 1)), partition=misrouted)
    pipeline.produce([_update(pipeline, record, 1)])
    pipeline.wait("the record", lambda: _has(pipeline, record))
    pipeline.wait(
        "two dead letters",
        lambda: len(pipeline.rows("SELECT 1 FROM dead_letter")) == before + 2,
    )
    errors = [row[0] for row in pipeline.rows("SELECT error FROM dead_letter ORDER BY id")][before:]
    assert any(error.startswith("malformed") for error in errors)
    assert any(error.startswith("misrouted") for error in errors)


def test_a_log_that_holds_other_messages_than_were_planned_halts_its_stream(
    pipeline: Running,
) -> None:
    """No real Kafka loses messages here: the digests in PostgreSQL are changed instead."""
    first, then = _fresh(), _fresh()
    pipeline.produce([_update(pipeline, first, 1)])
    pipeline.wait_drained()
    partition = partition_of(pipeline.app.app_id, PARTITIONS)
    changed = "UPDATE stream SET token = 1, last_digest = last_digest + 1 WHERE partition = %s"
    pipeline.sql.execute(changed, [partition])  # another token: the bridge loads the stream again
    halted = "SELECT 1 FROM stream WHERE halted LIKE '%%holds other messages%%' AND partition = %s"
    pipeline.wait("the halt", lambda: bool(pipeline.rows(halted, partition)))
    pipeline.produce([_update(pipeline, then, 1)])
    pipeline.sql.execute(
        "UPDATE stream SET last_digest = last_digest - 1, halted = NULL WHERE partition = %s",
        [partition],
    )
    pipeline.wait("the other record", lambda: _has(pipeline, then))


def test_a_write_that_postgresql_refuses_is_isolated_alone(pipeline: Running) -> None:
    records = [_fresh() for _ in range(30)]
    pipeline.sql.execute("ALTER TABLE record ADD CONSTRAINT poison CHECK (identifier <> 'poison')")
    updates = [_update(pipeline, record, 1) for record in records]
    bad = _update(
        pipeline,
        records[7],
        2,
        patch=Patch(False, {"identifier": (SET, "poison"), "tags.x": (SET, 1)}),
    )
    pipeline.produce([*updates, bad, *(_update(pipeline, record, 3) for record in records)])
    pipeline.wait(
        "all the others",
        lambda: (
            pipeline.rows(
                "SELECT count(*) FROM record WHERE id = ANY(%s::uuid[]) AND session_count = 2",
                records,
            )
            == [(30,)]
        ),
    )
    letters = pipeline.rows(
        "SELECT error, message FROM dead_letter WHERE record = %s::uuid", records[7]
    )
    assert len(letters) == 1
    assert letters[0][0].startswith("23514")
    assert json.loads(letters[0][1])["record"] == records[7]
    pipeline.sql.execute("ALTER TABLE record DROP CONSTRAINT poison")


def test_the_number_of_lanes_changes_without_a_stop(pipeline: Running) -> None:
    records = [_fresh() for _ in range(40)]
    pipeline.produce([_update(pipeline, record, 1) for record in records])
    product.manage(pipeline.stack, "lanes", "--to", "3")
    pipeline.produce([_update(pipeline, record, 2) for record in records])
    pipeline.wait(
        "three lanes",
        lambda: (
            pipeline.rows("SELECT DISTINCT lanes FROM stream") == [(3,)]
            and pipeline.rows("SELECT count(*) FROM lane") == [(3 * PARTITIONS,)]
        ),
    )
    pipeline.wait(
        "all updates",
        lambda: (
            pipeline.rows(
                "SELECT count(*) FROM record WHERE id = ANY(%s::uuid[]) AND session_count = 2",
                records,
            )
            == [(40,)]
        ),
    )


def test_a_skip_rule_and_a_limit_act_without_a_restart(pipeline: Running) -> None:
    parent, children = _fresh(), [_fresh() for _ in range(5)]
    links = {"links": {"email": parent}}
    pipeline.produce([_update(pipeline, child, 1, **links) for child in children])
    pipeline.wait("mirrored", lambda: _mirrored(pipeline, parent) == 5)
    _add_policy(pipeline, "link_limit", "label, children", "'email', 4")
    pipeline.produce([_update(pipeline, child, 2) for child in children])
    pipeline.wait(
        "listed as over the limit",
        lambda: (
            pipeline.rows(
                "SELECT sum(n) FROM skipped WHERE record = %s::uuid AND reason = 'mirror_limit'",
                parent,
            )
            == [(5,)]
        ),
    )
    assert _mirrored(pipeline, parent) == 5
    _add_policy(
        pipeline, "skip_rule", "record, scope, rule, active", f"'{children[0]}', 'all', 77, true"
    )
    pipeline.produce([_update(pipeline, child, 3) for child in children])
    pipeline.wait(
        "skipped by the rule",
        lambda: pipeline.rows("SELECT hits FROM skip_count WHERE rule = 77") == [(1,)],
    )
    pipeline.wait(
        "the others", lambda: _tag(pipeline, children[1]) == 3 and _tag(pipeline, children[0]) == 2
    )


def _mirrored(run: Running, record: str) -> int:
    rows = run.rows("SELECT mirrored_updates FROM record WHERE id = %s", record)
    return int(rows[0][0]) if rows else 0


def _tag(run: Running, record: str) -> object:
    rows = run.rows("SELECT tags->'n' FROM record WHERE id = %s", record)
    return rows[0][0] if rows else None


def _add_policy(run: Running, table: str, columns: str, values: str) -> None:
    """A policy version, as the admin adds it."""
    with psycopg.connect(run.stack.env["DATABASE_URL"]) as sql:
        sql.execute("INSERT INTO policy_head (id, version) VALUES (1, 0) ON CONFLICT DO NOTHING")
        sql.execute("UPDATE policy_head SET version = version + 1")
        sql.execute(
            f"INSERT INTO {table} (version, app_id, reason, author, at, {columns}) "
            f"SELECT version, '{run.app.app_id}', 'test', 'test', now(), {values} FROM policy_head"
        )


@pytest.mark.skipif(not IS_APACHE, reason="Tansu may lose the group of a killed bridge for ever")
def test_a_killed_bridge_is_followed_by_another_and_nothing_is_doubled(pipeline: Running) -> None:
    records = [_fresh() for _ in range(200)]
    product.start_bridge(pipeline.stack, "second")
    owners = pipeline.wait_shared("bridge", "second")
    killed = owners[partition_of(pipeline.app.app_id, PARTITIONS)]
    for n in range(10):
        pipeline.produce([_update(pipeline, record, n) for record in records])
        if n == 4:
            pipeline.stack.kill(killed, signal.SIGKILL)
    pipeline.wait(
        "200 records with 10 sessions",
        lambda: (
            pipeline.rows(
                "SELECT count(*) FROM record WHERE id = ANY(%s::uuid[]) AND session_count = 10",
                records,
            )
            == [(200,)]
        ),
    )
    pipeline.stack.restart(killed)
    pipeline.wait_shared("bridge", "second")
    pipeline.stack.kill("second", signal.SIGTERM)
    assert pipeline.stack.child("second").wait(180) == 0
    pipeline.wait_shared("bridge")
    pipeline.wait_settled()


def test_a_bridge_that_is_told_to_stop_leaves_nothing_in_flight(pipeline: Running) -> None:
    pipeline.wait_settled()
    pipeline.produce([_update(pipeline, _fresh(), 1)])
    pipeline.wait_drained()  # so workers run: nothing lands in time where they are still starting
    pipeline.produce([_update(pipeline, _fresh(), 1) for _ in range(100)])
    pipeline.stack.kill("bridge", signal.SIGTERM)
    assert pipeline.stack.child("bridge").wait(180) == 0
    stopped = pipeline.events("bridge_stopped", of="bridge")
    assert stopped[-1]["in_flight"] == 0
    pipeline.stack.restart("bridge")
    pipeline.wait_shared("bridge")
    pipeline.wait_settled()


def test_a_bridge_without_a_topic_says_what_to_do(pipeline: Running) -> None:
    done = subprocess.run(
        [product.PYTHON, "manage.py", "bridge"],
        env={**pipeline.stack.env, "NOTIFY_TOPIC": "another"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    assert "manage.py topic create" in done.stderr
