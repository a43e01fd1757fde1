"""PostgreSQL holds what a serial reading of the topic comes to, whatever was killed on the way.

At least NOTIFY_EQUALITY_UPDATES random updates go through HTTP. NOTIFY_EQUALITY_SEED repeats the
traffic of a run that failed; which process was where when it was killed does not repeat.

Bridges are killed on Apache Kafka only (see `running.IS_APACHE`). On the embedded broker they lose their
PostgreSQL sessions instead.
"""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, LiteralString

import pytest

from devstack import product
from devstack.oracle.compare import compare
from notify.domain.engine.lanes import partition_of
from notify.domain.records.update import DELETE, Update, encode
from notify.kafka.topic import Topics
from tests.acceptance.random_traffic import Customer, World
from tests.acceptance.senders import Senders
from tests.running import IS_APACHE, PARTITIONS, Running, running

UPDATES: Final = int(os.environ.get("NOTIFY_EQUALITY_UPDATES", "100000"))
SEED: Final = int(os.environ.get("NOTIFY_EQUALITY_SEED", random.SystemRandom().randrange(10**9)))
#: Of all updates; the others come in batches.
SINGLE_SHARE: Final = 0.04
CUSTOMERS: Final = 6
STARTED: Final = time.monotonic()
REASONS: Final = {"skip_rule", "link_limit", "mirror_limit"}
SEND_S: Final = 900
DRAIN_S: Final = 300

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SEND_S + DRAIN_S + 300)]

_SKIP: Final = """
    WITH head AS (UPDATE policy_head SET version = version + 1 RETURNING version)
    INSERT INTO skip_rule
        (version, rule, app_id, record, scope, active, reason, author, at, expires_at)
    SELECT version,
        COALESCE((SELECT min(rule) FROM skip_rule WHERE app_id = %(app)s AND record = %(record)s), version),
        %(app)s, %(record)s, %(scope)s, %(active)s, 'test', 'test', now(), now() + %(lives)s
    FROM head
"""
_LIMIT: Final = """
    WITH head AS (UPDATE policy_head SET version = version + 1 RETURNING version)
    INSERT INTO link_limit (version, app_id, label, children, reason, author, at, expires_at)
    SELECT version, %(app)s, %(label)s, %(children)s, 'test', 'test', now(), now() + %(lives)s
    FROM head
"""
_TERMINATE_BRIDGES: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'notify-bridge'
"""
_POSITIONS: Final = "SELECT partition, frontier, planned FROM stream ORDER BY partition"
_LANES_BEHIND: Final = """
    SELECT lane, lane.last, isolate, tries
    FROM lane JOIN stream ON stream.id = lane.stream
    WHERE partition = %s AND lane.last < planned - 1 ORDER BY lane.last
"""


def test_postgresql_is_the_serial_replay_of_the_topic(
    postgres: str, redis_url: str, kafka: list[str], tmp_path: Path, namespace: str
) -> None:
    with running(tmp_path, namespace) as run:
        try:
            _test(run)
        except BaseException as error:
            error.add_note(f"NOTIFY_EQUALITY_SEED={SEED} NOTIFY_EQUALITY_UPDATES={UPDATES}")
            raise


def _test(run: Running) -> None:
    world = World(_customers(run), SEED)
    web_url = _start(run)
    single = int(UPDATES * SINGLE_SHARE)
    senders = Senders(web_url, world, SEED, batched=UPDATES - single, single=single, threads=2)
    for share, name, act in _events(run, world):
        _send(run, senders, share)
        _say(f"{senders.accepted} accepted; now: {name}")
        act()
    _send(run, senders, 1)
    accepted = senders.accepted
    assert accepted >= UPDATES
    _say(f"all {accepted} accepted")

    _wait_drained(run)
    _say("drained")
    report = compare(
        run.stack.env["DATABASE_URL"], run.stack.env["KAFKA_BOOTSTRAP_SERVERS"], run.topic
    )

    _say(str(report))
    assert report.equal, str(report)
    assert report.messages >= accepted
    _assert_everything_happened(run, world)


def _say(line: str) -> None:
    """Shown with -s, and where the test fails."""
    print(f"{time.monotonic() - STARTED:6.1f} s  {line}", flush=True)


def _customers(run: Running) -> list[Customer]:
    """In more than one partition."""
    customers = [Customer(run.app.app_id, run.app.key)]
    for number in range(1, CUSTOMERS):
        made = json.loads(product.manage(run.stack, "app", "create", f"App {number}", "--json"))
        customers.append(Customer(made["id"], made["key"]))
    return customers


def _start(run: Running) -> str:
    """Two bridges, two workers and web, all ready; returns web's URL."""
    for name in ("bridge-1", "bridge-2"):
        product.start_bridge(run.stack, name)
    for name in ("worker-1", "worker-2"):
        product.start_worker(run.stack, name)
    web_url = product.start_web(run.stack)
    product.wait_ready(run.stack, web_url, timeout_s=300)
    return web_url


def _events(run: Running, world: World) -> list[tuple[float, str, Callable[[], object]]]:
    """What happens once this share of the updates is accepted."""
    hot, closely = world.customers[0].app, world.customers[1]

    def skip(
        customer: Customer, scope: str, *, active: bool = True, lives: str | None = None
    ) -> None:
        record = customer.admin_email
        _edit(run, _SKIP, app=customer.app, record=record, scope=scope, active=active, lives=lives)

    def limit(app: str | None, label: str, children: int | None, lives: str | None = None) -> None:
        _edit(run, _LIMIT, app=app, label=label, children=children, lives=lives)

    def lower_limits() -> None:
        _wait_planned(run)
        limit(closely.app, "email", 5)
        limit(hot, "email", 8)

    def skip_a_record() -> None:
        _wait_planned(run)
        skip(closely, "all")
        limit(None, "user", 5)

    def skip_for_a_while() -> None:
        _wait_planned(run)
        skip(world.customers[0], "mirrored", lives="3 seconds")
        limit(None, "sms", 3, lives="5 seconds")

    def lift() -> None:
        _wait_planned(run)
        skip(closely, "all", active=False)
        limit(closely.app, "email", None)

    return [
        (0.05, "a limit above the default", lambda: limit(hot, "email", 150)),
        (0.10, "delete the hot row", lambda: _delete(run, world.customers[0])),
        (0.15, "lose bridge-1", lambda: _lose_bridge(run, "bridge-1")),
        (0.20, "garbage", lambda: _produce_garbage(run, closely)),
        (0.25, "bring bridge-1 back", lambda: _bring_back(run, "bridge-1")),
        (0.35, "lower limits", lower_limits),
        (0.40, "kill worker-1", lambda: run.stack.kill("worker-1")),
        (0.45, "skip a record", skip_a_record),
        (0.55, "restart worker-1", lambda: run.stack.restart("worker-1")),
        (0.60, "skip mirrored updates, for seconds", skip_for_a_while),
        (0.70, "lose bridge-2", lambda: _lose_bridge(run, "bridge-2")),
        (0.70, "kill worker-2", lambda: run.stack.kill("worker-2")),
        (0.78, "bring bridge-2 back", lambda: _bring_back(run, "bridge-2")),
        (0.78, "restart worker-2", lambda: run.stack.restart("worker-2")),
        (0.85, "lift the skip rule", lift),
    ]


def _reasons(run: Running) -> set[str]:
    """Why updates were dropped so far."""
    return {reason for (reason,) in run.rows("SELECT DISTINCT reason FROM skipped")}


def _lose_bridge(run: Running, name: str) -> None:
    """Kill the bridge or, on the embedded broker, terminate the PostgreSQL sessions of all bridges."""
    if IS_APACHE:
        run.stack.kill(name)
    else:
        assert run.rows(_TERMINATE_BRIDGES), "no bridge has a session"


def _bring_back(run: Running, name: str) -> None:
    """Start the bridge that was killed."""
    if IS_APACHE:
        run.stack.restart(name)


def _edit(run: Running, statement: LiteralString, **fields: Any) -> None:
    """Add a policy version, as the admin does."""
    run.sql.execute("INSERT INTO policy_head (id, version) VALUES (1, 0) ON CONFLICT DO NOTHING")
    run.sql.execute(statement, fields)


def _delete(run: Running, customer: Customer) -> None:
    """Empty the record that all devices of the customer are linked to."""
    run.produce(
        [Update(customer.app, customer.admin_email, 1_700_000_000_000, "delete", op=DELETE)]
    )


def _produce_garbage(run: Running, customer: Customer) -> None:
    """What no web of ours writes: bytes that are no update, and updates in a wrong partition."""
    right = partition_of(customer.app, PARTITIONS)
    misrouted = encode(Update(customer.app, customer.admin_email, 1_700_000_000_000, "misrouted"))
    for number in range(5):
        run.produce_raw(b"no update %d \x00\xff" % number, partition=number % PARTITIONS)
        run.produce_raw(misrouted, partition=(right + 1) % PARTITIONS)


def _send(run: Running, senders: Senders, share: float) -> None:
    """Have so much of the traffic accepted; the pipeline may lag behind."""
    senders.allow(share)
    deadline = time.monotonic() + SEND_S
    while not senders.rest:
        if time.monotonic() > deadline:
            log = run.stack.tail("web", 8)
            pytest.fail(
                f"web accepted {senders.accepted} of {UPDATES} in {SEND_S} s; it logs\n{log}"
            )
        time.sleep(0.005)


def _wait_planned(run: Running) -> None:
    """Wait until all that was sent so far is decided: what comes next acts on what is sent next."""
    _wait(run, lambda frontier, planned, end: planned == end)


def _wait_drained(run: Running) -> None:
    """Wait until every offset of every log is applied."""
    _wait(run, lambda frontier, planned, end: frontier == planned == end)


def _wait(run: Running, holds: Callable[[int, int, int], bool]) -> None:
    deadline = time.monotonic() + DRAIN_S
    with Topics(run.stack.env["KAFKA_BOOTSTRAP_SERVERS"].split(",")) as topics:
        logs = topics.extents(run.topic, range(PARTITIONS))
    while stuck := [
        (partition, frontier, planned, logs[partition].end)
        for partition, frontier, planned in run.rows(_POSITIONS)
        if not holds(frontier, planned, logs[partition].end)
    ]:
        if time.monotonic() > deadline:
            lines = [_describe(run, *each) for each in stuck]
            tails = [f"{path.stem} logs\n{run.stack.tail(path.stem, 8)}" for path in run.logs()]
            pytest.fail("\n".join((f"stuck for {DRAIN_S} s", *lines, *tails)))
        time.sleep(0.1)


def _describe(run: Running, partition: int, frontier: int, planned: int, end: int) -> str:
    lanes = run.rows(_LANES_BEHIND, partition)
    behind = "; ".join(
        f"lane {lane} stands at {last} (isolate {isolate}, tries {tries})"
        for lane, last, isolate, tries in lanes
    )
    return (
        f"partition {partition} is applied up to {frontier} and planned up to {planned} "
        f"of {end}: {behind}"
    )


def _assert_everything_happened(run: Running, world: World) -> None:
    """The traffic and the policy edits reached every rule: else equality says little."""
    assert _reasons(run) == REASONS
    dead = dict(run.rows("SELECT split_part(error, ':', 1), count(*) FROM dead_letter GROUP BY 1"))
    assert dead == {"malformed": 5, "misrouted": 5}
    for table in ("link", "parent", "record"):
        assert run.rows(f"SELECT 1 FROM {table} LIMIT 1")
    assert run.rows("SELECT 1 FROM record WHERE deleted LIMIT 1")
    ((written,),) = run.rows(
        "SELECT session_count + mirrored_updates FROM record WHERE id = %s", world.hot_row
    )
    assert written > UPDATES / 10
