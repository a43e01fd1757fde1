"""Outages of PostgreSQL: the alerts that cannot be rows of it. Kept in this process's memory.

A watcher that cannot look for `after_s` opens one, and closes it when it has looked again for
`close_after_s`. Every watcher does so for itself, one that stands by too: the one that acted may be gone
together with PostgreSQL. All of them tell the same key (decision 0031).

    0 s   the connection dies silently; the look that began here waits
    35 s  its deadline ends it: a first failure, away for 35 s
    36 s  a second one, since a new session fares no better: opened, as of 0 s
    90 s  a look succeeds
    120 s looks have succeeded for 30 s: closed
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from notify import logs
from notify.findings.find import BAD, POSTGRES_AWAY
from notify.redaction import redacted
from notify.watch.message import Due

#: Outages that are remembered, for a receiver that has not taken all of them.
KEPT: Final = 20
#: Failed looks in a row that make an outage: a watcher that was frozen wakes up with a dead session.
FAILURES: Final = 2
ERROR_CHARS: Final = 200
#: Answers without a login while PostgreSQL is away, which the admin does not.
_PATH: Final = "/healthz/pipeline"


class Outage(NamedTuple):
    """One outage. `id` is negative, so that it is no row's."""

    id: int
    text: str
    opened_at: datetime
    closed_at: datetime | None = None


def _now() -> datetime:
    return datetime.now(UTC)


class Outages:
    """The outages of PostgreSQL that this watcher saw. Thread-safe. `name` is the watcher's."""

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
        """Those that are remembered, in order."""
        with self._lock:
            return list(self._kept)

    def failed(self, error: Exception, *, began_s: float, now_s: float) -> float:
        """The look that began at `began_s` found no PostgreSQL; for how many seconds it is away."""
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
        """A look found PostgreSQL."""
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
            "Until it answers, nothing else that is wrong is found."
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
    """The first line, which says what is wrong; libpq's next ones guess why."""
    lines = redacted(f"{type(error).__name__}: {error}").splitlines()
    return lines[0].strip().rstrip(".")[:ERROR_CHARS]


class UntoldOutages:
    """Kept (notify/watch/alert_rows.py) of the outages, as of one way of telling. For one thread."""

    def __init__(self, outages: Outages) -> None:
        self._outages = outages
        #: Whether the end was told too, of those of which something was.
        self._told: dict[int, bool] = {}

    def due(self) -> list[Due]:
        """As Kept."""
        kept = self._outages.kept()
        self._told = {each.id: self._told[each.id] for each in kept if each.id in self._told}
        return [self._due(each) for each in kept if self._is_due(each)]

    def told(self, alert: Due, *, error: str) -> None:
        """As Kept."""
        self._told[alert.id] = alert.closed_at is not None

    def failed(self, alert: Due, *, error: str) -> None:
        """As Kept: the log says why."""

    def _is_due(self, outage: Outage) -> bool:
        is_end_told = self._told.get(outage.id)
        return is_end_told is None or (outage.closed_at is not None and not is_end_told)

    def _due(self, outage: Outage) -> Due:
        return Due(
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
            opening_told=outage.id in self._told,
            read_at=_now(),
        )
