"""Alerts that are rows of PostgreSQL, and what one way of telling knows of each."""

from typing import Protocol

from notify.watch.message import Due
from notify.watch.seat import Session, run
from notify.watch.ways import Way


class Kept(Protocol):
    """Where alerts are kept, with what one way of telling knows of each."""

    def due(self) -> list[Due]:
        """Alerts of which the way does not know yet that they opened, or that they closed."""

    def told(self, alert: Due, *, error: str) -> None:
        """The receiver took all that was due as of `alert.read_at`, or it was left out, as `error` says."""

    def failed(self, alert: Due, *, error: str) -> None:
        """The receiver did not take it: it stays due."""


class AlertRows:
    """Kept, by a session. Every method raises psycopg.Error where PostgreSQL is away."""

    def __init__(self, session: Session, way: Way, *, hours: int) -> None:
        self._session = session
        self._way = way
        self._hours = hours

    def due(self) -> list[Due]:
        """As Kept; none that has been closed for `hours`."""
        return [Due(*row) for row in run(self._session, self._way.due, hours=self._hours)]

    def told(self, alert: Due, *, error: str) -> None:
        """As Kept."""
        run(self._session, self._way.done, id=alert.id, at=alert.read_at, error=error)

    def failed(self, alert: Due, *, error: str) -> None:
        """As Kept; the row says why."""
        run(self._session, "failed", id=alert.id, error=f"{self._way.name}: {error}")
