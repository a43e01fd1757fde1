"""Sessions with PostgreSQL end every wait by a deadline of their own, whatever the connection says."""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import OperationalError as DjangoOperationalError
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import Settings

from notify.databases import postgres
from notify.domain.engine.task import Segment
from notify.settings import _database as settings_of
from tests.qa.faults.wire import Wire
from tests.waiting import wait_for
from workers.apply import PostgresUnavailable
from workers.lanes import PostgresLanes

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

SESSION_IS_OVER = (
    *("08006", "0A000", "25006", "25P03", "28000", "53100", "53200", "53300"),
    *("57P01", "57P02", "57P03", "57P05", "58030", "F0000", "XX000"),
)
SESSION_IS_FINE = (
    *("21000", "22012", "23505", "25P02", "40001", "40P01", "42501", "42P01"),
    *("54000", "55P03", "57014", "P0001"),
)


@pytest.fixture
def wire(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Between the sessions and PostgreSQL."""
    given = connections["default"].get_connection_params
    with closing(Wire(int(given().get("port") or urlsplit(postgres).port or 5432))) as wire:

        def parameters() -> dict[str, Any]:
            return {**given(), "host": "127.0.0.1", "port": wire.port}

        monkeypatch.setattr(connections["default"], "get_connection_params", parameters)
        yield wire


#: Of a wait that is to end. A busy machine answers in time.
DEADLINE_MS = 3_000
#: Of one that is not.
PATIENT_MS = 120_000


def _open(deadline_ms: int) -> psycopg.Connection[tuple[Any, ...]]:
    return postgres.connect(name="test", lock_timeout_ms=1_000, deadline_ms=deadline_ms)


def test_a_connection_that_is_dead_and_lives_on_is_given_up(wire: Wire) -> None:
    session = _open(DEADLINE_MS)
    assert session.execute("SELECT 1").fetchone() == (1,)
    wire.kill_quietly()
    with pytest.raises(postgres.NoAnswer):
        session.execute("SELECT 1")
    assert session.closed
    with _open(DEADLINE_MS) as other:
        assert other.execute("SELECT 2").fetchone() == (2,)


def test_it_is_given_up_in_a_transaction_too(wire: Wire) -> None:
    session = _open(DEADLINE_MS)

    def transact() -> None:
        with session.transaction():
            session.execute("SELECT 1")
            wire.kill_quietly()
            session.execute("SELECT 1")

    with pytest.raises(postgres.NoAnswer):
        transact()
    assert session.closed


def test_what_takes_long_and_is_answered_in_time_is_not_given_up(wire: Wire) -> None:
    with _open(PATIENT_MS) as session:
        assert session.execute("SELECT 1 FROM pg_sleep(1)").fetchone() == (1,)
    with _open(DEADLINE_MS) as session:
        pid = session.info.backend_pid
        with pytest.raises(postgres.NoAnswer):
            session.execute("SELECT 1 FROM pg_sleep(60)")
    # PostgreSQL sleeps on, and while it does the test's database cannot be dropped.
    with _open(PATIENT_MS) as other:
        assert other.execute("SELECT pg_terminate_backend(%s, 60000)", [pid]).fetchone() == (True,)


def test_the_deadline_is_a_setting(wire: Wire, settings: Settings) -> None:
    settings.NOTIFY_POSTGRES_DEADLINE_MS = DEADLINE_MS
    session = postgres.connect(name="test", lock_timeout_ms=1_000)
    wire.kill_quietly()
    with pytest.raises(postgres.NoAnswer):
        session.execute("SELECT 1")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """New connections are waited for as short as libpq can."""
    monkeypatch.setattr(postgres, "CONNECT_TIMEOUT_S", 2)


@pytest.mark.usefixtures("impatient")
def test_a_new_session_that_nobody_answers_is_given_up_too(wire: Wire) -> None:
    wire.cut()
    with pytest.raises(psycopg.OperationalError, match="timeout expired"):
        _open(DEADLINE_MS)


def _fail(session: psycopg.Connection[tuple[Any, ...]], state: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        session.execute(f"DO $$ BEGIN RAISE 'as if' USING ERRCODE = '{state}'; END $$".encode())
    assert caught.value.sqlstate == state


@pytest.mark.parametrize("state", SESSION_IS_OVER)
def test_a_session_ends_with_an_error_that_a_new_one_may_not_meet(wire: Wire, state: str) -> None:
    session = _open(PATIENT_MS)
    _fail(session, state)
    assert session.closed


@pytest.mark.parametrize("state", SESSION_IS_FINE)
def test_a_session_goes_on_after_an_error_of_a_statement(wire: Wire, state: str) -> None:
    with _open(PATIENT_MS) as session:
        _fail(session, state)
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_session_goes_on_after_wrong_arguments(wire: Wire) -> None:
    with _open(PATIENT_MS) as session:
        with pytest.raises(psycopg.ProgrammingError):
            session.execute("SELECT %s", (1, 2))
        assert session.execute("SELECT 1").fetchone() == (1,)


@contextmanager
def _django(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseDatabaseWrapper]:
    """A connection of Django's own, through the wire."""
    made = connections.create_connection("default")
    parameters = connections["default"].get_connection_params
    monkeypatch.setattr(made, "get_connection_params", parameters)
    try:
        yield made
    finally:
        made.close()


def _asked(connection: BaseDatabaseWrapper) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()


def test_djangos_own_connections_have_the_deadline_where_a_process_runs_on(
    wire: Wire, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NOTIFY_POSTGRES_DEADLINE_MS = DEADLINE_MS
    monkeypatch.setattr(postgres.DjangoSession, "deadline_s", math.inf)
    postgres.limit_django()
    with _django(wire, monkeypatch) as connection:
        assert _asked(connection) == (1,)
        wire.kill_quietly()
        with pytest.raises(DjangoOperationalError, match="did not answer in time"):
            _asked(connection)
        connection.close()
        assert _asked(connection) == (1,)
        # Django asks PostgreSQL before it says that there is a connection.
        with closing(connection.get_new_connection(connection.get_connection_params())) as new:
            assert new.deadline_s == DEADLINE_MS / 1000


@pytest.mark.usefixtures("impatient")
def test_a_new_connection_of_djangos_own_that_nobody_answers_is_given_up_too(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _django(wire, monkeypatch) as connection:
        wire.cut()
        with pytest.raises(DjangoOperationalError, match="timeout expired"):
            _asked(connection)


def test_database_url_may_say_how_long_a_new_connection_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = connections.create_connection("default")
    assert made.get_connection_params()["connect_timeout"] == postgres.CONNECT_TIMEOUT_S
    monkeypatch.setitem(made.settings_dict, "OPTIONS", {"connect_timeout": "9"})
    assert made.get_connection_params()["connect_timeout"] == "9"


def test_a_command_waits_for_as_long_as_it_takes(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _django(wire, monkeypatch) as connection:
        assert _asked(connection) == (1,)
        assert isinstance(connection.connection, postgres.Session)
        assert connection.connection.deadline_s == math.inf


def test_postgresql_probes_whether_our_host_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _open(PATIENT_MS) as session:
        assert _keepalive(session) == ("5", "2", "3", "10000")
        # Not instead of the session's own settings.
        assert session.execute("SHOW lock_timeout").fetchone() == ("1s",)
    # The environment's and DATABASE_URL's own come last, so PostgreSQL takes them.
    monkeypatch.setenv("PGOPTIONS", "-c tcp_keepalives_count=4")
    options = settings_of("postgresql://host/name?options=-c%20tcp_keepalives_idle%3D60")
    made = connections.create_connection("default")
    monkeypatch.setitem(made.settings_dict["OPTIONS"], "options", options["OPTIONS"]["options"])
    with closing(made.get_new_connection(made.get_connection_params())) as session:
        assert _keepalive(session) == ("60", "2", "4", "10000")


def _keepalive(session: psycopg.Connection[tuple[Any, ...]]) -> tuple[Any, ...]:
    """What PostgreSQL does to know whether our host is there."""
    names = ("idle", "interval", "count")
    found = [session.execute(f"SHOW tcp_keepalives_{name}".encode()).fetchone() for name in names]
    found.append(session.execute("SHOW tcp_user_timeout").fetchone())
    return tuple(row[0] for row in found if row)


def test_a_transaction_ends_where_its_pipeline_stopped_without_a_sync(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres, "TRANSACTION_TIMEOUT_MS", 3_000)
    held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
    with _open(PATIENT_MS) as other, closing(_open(PATIENT_MS)) as session:
        if session.info.server_version < 170_000:
            pytest.skip("transaction_timeout is of PostgreSQL 17")

        def stop_before_the_sync() -> None:
            with session.pipeline():
                session.execute("BEGIN")
                session.execute("SELECT pg_advisory_xact_lock(1)").fetchone()
                wait_for(lambda: not other.execute(held, [session.info.backend_pid]).fetchall())

        with pytest.raises(psycopg.Error):
            stop_before_the_sync()


SEGMENT = Segment(1, 0, 1, -1, 0, lane=0)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_worker_drops_a_session_that_cannot_write(in_transaction: bool) -> None:
    """As a failover leaves it: an old session is read-only for good, a new one is not (25006)."""
    made: list[psycopg.Connection[tuple[Any, ...]]] = []

    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        made.append(_open(PATIENT_MS))
        if len(made) == 1:
            made[0].execute("SET default_transaction_read_only = on")
        return made[-1]

    lanes = PostgresLanes(connect)

    def halt() -> None:
        with lanes.transaction() if in_transaction else nullcontext():
            lanes.halt(SEGMENT, "why")

    with pytest.raises(PostgresUnavailable, match="25006"):
        halt()
    halt()
    assert [session.closed for session in made] == [True, False]
    lanes.close()
