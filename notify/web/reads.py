"""What web reads from PostgreSQL, never on the way of an update.

At most `sessions` reads run at a time and the next one fails at once, so a PostgreSQL that hangs
holds that many of the process's threads and no more.
"""

import queue
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg

from notify import postgres, queries
from notify.web.apps_cache import Known, KnownApp, ReadFailed, TopicUnusable

_QUERIES: Final = queries.read(Path(__file__).parent / "sql" / "queries.sql")
_LOCK_TIMEOUT_MS: Final = 2_000

Row = tuple[Any, ...]


class ReadsAway(ReadFailed):
    """PostgreSQL does not answer, or too many reads wait for it already."""


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record as far as workers have applied its updates; money in micros, times in seconds."""

    kind: str | None
    identifier: str | None
    tags: Mapping[str, Any]
    properties: Mapping[str, Any]
    session_count: int
    session_time_s: int
    purchase_count: int
    spent_micros: Decimal
    created_at_s: int


@dataclass(frozen=True, slots=True)
class StreamRow:
    """How far a partition is planned and applied; `ticked_s` is the age of its last tick."""

    partition: int
    planned: int
    frontier: int
    halted: str | None
    ticked_s: float | None


class Reads(Protocol):
    """The reads of the views. Each raises ReadsAway."""

    def record(self, app: str, record: str) -> RecordRow | None:
        """The record, or None where there is none yet or it is deleted."""
        ...

    def streams(self) -> Sequence[StreamRow]:
        """The streams of the active topic by partition; none before a topic is made."""
        ...


class PostgresReads:
    """`Reads`, and the apps for the cache, on sessions that stay open. Connects at first use."""

    def __init__(self, *, sessions: int) -> None:
        self._free: queue.LifoQueue[_Session] = queue.LifoQueue()
        for _ in range(sessions):
            self._free.put(_Session())

    def record(self, app: str, record: str) -> RecordRow | None:
        """Reads.record."""
        rows = self._rows("record", {"app": app, "id": record})
        return RecordRow(*rows[0]) if rows else None

    def streams(self) -> Sequence[StreamRow]:
        """Reads.streams."""
        return [StreamRow(*row) for row in self._rows("streams")]

    def known(self, topic: str) -> Known:
        """All apps, and the partitions of `topic`. Raises ReadsAway, and TopicUnusable unless
        `topic` is the active one."""
        active = self._rows("topic")
        if not active:
            raise TopicUnusable("no topic is active: run `manage.py topic create`")
        name, partitions = active[0]
        if name != topic:
            raise TopicUnusable(f"the active topic is {name}, NOTIFY_TOPIC says {topic}")
        apps = {
            id_: KnownApp(id_, enabled=enabled, requires_key=requires_key, digests=tuple(digests))
            for id_, enabled, requires_key, digests in self._rows("apps")
        }
        return Known(apps, partitions)

    def close(self) -> None:
        """Close the sessions that are not in use."""
        while True:
            try:
                self._free.get_nowait().close()
            except queue.Empty:
                return

    def _rows(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        try:
            session = self._free.get_nowait()
        except queue.Empty:
            raise ReadsAway("too many reads wait for PostgreSQL") from None
        try:
            return session.rows(_QUERIES[name], parameters)
        except psycopg.Error as error:
            raise ReadsAway(f"PostgreSQL does not answer: {type(error).__name__}") from error
        finally:
            self._free.put(session)


class _Session:
    """One connection, made when it is needed and again after it broke."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection[Row] | None = None

    def rows(self, sql: str, parameters: Mapping[str, Any] | None) -> list[Row]:
        """All rows. A connection that broke since its last use costs nobody an error."""
        if self._connection is not None:
            try:
                return self._connection.execute(sql.encode(), parameters).fetchall()
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self.close()
        self._connection = postgres.connect(name="notify-web", lock_timeout_ms=_LOCK_TIMEOUT_MS)
        return self._connection.execute(sql.encode(), parameters).fetchall()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
