"""Counts for pages and alerts how many requests of each app were refused at a rate limit, how many values
were left out (`left_out`), and how many requests were answered 503. Otherwise nobody would notice that a
limit which was set in an incident still refuses requests days later.

Requests only count in memory. A thread writes the counts once a second, in its own session, which it opens at
the first refusal. It is best effort: counts that PostgreSQL does not accept are dropped, since they would be
stored with a wrong time. `notify_web_limited_total` and `notify_web_refused_total` count them anyway.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import psycopg

from notify.databases import postgres, queries
from notify.telemetry import logs

EVERY_S: Final = 1.0
_QUERIES: Final = queries.read(Path(__file__).parents[1] / "sql" / "queries.sql")
_LOCK_TIMEOUT_MS: Final = 2_000

#: Used in place of an app for requests that were answered 503.
UNAVAILABLE: Final = ""
#: The number of requests by app and limit, or by UNAVAILABLE and reason; or of values by app and kind.
Counts = Mapping[tuple[str, str], int]


class RefusedRequests:
    """Collects counts, and passes them to `write` once a second. Thread-safe."""

    def __init__(self, write: Callable[[Counts], None], *, every_s: float = EVERY_S) -> None:
        self._write = write
        self._every_s = every_s
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._fails = False

    def count(self, app: str, limit: str, n: int = 1) -> None:
        """Counts a request of the app that the limit `name` refused, or `n` values of the kind `name` that
        were left out. Never waits.

        With UNAVAILABLE as the app: counts a request that was answered 503 for the reason `name`.
        """
        with self._lock:
            self._counts[app, limit] += n
            # Starts at the first count, since threads do not survive a fork.
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="refused", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Writes what was counted since the last flush."""
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
        """Writes the rest and ends the thread, unless PostgreSQL hangs."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self.flush()
        self.flush()


class CountWriter:
    """Adds counts by app with the statement `writes`, and those of UNAVAILABLE to `unavailable_sample`, in a
    session that is opened when needed. For one thread."""

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
            # Sorted by key, so that two processes that write the same rows cannot deadlock.
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
