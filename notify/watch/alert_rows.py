"""Alerts that are rows of PostgreSQL, with what one channel has sent of each."""

from typing import Protocol

from notify.watch.message import Due
from notify.watch.seat import Session, run
from notify.watch.ways import Way


class Kept(Protocol):
    """A store of alerts, with what one channel has sent of each."""

    def due(self) -> list[Due]:
        """The alerts whose opening or closing this channel has not sent yet."""

    def told(self, alert: Due, *, error: str) -> None:
        """Notes that all events due as of `alert.read_at` were sent, or were not sent because of `error`."""

    def failed(self, alert: Due, *, error: str) -> None:
        """Notes that the receiver did not accept the alert; it stays due."""


class AlertRows:
    """The alerts in PostgreSQL as `Kept`. Every method raises psycopg.Error if PostgreSQL is unavailable."""

    def __init__(self, session: Session, way: Way, *, hours: int) -> None:
        self._session = session
        self._way = way
        self._hours = hours

    def due(self) -> list[Due]:
        """The due alerts, without those that have been closed for `hours`."""
        return [Due(*row) for row in run(self._session, self._way.due, hours=self._hours)]

    def told(self, alert: Due, *, error: str) -> None:
        run(self._session, self._way.done, id=alert.id, at=alert.read_at, error=error)

    def failed(self, alert: Due, *, error: str) -> None:
        run(self._session, "failed", id=alert.id, error=f"{self._way.name}: {error}")
