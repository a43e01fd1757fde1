"""Raw connections for the protocol's transactions, from Django's settings.

So a test database is honoured, and bridge and workers have sessions of their own kind: autocommit,
`synchronous_commit = off` (rule 8: a lost commit is a Surprise, not a loss), and every
wait bounded: by PostgreSQL, and by a deadline of our own, since a PostgreSQL whose connection lives on
and is dead ends nothing.
"""

import time
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import connections
from psycopg.abc import RV, PQGen

#: Milliseconds. A statement or an idle transaction past these is ended by PostgreSQL.
STATEMENT_TIMEOUT_MS: Final = 30_000
IDLE_IN_TRANSACTION_MS: Final = 10_000
CONNECT_TIMEOUT_S: Final = 5


class NoAnswer(psycopg.OperationalError):
    """PostgreSQL has not answered within the deadline; the session is closed."""


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for no answer longer than `deadline_s`."""

    deadline_s = 0.0

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """As psycopg's, which hands control back to the generator ten times a second at least."""
        try:
            return super().wait(_until(gen, time.monotonic() + self.deadline_s), *args, **kwargs)
        except NoAnswer:
            self.pgconn.finish()
            raise


def _until(gen: PQGen[RV], ends: float) -> PQGen[RV]:
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= ends:
                raise NoAnswer("PostgreSQL has not answered in time: the session is dropped")
            wanted = gen.send(ready)
    except StopIteration as done:
        found: RV = done.value
        return found


def connect(
    *, name: str, lock_timeout_ms: int, deadline_ms: int | None = None
) -> psycopg.Connection[tuple[Any, ...]]:
    """A new session called `name` in pg_stat_activity, which waits NOTIFY_POSTGRES_DEADLINE_MS for an
    answer, or less. Raises psycopg.OperationalError if PostgreSQL is away."""
    parameters = connections["default"].get_connection_params()
    for django_only in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(django_only, None)
    session = (
        ("synchronous_commit", "off"),
        ("lock_timeout", lock_timeout_ms),
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS),
    )
    parameters["options"] = " ".join(
        [parameters.get("options", ""), *(f"-c {key}={value}" for key, value in session)]
    ).strip()
    parameters.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
    made = Session.connect(**parameters, application_name=name, autocommit=True)
    made.deadline_s = (deadline_ms or settings.NOTIFY_POSTGRES_DEADLINE_MS) / 1000
    return made
