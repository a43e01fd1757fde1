"""Which watcher acts: the one whose session holds PostgreSQL's advisory lock."""

from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import psycopg

from notify import postgres, queries

QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "queries.sql")
#: Any number that nothing else in this database locks.
LOCK: Final = 7_018_353_672_006_001
#: A watcher that hangs, or whose host is gone, leaves the seat to another after so long.
PATIENCE_MS: Final = 10_000
LOCK_TIMEOUT_MS: Final = 2_000

Session = psycopg.Connection[tuple[Any, ...]]


class Seat:
    """All that the watcher writes goes through the session that holds the lock: without the seat
    nothing can be written by mistake."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._held = False

    def take(self) -> Session | None:
        """The session, if it holds the seat now; None if another watcher does.

        Raises psycopg.Error where PostgreSQL is away; call `leave` then.
        """
        if self._session is None:
            self._session = postgres.connect(name="notify watch", lock_timeout_ms=LOCK_TIMEOUT_MS)
            run(self._session, "patience", ms=str(PATIENCE_MS))
        if not self._held:
            self._held = bool(run(self._session, "seat", lock=LOCK)[0][0])
        return self._session if self._held else None

    def leave(self) -> None:
        """Ends the session. On return the lock is free, if PostgreSQL could be asked to release it.

        Closing alone is not enough: PostgreSQL keeps the lock until it has read the end of the
        connection, which takes a moment, and another watcher that asks meanwhile is turned away.
        """
        session, is_held = self._session, self._held
        self._session, self._held = None, False
        if session is None:
            return
        with closing(session), suppress(psycopg.Error):
            if is_held:
                run(session, "release", lock=LOCK)


def run(session: Session, statement: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement of sql/queries.sql; none where it returns none."""
    cursor = session.execute(QUERIES[statement], parameters)
    return cursor.fetchall() if cursor.description else []
