"""Sessions with PostgreSQL end every wait by a deadline of their own, whatever the connection says."""

from contextlib import nullcontext
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connections
from pytest_django import Settings

from notify import postgres
from tests.faults.wire import Wire
from workers.apply import Segment, Unavailable
from workers.lanes import PostgresLanes

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture
def wire(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Between the sessions and PostgreSQL."""
    given = connections["default"].get_connection_params()
    wire = Wire(int(given.get("port") or urlsplit(postgres).port or 5432))
    parameters = {**given, "host": "127.0.0.1", "port": wire.port}
    monkeypatch.setattr(connections["default"], "get_connection_params", parameters.copy)
    return wire


def _open(deadline_ms: int) -> psycopg.Connection[tuple[Any, ...]]:
    return postgres.connect(name="test", lock_timeout_ms=1_000, deadline_ms=deadline_ms)


def test_a_connection_that_is_dead_and_lives_on_is_given_up(wire: Wire) -> None:
    session = _open(500)
    assert session.execute("SELECT 1").fetchone() == (1,)
    wire.kill_quietly()
    with pytest.raises(postgres.NoAnswer):
        session.execute("SELECT 1")
    assert session.closed
    with _open(500) as other:
        assert other.execute("SELECT 2").fetchone() == (2,)


def test_it_is_given_up_in_a_transaction_too(wire: Wire) -> None:
    session = _open(500)

    def transact() -> None:
        with session.transaction():
            session.execute("SELECT 1")
            wire.kill_quietly()
            session.execute("SELECT 1")

    with pytest.raises(postgres.NoAnswer):
        transact()
    assert session.closed


def test_what_takes_long_and_is_answered_in_time_is_not_given_up(wire: Wire) -> None:
    with _open(5_000) as session:
        assert session.execute("SELECT 1 FROM pg_sleep(1)").fetchone() == (1,)
    with _open(300) as session, pytest.raises(postgres.NoAnswer):
        session.execute("SELECT 1 FROM pg_sleep(2)")


def test_the_deadline_is_a_setting(wire: Wire, settings: Settings) -> None:
    settings.NOTIFY_POSTGRES_DEADLINE_MS = 400
    session = postgres.connect(name="test", lock_timeout_ms=1_000)
    wire.kill_quietly()
    with pytest.raises(postgres.NoAnswer):
        session.execute("SELECT 1")


SEGMENT = Segment(1, 0, 1, -1, 0)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_worker_drops_a_session_that_cannot_write(in_transaction: bool) -> None:
    """As a failover leaves it: an old session is read-only for good, a new one is not (25006)."""
    made: list[psycopg.Connection[tuple[Any, ...]]] = []

    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        made.append(_open(5_000))
        if len(made) == 1:
            made[0].execute("SET default_transaction_read_only = on")
        return made[-1]

    lanes = PostgresLanes(connect)

    def halt() -> None:
        with lanes.transaction() if in_transaction else nullcontext():
            lanes.halt(SEGMENT, "why")

    with pytest.raises(Unavailable, match="25006"):
        halt()
    halt()
    assert [session.closed for session in made] == [True, False]
    lanes.close()
