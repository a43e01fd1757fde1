"""PostgreSQL that dies, loses commits, refuses, blocks, stands still, or is set back."""

import contextlib
import shutil
import signal
import subprocess
import time
from typing import Final

import psutil
import psycopg
from psycopg.sql import SQL

from devstack import postgres
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import Scene
from tests.qa.faults.seen import Seen

AWAY_S: Final = 3.0
FULL_S: Final = 8.0
#: Three times the workers' lock_timeout (NOTIFY_LOCK_TIMEOUT_MS, 2 s).
LOCKED_S: Final = 6.0
STOPPED_S: Final = 10.0
SNAPSHOT_AGE_S: Final = 5.0
BOUND_S: Final = 20
OURS: Final = "application_name IN ('notify-bridge', 'notify-worker')"


@row(
    "postgres-killed",
    "PostgreSQL killed (SIGKILL to all of it), again after 3 s",
    bound_s=20,
    fast=True,
)
def _postgres_killed(scene: Scene) -> Seen:
    seen = Seen(scene)
    crash(scene)
    scene.flow(AWAY_S)
    scene.restart("postgres")
    return seen.saying(f"{seen.all_acked()} meanwhile")


@row(
    "postgres-immediate-restart", "PostgreSQL stopped at once (SIGQUIT), started again", bound_s=20
)
def _postgres_immediate_restart(scene: Scene) -> Seen:
    seen = Seen(scene)
    scene.kill("postgres", signal.SIGQUIT)
    scene.later(lambda: _ensure_started(scene))
    assert scene.stack.child("postgres").wait(30) is not None, "it did not stop"
    scene.restart("postgres")
    return seen.saying(f"{seen.all_acked()} meanwhile")


@row(
    "postgres-commits-lost", "PostgreSQL killed with seconds of commits not yet on disk", bound_s=20
)
def _postgres_commits_lost(scene: Scene) -> Seen:
    seen = Seen(scene)
    # Commits stay in the server's own buffers then, which die with it.
    writers = [each.pid for each in _family(scene) if "walwriter" in " ".join(each.cmdline())]
    assert writers, "PostgreSQL has no process that writes its log"
    scene.later(lambda: _signal(writers, signal.SIGCONT))
    _signal(writers, signal.SIGSTOP)
    scene.flow(AWAY_S)
    scene.freeze_until_end(*scene.bridges, *scene.workers)
    before = _applied(scene)
    crash(scene)
    scene.restart("postgres")
    lost = before - _applied(scene)
    assert lost > 0, "no commit was lost"
    return seen.saying(f"the frontiers stood {lost} offsets further back after the restart")


@row("postgres-no-connections", "all connections of PostgreSQL taken for 8 s", bound_s=20)
def _postgres_no_connections(scene: Scene) -> Seen:
    seen = Seen(scene)
    held: list[psycopg.Connection] = []
    try:
        _take_all(scene, held)
        ends = time.monotonic() + FULL_S
        while time.monotonic() < ends:
            held[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'notify-%'"
            )
            _take_all(scene, held)
            scene.flow(0.2)
        left = held[0].execute(f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}").fetchone()
        assert left == (0,), f"{left} sessions of bridges and workers are left"
    finally:
        for each in held:
            each.close()
    return seen.saying(f"{len(held)} connections taken, none left for bridges and workers")


@row(
    "postgres-failover-read-only",
    "PostgreSQL leaves the sessions there are read-only, as a failover may; new ones can write",
    bound_s=20,
    alone=True,
)
def _postgres_failover_read_only(scene: Scene) -> Seen:
    seen = Seen(scene)
    ((database,),) = scene.sql("SELECT quote_ident(current_database())")
    with psycopg.connect(scene.dsn, autocommit=True) as session:
        # Of every role's new sessions.
        session.execute(
            SQL("ALTER DATABASE {} SET default_transaction_read_only = off").format(SQL(database))
        )
        session.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        session.execute("SELECT pg_reload_conf()")
    scene.flow(AWAY_S)
    return seen.saying("they were not made writable again")


@row("postgres-rows-locked", "lanes and records locked by another session for 6 s", bound_s=20)
def _postgres_rows_locked(scene: Scene) -> Seen:
    seen = Seen(scene)
    with psycopg.connect(scene.dsn) as locking:
        lanes = locking.execute("SELECT last FROM lane WHERE lane IN (0, 1, 2) FOR UPDATE")
        records = locking.execute(
            "SELECT id FROM record ORDER BY updated_at DESC LIMIT 100 FOR UPDATE SKIP LOCKED"
        )
        scene.flow(LOCKED_S)
        locking.rollback()
    assert seen.unavailable > 0, "nobody waited for a lock past its timeout"
    return seen.saying(f"{lanes.rowcount} lanes and {records.rowcount} records locked")


@row("postgres-backend-stopped", "the bridges' and workers' backends stopped for 10 s", bound_s=20)
def _postgres_backend_stopped(scene: Scene) -> Seen:
    seen = Seen(scene)
    pids = [pid for (pid,) in scene.sql(f"SELECT pid FROM pg_stat_activity WHERE {OURS}")]
    assert len(pids) >= len(scene.bridges), pids
    scene.later(lambda: _signal(pids, signal.SIGCONT))
    _signal(pids, signal.SIGSTOP)
    scene.flow(STOPPED_S)
    ((held,),) = scene.sql("SELECT max(planned - frontier) FROM stream")
    return seen.saying(f"{len(pids)} backends stood; a window held at most {held} offsets")


@row(
    "postgres-snapshot",
    "PostgreSQL set back to a snapshot 5 s old while all else runs on",
    bound_s=BOUND_S,
    alone=True,
)
def _postgres_snapshot(scene: Scene) -> Seen:
    data = postgres.home_of(scene.stack.directory) / "data"
    copy = data.with_name("snapshot")
    seen = Seen(scene)
    crash(scene)
    subprocess.run(["cp", "-a", data, copy], check=True)
    (copy / "postmaster.pid").unlink()
    scene.restart("postgres")
    # A bridge reads full windows again before it goes on.
    first = _applied(scene)
    scene.wait("something is applied", lambda: _applied(scene) > first, timeout_s=BOUND_S)
    scene.flow(SNAPSHOT_AGE_S)
    newest = _applied(scene)
    crash(scene)
    shutil.rmtree(data)
    copy.rename(data)
    scene.restart("postgres")
    oldest = _applied(scene)
    assert newest > oldest, "PostgreSQL did not go back"
    return seen.saying(f"the frontiers went back by {newest - oldest} offsets")


def crash(scene: Scene) -> None:
    """SIGKILL to the server and its backends, which are leaders of sessions of their own."""
    family = _family(scene)
    scene.kill("postgres")
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(family, timeout=10)
    scene.later(lambda: _ensure_started(scene))


def _family(scene: Scene) -> list[psutil.Process]:
    return psutil.Process(scene.stack.child("postgres").pid).children(recursive=True)


def _ensure_started(scene: Scene) -> None:
    if "postgres" in scene.stack.ended():
        scene.restart("postgres")


def _take_all(scene: Scene, held: list[psycopg.Connection]) -> None:
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            held.append(psycopg.connect(scene.dsn, autocommit=True, connect_timeout=5))


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).send_signal(number)


def _applied(scene: Scene) -> int:
    ((found,),) = scene.sql("SELECT sum(frontier) FROM stream")
    return int(found)
