"""Tells alerts by one way, from a thread of its own: a receiver that hangs delays nothing else."""

import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg

from notify import logs, metrics, postgres
from notify.watch.alert_rows import AlertRows, Kept
from notify.watch.message import Due
from notify.watch.pace import Pace
from notify.watch.seat import LOCK_TIMEOUT_MS, Session
from notify.watch.ways import NotTold, Way

ROUND_S: Final = 0.5
#: What was not told is said in the log at most so often.
MUTED_EVERY_S: Final = 60.0
MUTED: Final = "not told: NOTIFY_ALERTS_PER_HOUR messages went out this hour"


class Teller:
    """Tells by one way what is due in where alerts are kept; `acts` says whether this watcher may.

    At least once for each alert: what was told is noted after the receiver took it.
    """

    def __init__(self, way: Way, pace: Pace, *, acts: Callable[[], bool]) -> None:
        self._way = way
        self._pace = pace
        self._acts = acts
        self._muted = 0
        self._muted_said_s = -MUTED_EVERY_S

    def run(self, alerts: Kept, stopped: threading.Event) -> None:
        """Tells what is kept in memory; returns when stopped."""
        while not stopped.wait(ROUND_S):
            self.round(alerts)

    def run_rows(self, stopped: threading.Event, *, hours: int) -> None:
        """Tells what is kept in PostgreSQL; returns when stopped; while it is away it tries again."""
        session: Session | None = None
        while not stopped.wait(ROUND_S):
            if not self._acts():
                continue
            try:
                if session is None or session.closed:
                    name = f"notify watch {self._way.name}"
                    session = postgres.connect(name=name, lock_timeout_ms=LOCK_TIMEOUT_MS)
                self.round(AlertRows(session, self._way, hours=hours))
            except psycopg.Error:
                if session is not None:
                    session.close()
                session = None

    def round(self, alerts: Kept) -> None:
        """Tries all that is due and waits for nothing; what never failed first."""
        due = alerts.due()
        self._pace.keep({alert.id for alert in due})
        for alert in sorted(due, key=lambda each: (self._pace.tries(each.id), each.id)):
            if not self._acts():
                return
            if self._pace.is_ready(alert.id, now_s=time.monotonic()):
                self._tell(alerts, alert)
        self._say_muted()

    def _tell(self, alerts: Kept, alert: Due) -> None:
        error = ""
        for event in alert.events():
            if not self._pace.has_room(now_s=time.monotonic()):
                self._muted += 1
                error = MUTED
                metrics.WATCH_ALERTS.labels(way=self._way.name, outcome="muted").inc()
                continue
            try:
                self._way.tell(alert, event)
            except NotTold as why:
                self._failed(alerts, alert, str(why))
                return
            self._pace.sent(now_s=time.monotonic())
            metrics.WATCH_ALERTS.labels(way=self._way.name, outcome="sent").inc()
        alerts.told(alert, error=error)

    def _failed(self, alerts: Kept, alert: Due, why: str) -> None:
        self._pace.failed(alert.id, now_s=time.monotonic())
        tries = self._pace.tries(alert.id)
        metrics.WATCH_ALERTS.labels(way=self._way.name, outcome="failed").inc()
        logs.get().warning(
            "alert_not_told", way=self._way.name, kind=alert.kind, attempt=tries, error=why
        )
        alerts.failed(alert, error=why)

    def _say_muted(self) -> None:
        now_s = time.monotonic()
        if self._muted and now_s - self._muted_said_s >= MUTED_EVERY_S:
            logs.get().warning("alerts_muted", way=self._way.name, messages=self._muted)
            self._muted, self._muted_said_s = 0, now_s
