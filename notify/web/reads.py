"""What web reads from PostgreSQL, on the way of an update only whether its record was deleted (`deleted`).

At most `sessions` reads run at a time and the next one fails at once, so a PostgreSQL that hangs
holds that many of the process's threads and no more.
"""

import queue
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg
from django.conf import settings

from notify import postgres, queries
from notify.domain import ids, nobody
from notify.domain.patch import ALIASES, PROPERTIES
from notify.domain.update import ALIAS, TOKEN, USER
from notify.findings.partition_state import StreamNow
from notify.findings.snapshot import STREAMS, fresh_for_s
from notify.web import warned
from notify.web.apps_cache import Known, KnownApp, ReadFailed, TopicUnusable

_QUERIES: Final = queries.read(Path(__file__).parent / "sql" / "queries.sql") | {"streams": STREAMS}
_LOCK_TIMEOUT_MS: Final = 2_000
#: How old what is known of dropped updates may be.
DROPPING_S: Final = 5.0
_ALIAS: Final = ALIASES.removeprefix(PROPERTIES)

Row = tuple[Any, ...]


class ReadsAway(ReadFailed):
    """PostgreSQL does not answer, or too many reads wait for it already."""


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record as far as workers have applied its updates; money in micros, times in seconds. It has one
    tag more than are shown where it has more than that."""

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
class SubscriptionRow:
    """A subscription of a user, as far as it has been applied."""

    id: str
    kind: str | None
    identifier: str | None
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user with its own id, and its newest subscriptions, the newest first.

    `more`: it has or may have others than these.
    """

    id: str
    record: RecordRow
    subscriptions: Sequence[SubscriptionRow]
    more: bool = False

    @property
    def aliases(self) -> dict[str, str]:
        """Its aliases by label."""
        found = self.record.properties.items()
        return {
            key.removeprefix(_ALIAS): str(value) for key, value in found if key.startswith(_ALIAS)
        }


class Reads(Protocol):
    """The reads of the views. Each raises ReadsAway."""

    def record(self, app: str, record: str) -> RecordRow | None:
        """The record, or None where there is none yet or it is deleted."""
        ...

    def is_deleted(self, app: str, record: str) -> bool:
        """Whether the record was deleted, as far as that is applied, and did not come again since."""
        ...

    def user(self, app: str, record: str, *, owner: bool) -> "UserRow | None":
        """The user that the id means now, or with `owner` the one that the record belongs to; None
        where there is none yet or it is deleted."""
        ...

    def generation(self, app: str, record: str) -> int:
        """The record's generation, 0 where it never had another."""
        ...

    def holder(self, app: str, kind: str, address: str) -> str:
        """The id of the record that has the address, as far as links are applied."""
        ...

    def streams(self) -> Sequence[StreamNow]:
        """The streams of the active topic by partition; none before a topic is made."""
        ...


class PostgresReads:
    """`Reads`, and the apps for the cache, on sessions that stay open. Connects at first use."""

    def __init__(self, *, sessions: int, deadline_ms: int | None = None) -> None:
        """With `deadline_ms` a read waits so long for an answer, and as long for a session."""
        self._free: queue.LifoQueue[_Session] = queue.LifoQueue()
        self._wait_s = 0.0 if deadline_ms is None else deadline_ms / 1000
        for _ in range(sessions):
            self._free.put(_Session(deadline_ms))
        self._dropped: Mapping[tuple[str, str], tuple[str, ...]] = {}
        self._dropping_due = 0.0

    def record(self, app: str, record: str) -> RecordRow | None:
        """Reads.record."""
        most = settings.NOTIFY_READ_TAGS + 1
        rows = self._rows("record", {"app": app, "id": record, "tags": most})
        return RecordRow(*rows[0]) if rows else None

    def is_deleted(self, app: str, record: str) -> bool:
        """Reads.is_deleted."""
        return bool(self._rows("is_deleted", {"app": app, "id": record}))

    def user(self, app: str, record: str, *, owner: bool) -> UserRow | None:
        """Reads.user."""
        found = self._meant(app, record, owner=owner)
        row = None if found is None else self.record(app, found)
        if found is None or row is None:
            return None
        shown = settings.NOTIFY_READ_SUBSCRIPTIONS
        logins = self._rows("logins", {"app": app, "id": found, "most": shown + 1})
        users = [found, *(login for login, is_logged_in in logins if is_logged_in)]
        rows = self._rows("subscriptions", {"app": app, "ids": users, "most": shown + 1})
        newest = [SubscriptionRow(*each) for each in rows[:shown] if each[0] is not None]
        # Logins end in the order in which they began: where one has ended, so have those before it.
        more_logins = len(logins) > shown and logins[-1][1]
        return UserRow(found, row, newest, more=more_logins or len(rows) > shown)

    def _meant(self, app: str, record: str, *, owner: bool) -> str | None:
        """As `aliases.target` has it, of the links that are written."""
        if owner:
            user = self._parent(app, record, USER)
            return None if user is None else self._logged_in_as(app, user) or user
        if ids.is_alias(record):
            named = self._parent(app, record, ALIAS)
            if named is None:
                named = ids.named_user(app, record, self.generation(app, record))
            record = named
        return self._logged_in_as(app, record) or record

    def generation(self, app: str, record: str) -> int:
        """Reads.generation."""
        rows = self._rows("generation", {"app": app, "id": record})
        return int(rows[0][0]) if rows else 0

    def holder(self, app: str, kind: str, address: str) -> str:
        """As `aliases.holder` has it, of the links that are written."""
        alias = ids.alias_id(app, kind, TOKEN, address)
        home = ids.record_id(app, kind, address)
        parameters = {"app": app, "alias": alias, "home": home}
        ((owner, has_another, generation),) = self._rows("holder", parameters)
        if owner is not None:
            return str(owner)
        return ids.named_user(app, alias, generation) if has_another else home

    def _parent(self, app: str, child: str, label: str) -> str | None:
        rows = self._rows("parent", {"app": app, "child": child, "label": label})
        return rows[0][0] if rows else None

    def _logged_in_as(self, app: str, record: str) -> str | None:
        rows = self._rows("logged_in_as", {"app": app, "child": record})
        return rows[0][0] if rows else None

    def streams(self) -> Sequence[StreamNow]:
        """Reads.streams."""
        return [StreamNow(*row) for row in self._rows("streams", {"fresh_s": fresh_for_s()})]

    def known(self, topic: str) -> Known:
        """All apps, and the partitions of `topic`. Raises ReadsAway, and TopicUnusable unless
        `topic` is the active one."""
        active = self._rows("topic")
        if not active:
            raise TopicUnusable("no topic is active: run `manage.py topic create`")
        name, partitions = active[0]
        if name != topic:
            raise TopicUnusable(
                f"the active topic is {name}, but NOTIFY_TOPIC is {topic}: set it to the active topic"
            )
        apps = {
            id_: KnownApp(
                id_,
                enabled=enabled,
                requires_key=requires_key,
                digests=tuple(digests),
                requires_identity=requires_identity,
                identity_keys=tuple(pems),
                requests_per_s=requests_per_s,
                nobody=nobody.names_in(nobody_names),
            )
            for (
                id_,
                enabled,
                requires_key,
                digests,
                requires_identity,
                pems,
                requests_per_s,
                nobody_names,
            ) in self._rows("apps")
        }
        return Known(apps, partitions, self._dropping())

    def _dropping(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """Why updates are dropped, by (app, record); read anew every DROPPING_S seconds."""
        now = time.monotonic()
        if now >= self._dropping_due:
            found: dict[tuple[str, str], tuple[str, ...]] = {}
            bounds = {"minutes": warned.WARNED_MINUTES, "most": warned.WARNED_MAX}
            for app, record, reason in self._rows("dropping", bounds):
                found[app, record] = (*found.get((app, record), ()), reason)
            self._dropped, self._dropping_due = found, now + DROPPING_S
        return self._dropped

    def close(self) -> None:
        """Close the sessions that are not in use."""
        while True:
            try:
                self._free.get_nowait().close()
            except queue.Empty:
                return

    def _rows(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        try:
            session = self._free.get(block=self._wait_s > 0, timeout=self._wait_s or None)
        except queue.Empty:
            raise ReadsAway("too many reads are waiting for PostgreSQL") from None
        try:
            return session.rows(_QUERIES[name], parameters)
        except psycopg.Error as error:
            raise ReadsAway(f"PostgreSQL does not answer: {type(error).__name__}") from error
        finally:
            self._free.put(session)


class _Session:
    """One connection, made when it is needed and again after it broke."""

    def __init__(self, deadline_ms: int | None) -> None:
        self._deadline_ms = deadline_ms
        self._connection: psycopg.Connection[Row] | None = None

    def rows(self, sql: str, parameters: Mapping[str, Any] | None) -> list[Row]:
        """All rows. A connection that broke since its last use costs nobody an error."""
        if self._connection is not None:
            try:
                return self._connection.execute(sql.encode(), parameters).fetchall()
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self.close()
        self._connection = postgres.connect(
            name="notify-web",
            lock_timeout_ms=_LOCK_TIMEOUT_MS,
            deadline_ms=self._deadline_ms or settings.NOTIFY_READ_DEADLINE_MS,
        )
        return self._connection.execute(sql.encode(), parameters).fetchall()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
