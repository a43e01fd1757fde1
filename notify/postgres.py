"""Raw connections for the protocol's transactions, from Django's settings.

So a test database is honoured, and bridge and workers have sessions of their own kind: autocommit,
`synchronous_commit = off` (rule 8: a lost commit is a Surprise, not a loss), and every
wait bounded.
"""

from typing import Any, Final

import psycopg
from django.db import connections

#: Milliseconds. A statement or an idle transaction past these is ended by PostgreSQL.
STATEMENT_TIMEOUT_MS: Final = 30_000
IDLE_IN_TRANSACTION_MS: Final = 10_000
CONNECT_TIMEOUT_S: Final = 5


def connect(*, name: str, lock_timeout_ms: int) -> psycopg.Connection[tuple[Any, ...]]:
    """A new session called `name` in pg_stat_activity. Raises psycopg.OperationalError if PostgreSQL
    is away."""
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
    return psycopg.connect(**parameters, application_name=name, autocommit=True)
