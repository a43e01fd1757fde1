"""Sessions with PostgreSQL: those of the protocol's transactions, and Django's own.

A session of the protocol is made from Django's settings, so a test database is honoured, and is of its
own kind: autocommit, `synchronous_commit = off` (rule 8: a lost commit is a Surprise, not a loss), and
every wait bounded twice: by PostgreSQL, and by a deadline of ours. A server whose connection is open
and dead ends no wait.

A session closes itself as soon as it is of no more use: past its deadline, and after an error that a new
session may not meet. So whoever holds one need only ask whether it is closed.
"""

import math
import time
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import sql
from psycopg.abc import RV, PQGen

#: Milliseconds. A statement or an idle transaction past these is ended by PostgreSQL.
STATEMENT_TIMEOUT_MS: Final = 30_000
IDLE_IN_TRANSACTION_MS: Final = 10_000
#: PostgreSQL 17 and newer also end a transaction after this time. The other two do not hold in a pipeline
#: that stopped before its Sync.
TRANSACTION_TIMEOUT_MS: Final = 120_000
_TRANSACTION_TIMEOUT_SINCE: Final = 170_000
#: Seconds that a new connection may take, the login included; libpq takes no less than 2.
CONNECT_TIMEOUT_S: Final = 5

#: SQLSTATEs and their classes that are about a statement, its data or other sessions' locks. After any
#: other error the session is closed, since a new one may do better: a failover leaves sessions read-only
#: (25006), PostgreSQL ends or refuses them (57P01 to 57P03), lacks memory or connections (class 53), or has
#: another schema than the session has cached (0A000).
_SESSION_IS_FINE: Final = (
    "21",  # cardinality violation
    "22",  # data exception
    "23",  # integrity constraint violation
    "25P02",  # in a failed transaction: the error before this one decides
    "40",  # transaction rollback: a deadlock, a conflict
    "42",  # syntax error or access rule violation
    "54",  # program limit exceeded
    "55",  # not in the state that it needs: a lock was not available
    "57014",  # query canceled: statement_timeout
    "P0",  # raised by PL/pgSQL
)


class NoAnswer(psycopg.OperationalError):
    """PostgreSQL has not answered within the deadline; the session is closed."""


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for no answer longer than `deadline_s`, and closes itself after an error
    that a new session may not meet."""

    deadline_s = math.inf

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """As psycopg's, which hands control back to the generator ten times a second at least."""
        try:
            return super().wait(_until(gen, time.monotonic() + self.deadline_s), *args, **kwargs)
        except psycopg.Error as error:
            if _is_over(error):
                self.pgconn.finish()
            raise


def _is_over(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        # Of psycopg itself: the connection is lost, or the arguments are wrong.
        return isinstance(error, psycopg.OperationalError)
    return not error.sqlstate.startswith(_SESSION_IS_FINE)


def _until(gen: PQGen[RV], ends: float) -> PQGen[RV]:
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= ends:
                raise NoAnswer("PostgreSQL did not answer in time: the session is closed")
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
    made = Session.connect(**parameters, application_name=name, autocommit=True)
    made.deadline_s = (deadline_ms or settings.NOTIFY_POSTGRES_DEADLINE_MS) / 1000
    if made.info.server_version >= _TRANSACTION_TIMEOUT_SINCE:
        made.execute(
            sql.SQL("SET transaction_timeout = {}").format(sql.Literal(TRANSACTION_TIMEOUT_MS))
        )
    return made


def limit_django() -> None:
    """From now on Django's new connections of this process have NOTIFY_POSTGRES_DEADLINE_MS too.

    For processes that run on. A command that somebody waits for may take as long as it needs: a
    migration that builds an index says nothing meanwhile.
    """
    DjangoSession.deadline_s = settings.NOTIFY_POSTGRES_DEADLINE_MS / 1000


class DjangoSession(Session):
    """Django's own connection. Its deadline holds from the first statement on, which Django sends before
    it says that there is a new connection."""
