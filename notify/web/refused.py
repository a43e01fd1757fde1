"""How many requests of each app were refused at a rate limit, how many values were left out of its
requests (`left_out`), and how many requests were answered 503, for pages and alerts: nobody should be
refused for days by a limit that was set in an incident and forgotten.

Requests only count, in memory. A thread writes the counts once a second, in the session of its own that
it opens at the first refusal. Best effort: what PostgreSQL does not take is dropped, since it would be
said of a later moment than its own; `notify_web_limited_total` and `notify_web_refused_total` have
counted it all the same.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import psycopg

from notify import logs, postgres, queries

EVERY_S: Final = 1.0
_QUERIES: Final = queries.read(Path(__file__).parent / "sql" / "queries.sql")
_LOCK_TIMEOUT_MS: Final = 2_000

#: In place of an app: those that were answered 503, whichever app's they were.
UNAVAILABLE: Final = ""
#: Requests by app and the limit that refused them, or by UNAVAILABLE and the reason; or values by app and
#: what they were.
Counts = Mapping[tuple[str, str], int]


class RefusedRequests:
    """Counts, and hands them to `write` while there are any. Thread-safe."""

    def __init__(self, write: Callable[[Counts], None], *, every_s: float = EVERY_S) -> None:
        self._write = write
        self._every_s = every_s
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._fails = False

    def count(self, app: str, limit: str, n: int = 1) -> None:
        """One request of the app was refused by the limit of this name; or `n` values of this name were
        left out. Waits for nothing.

        With UNAVAILABLE as the app: it was answered 503 for the reason of this name.
        """
        with self._lock:
            self._counts[app, limit] += n
            # Not before: a thread does not outlive a fork.
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="refused", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Write what was counted since the last time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            self._write(counts)
        except psycopg.Error as error:
            if not self._fails:
                logs.get().warning("refused_not_written", error=str(error))
            self._fails = True
        else:
            self._fails = False

    def close(self) -> None:
        """Write what is left, and leave no thread behind, unless PostgreSQL hangs."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self.flush()
        self.flush()


class ToPostgres:
    """Adds counts by app to a table by the statement `writes`, and those of UNAVAILABLE to
    `unavailable_sample`, in one session that is opened when it is needed. For one thread."""

    def __init__(self, writes: str = "write_refused") -> None:
        self._writes = writes
        self._session: psycopg.Connection[tuple[object, ...]] | None = None

    def __call__(self, counts: Counts) -> None:
        """Raises psycopg.Error; the next call opens a new session."""
        try:
            if self._session is None:
                self._session = postgres.connect(
                    name="notify-web-refused", lock_timeout_ms=_LOCK_TIMEOUT_MS
                )
            # In the order of their keys: two processes that write the same rows wait, and never for
            # each other.
            rows = sorted(counts.items())
            limited = [row for row in rows if row[0][0] != UNAVAILABLE]
            if limited:
                self._session.execute(
                    _QUERIES[self._writes],
                    {
                        "apps": [app for (app, _), _ in limited],
                        "limits": [limit for (_, limit), _ in limited],
                        "counts": [n for _, n in limited],
                    },
                )
            unavailable = rows[: len(rows) - len(limited)]
            if unavailable:
                self._session.execute(
                    _QUERIES["write_unavailable"],
                    {
                        "reasons": [reason for (_, reason), _ in unavailable],
                        "counts": [n for _, n in unavailable],
                    },
                )
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
