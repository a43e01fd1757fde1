"""Elects the leader of the watchers: the one whose session holds an advisory lock of PostgreSQL."""

from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import psycopg

from notify.databases import postgres, queries

QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "queries.sql")
#: The number of the lock. Nothing else in this database may lock it.
LOCK: Final = 7_018_353_672_006_001
#: After this long another watcher becomes the leader if the present one hangs or its host is gone.
IDLE_TIMEOUT_MS: Final = 10_000
LOCK_TIMEOUT_MS: Final = 2_000

Session = psycopg.Connection[tuple[Any, ...]]


class LeaderLock:
    """The leadership of this watcher. All its writes go through the session that holds the lock, so a
    watcher that is no longer the leader cannot write by mistake."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._is_leader = False

    def acquire(self) -> Session | None:
        """Tries to become or stay the leader. Returns the session; None if another watcher is the leader.

        Raises psycopg.Error if PostgreSQL is unavailable; call `release` then.
        """
        if self._session is None:
            self._session = postgres.connect(name="notify watch", lock_timeout_ms=LOCK_TIMEOUT_MS)
            run(self._session, "set_idle_timeout", ms=str(IDLE_TIMEOUT_MS))
        if not self._is_leader:
            self._is_leader = bool(run(self._session, "try_lock", lock=LOCK)[0][0])
        return self._session if self._is_leader else None

    def release(self) -> None:
        """Ends the session and releases the lock, if PostgreSQL answers.

        Closing the connection is not enough: PostgreSQL keeps the lock until it notices the end of the
        connection, and another watcher would not get the lock during that moment.
        """
        session, was_leader = self._session, self._is_leader
        self._session, self._is_leader = None, False
        if session is None:
            return
        with closing(session), suppress(psycopg.Error):
            if was_leader:
                run(session, "release", lock=LOCK)


def run(session: Session, statement: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
    """Runs a statement of sql/queries.sql and returns its rows; empty if it returns none."""
    cursor = session.execute(QUERIES[statement], parameters)
    return cursor.fetchall() if cursor.description else []
