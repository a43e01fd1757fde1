"""Sends alerts through one channel, in a thread of its own: a receiver that hangs delays nothing else."""

import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg

from notify.databases import postgres
from notify.monitoring.watch.alert_channels import AlertChannel, NotSent
from notify.monitoring.watch.alert_rows import AlertRows, AlertStore
from notify.monitoring.watch.leader_lock import LOCK_TIMEOUT_MS, Session
from notify.monitoring.watch.message import DueAlert
from notify.monitoring.watch.pace import Pace
from notify.telemetry import logs, metrics

ROUND_S: Final = 0.5
#: The log says at most this often that alerts were not sent because of NOTIFY_ALERTS_PER_HOUR.
MUTED_EVERY_S: Final = 60.0
MUTED: Final = "not sent: NOTIFY_ALERTS_PER_HOUR messages were sent this hour"


class AlertSender:
    """Sends the due alerts through one channel while `may_send` says that this watcher may send.

    Each event is sent at least once: it is marked as sent after the receiver has accepted it.
    """

    def __init__(self, channel: AlertChannel, pace: Pace, *, may_send: Callable[[], bool]) -> None:
        self._channel = channel
        self._pace = pace
        self._may_send = may_send
        self._muted = 0
        self._muted_said_s = -MUTED_EVERY_S

    def run(self, alerts: AlertStore, stopped: threading.Event) -> None:
        """Sends alerts that are kept in memory, until stopped."""
        while not stopped.wait(ROUND_S):
            self.round(alerts)

    def run_rows(self, stopped: threading.Event, *, hours: int) -> None:
        """Sends alerts that are rows of PostgreSQL, until stopped; retries while PostgreSQL is away."""
        session: Session | None = None
        while not stopped.wait(ROUND_S):
            if not self._may_send():
                continue
            try:
                if session is None or session.closed:
                    name = f"notify watch {self._channel.name}"
                    session = postgres.connect(name=name, lock_timeout_ms=LOCK_TIMEOUT_MS)
                self.round(AlertRows(session, self._channel, hours=hours))
            except psycopg.Error:
                if session is not None:
                    session.close()
                session = None

    def round(self, alerts: AlertStore) -> None:
        """Tries to send each due alert once, without waiting; those that never failed come first."""
        due = alerts.due()
        self._pace.keep({alert.id for alert in due})
        for alert in sorted(due, key=lambda each: (self._pace.tries(each.id), each.id)):
            if not self._may_send():
                return
            if self._pace.is_ready(alert.id, now_s=time.monotonic()):
                self._send(alerts, alert)
        self._say_muted()

    def _send(self, alerts: AlertStore, alert: DueAlert) -> None:
        error = ""
        for event in alert.events():
            if not self._pace.has_room(now_s=time.monotonic()):
                self._muted += 1
                error = MUTED
                metrics.WATCH_ALERTS.labels(channel=self._channel.name, outcome="muted").inc()
                continue
            try:
                self._channel.send(alert, event)
            except NotSent as why:
                self._failed(alerts, alert, str(why))
                return
            self._pace.sent(now_s=time.monotonic())
            metrics.WATCH_ALERTS.labels(channel=self._channel.name, outcome="sent").inc()
        alerts.sent(alert, error=error)

    def _failed(self, alerts: AlertStore, alert: DueAlert, why: str) -> None:
        self._pace.failed(alert.id, now_s=time.monotonic())
        tries = self._pace.tries(alert.id)
        metrics.WATCH_ALERTS.labels(channel=self._channel.name, outcome="failed").inc()
        logs.get().warning(
            "alert_not_sent", channel=self._channel.name, kind=alert.kind, attempt=tries, error=why
        )
        alerts.failed(alert, error=why)

    def _say_muted(self) -> None:
        now_s = time.monotonic()
        if self._muted and now_s - self._muted_said_s >= MUTED_EVERY_S:
            logs.get().warning("alerts_muted", channel=self._channel.name, messages=self._muted)
            self._muted, self._muted_said_s = 0, now_s
