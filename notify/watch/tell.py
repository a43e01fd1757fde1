"""Tells alerts by one way, from a thread of its own: a receiver that hangs delays nothing else."""

import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg

from notify import logs, metrics, postgres
from notify.watch.message import Due
from notify.watch.pace import Pace
from notify.watch.seat import LOCK_TIMEOUT_MS, Session, run
from notify.watch.ways import NotTold, Way

ROUND_S: Final = 0.5
#: What was not told is said in the log at most so often.
MUTED_EVERY_S: Final = 60.0
MUTED: Final = "not told: NOTIFY_ALERTS_PER_HOUR messages went out this hour"


class Teller:
    """At least once for each alert and way: what was told is noted after the receiver took it."""

    def __init__(self, way: Way, pace: Pace, *, hours: int, acts: Callable[[], bool]) -> None:
        self._way = way
        self._pace = pace
        self._hours = hours
        self._acts = acts
        self._muted = 0
        self._muted_said_s = -MUTED_EVERY_S

    def run(self, stopped: threading.Event) -> None:
        """Returns when stopped; while PostgreSQL is away it tries again."""
        session: Session | None = None
        while not stopped.wait(ROUND_S):
            if not self._acts():
                continue
            try:
                if session is None or session.closed:
                    name = f"notify watch {self._way.name}"
                    session = postgres.connect(name=name, lock_timeout_ms=LOCK_TIMEOUT_MS)
                self.round(session)
            except psycopg.Error:
                if session is not None:
                    session.close()
                session = None

    def round(self, session: Session) -> None:
        """Tries all that is due and waits for nothing; what never failed first."""
        due = [Due(*row) for row in run(session, self._way.due, hours=self._hours)]
        self._pace.keep({alert.id for alert in due})
        for alert in sorted(due, key=lambda each: (self._pace.tries(each.id), each.id)):
            if not self._acts():
                return
            if self._pace.is_ready(alert.id, now_s=time.monotonic()):
                self._tell(session, alert)
        self._say_muted()

    def _tell(self, session: Session, alert: Due) -> None:
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
                self._failed(session, alert, str(why))
                return
            self._pace.sent(now_s=time.monotonic())
            metrics.WATCH_ALERTS.labels(way=self._way.name, outcome="sent").inc()
        run(session, self._way.done, id=alert.id, at=alert.read_at, error=error)

    def _failed(self, session: Session, alert: Due, why: str) -> None:
        self._pace.failed(alert.id, now_s=time.monotonic())
        tries = self._pace.tries(alert.id)
        metrics.WATCH_ALERTS.labels(way=self._way.name, outcome="failed").inc()
        logs.get().warning(
            "alert_not_told", way=self._way.name, kind=alert.kind, attempt=tries, error=why
        )
        run(session, "failed", id=alert.id, error=f"{self._way.name}: {why}")

    def _say_muted(self) -> None:
        now_s = time.monotonic()
        if self._muted and now_s - self._muted_said_s >= MUTED_EVERY_S:
            logs.get().warning("alerts_muted", way=self._way.name, messages=self._muted)
            self._muted, self._muted_said_s = 0, now_s
