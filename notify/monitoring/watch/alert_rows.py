"""Alerts that are rows of PostgreSQL, with what one channel has sent of each."""

from typing import Protocol

from notify.monitoring.watch.alert_channels import AlertChannel
from notify.monitoring.watch.leader_lock import Session, run
from notify.monitoring.watch.message import DueAlert


class AlertStore(Protocol):
    """A store of alerts, with what one channel has sent of each."""

    def due(self) -> list[DueAlert]:
        """The alerts whose opening or closing this channel has not sent yet."""

    def sent(self, alert: DueAlert, *, error: str) -> None:
        """Notes that all events due as of `alert.read_at` were sent, or were not sent because of `error`."""

    def failed(self, alert: DueAlert, *, error: str) -> None:
        """Notes that the receiver did not accept the alert; it stays due."""


class AlertRows:
    """The alerts in PostgreSQL. Every method raises psycopg.Error if PostgreSQL is unavailable."""

    def __init__(self, session: Session, channel: AlertChannel, *, hours: int) -> None:
        self._session = session
        self._channel = channel
        self._hours = hours

    def due(self) -> list[DueAlert]:
        """The due alerts, without those that have been closed for `hours`."""
        return [DueAlert(*row) for row in run(self._session, self._channel.due, hours=self._hours)]

    def sent(self, alert: DueAlert, *, error: str) -> None:
        run(self._session, self._channel.done, id=alert.id, at=alert.read_at, error=error)

    def failed(self, alert: DueAlert, *, error: str) -> None:
        run(self._session, "failed", id=alert.id, error=f"{self._channel.name}: {error}")
