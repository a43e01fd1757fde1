"""Alerts about outages of PostgreSQL. They are kept in memory, since they cannot be rows of PostgreSQL.

A watcher opens an outage when its checks have failed for `after_s`, and closes it when they have
succeeded again for `close_after_s`. Every watcher does so, also one that is not the leader: the leader
may have failed together with PostgreSQL. All of them send the same key (decision 0031). Example:

    0 s    the connection dies silently; the check that began here waits
    35 s   its deadline ends it: a first failure, PostgreSQL has been away for 35 s
    36 s   the next check fails in a new session too: the outage is opened, since 0 s
    90 s   a check succeeds
    120 s  checks have succeeded for 30 s: the outage is closed
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from notify.monitoring.findings import BAD, POSTGRES_AWAY
from notify.monitoring.watch.message import DueAlert
from notify.telemetry import logs
from notify.telemetry.redaction import redacted

#: How many outages are remembered, for a receiver that has not accepted all of them yet.
KEPT: Final = 20
#: Failed checks in a row that make an outage. One is not enough: after a pause of the watcher's process
#: its session may be dead although PostgreSQL is well.
FAILURES: Final = 2
ERROR_CHARS: Final = 200
#: The link of these alerts. Unlike the admin, this page works without a login while PostgreSQL is away.
_PATH: Final = "/healthz/pipeline"


class Outage(NamedTuple):
    """One outage. `id` is negative, so that it differs from the ids of rows."""

    id: int
    text: str
    opened_at: datetime
    closed_at: datetime | None = None


def _now() -> datetime:
    return datetime.now(UTC)


class Outages:
    """The outages of PostgreSQL that the watcher `name` has seen. Thread-safe."""

    def __init__(
        self,
        name: str,
        *,
        after_s: float,
        close_after_s: float,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._name = name
        self._after_s: Final = after_s
        self._close_after_s: Final = close_after_s
        self._now = now
        self._lock = threading.Lock()
        self._kept: deque[Outage] = deque(maxlen=KEPT)
        self._away_since_s: float | None = None
        self._back_since_s: float | None = None
        self._failures = 0

    def kept(self) -> Sequence[Outage]:
        """The remembered outages, oldest first."""
        with self._lock:
            return list(self._kept)

    def failed(self, error: Exception, *, began_s: float, now_s: float) -> float:
        """Notes that the check that began at `began_s` failed. Returns how many seconds PostgreSQL has been
        away."""
        with self._lock:
            if self._away_since_s is None:
                self._away_since_s, self._failures = began_s, 0
            self._failures += 1
            self._back_since_s = None
            away_s = now_s - self._away_since_s
            if not self._is_open() and self._failures >= FAILURES and away_s >= self._after_s:
                self._open(error, away_s)
        return away_s

    def answered(self, *, now_s: float) -> None:
        """Notes that a check succeeded."""
        with self._lock:
            self._away_since_s = None
            if self._back_since_s is None:
                self._back_since_s = now_s
            if self._is_open() and now_s - self._back_since_s >= self._close_after_s:
                self._close()

    def _is_open(self) -> bool:
        return bool(self._kept) and self._kept[-1].closed_at is None

    def _open(self, error: Exception, away_s: float) -> None:
        now = self._now()
        text = (
            f"PostgreSQL has not answered the watcher {self._name} for {away_s:.0f} s: {_plain(error)}. "
            "Until it answers, no other problem can be found."
        )
        opened_at = now - timedelta(seconds=away_s)
        self._kept.append(Outage(-int(opened_at.timestamp()), text, opened_at))
        logs.get().error("finding_opened", kind=POSTGRES_AWAY, reason=text)

    def _close(self) -> None:
        outage = self._kept[-1] = self._kept[-1]._replace(closed_at=self._now())
        seconds = ((outage.closed_at or self._now()) - outage.opened_at).total_seconds()
        logs.get().info(
            "finding_closed", kind=POSTGRES_AWAY, reason=outage.text, seconds=round(seconds, 1)
        )


def _plain(error: Exception) -> str:
    """The first line of libpq's message, which says what is wrong. The next lines only guess why."""
    lines = redacted(f"{type(error).__name__}: {error}").splitlines()
    return lines[0].strip().rstrip(".")[:ERROR_CHARS]


class UnsentOutages:
    """The outages as `AlertStore` (notify/monitoring/watch/alert_rows.py), for one channel and one thread."""

    def __init__(self, outages: Outages) -> None:
        self._outages = outages
        #: The outages that were sent, by id: whether their end was sent too.
        self._sent: dict[int, bool] = {}

    def due(self) -> list[DueAlert]:
        kept = self._outages.kept()
        self._sent = {each.id: self._sent[each.id] for each in kept if each.id in self._sent}
        return [self._due(each) for each in kept if self._is_due(each)]

    def sent(self, alert: DueAlert, *, error: str) -> None:
        self._sent[alert.id] = alert.closed_at is not None

    def failed(self, alert: DueAlert, *, error: str) -> None:
        """Does nothing: the log says why, and the outage stays due."""

    def _is_due(self, outage: Outage) -> bool:
        is_end_sent = self._sent.get(outage.id)
        return is_end_sent is None or (outage.closed_at is not None and not is_end_sent)

    def _due(self, outage: Outage) -> DueAlert:
        return DueAlert(
            id=outage.id,
            key=POSTGRES_AWAY,
            kind=POSTGRES_AWAY,
            level=BAD,
            text=outage.text,
            app=None,
            app_name=None,
            record=None,
            path=_PATH,
            opened_at=outage.opened_at,
            closed_at=outage.closed_at,
            opening_sent=outage.id in self._sent,
            read_at=_now(),
        )
