"""Reads from PostgreSQL for web. To accept an update, only `deleted` and `addresses` read.

At most `sessions` reads run at a time, and the next one fails at once. So a hanging PostgreSQL blocks at
most this many threads of the process.
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

from notify.databases import postgres, queries
from notify.domain.records import ids, nobody
from notify.domain.records.patch import ALIASES, PROPERTIES
from notify.domain.records.update import ALIAS, TOKEN, USER
from notify.monitoring.partition_state import StreamNow
from notify.monitoring.snapshot import STREAMS, fresh_for_s
from notify.telemetry import logs
from notify.web.access.apps_cache import AppsSnapshot, KnownApp, ReadFailed, TopicUnusable
from notify.web.resources import answer_warnings
from notify.web.resources.deleted_list import DeletedList

_QUERIES: Final = queries.read(Path(__file__).parent / "sql" / "queries.sql") | {"streams": STREAMS}
_LOCK_TIMEOUT_MS: Final = 2_000
#: How old the known reasons of dropped updates may get.
DROPPING_S: Final = 5.0
#: The list of deleted records is read again after this, and after this many times as long as its last read
#: took: a million records take some 0.4 s of PostgreSQL. But never later than after LIST_AGAIN_MAX_S.
LIST_AGAIN_S: Final = 0.5
LIST_AGAIN_TIMES: Final = 500
LIST_AGAIN_MAX_S: Final = 300.0
#: After a read that failed.
LIST_FAILED_S: Final = 10.0
_ALIAS: Final = ALIASES.removeprefix(PROPERTIES)

Row = tuple[Any, ...]


class ReadsAway(ReadFailed):
    """PostgreSQL does not answer, or too many reads wait for it already."""


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record with all updates that workers have applied; money is in millionths, times are in seconds. If
    it has more tags than are shown, it has one more here."""

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
    """A subscription of a user, with all updates that have been applied."""

    id: str
    kind: str | None
    identifier: str | None
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user with its own id and its newest subscriptions, the newest first.

    `more`: it has, or may have, more of them.
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
        """The record; None if it does not exist yet or is deleted."""
        ...

    def is_deleted(self, app: str, record: str) -> bool:
        """Whether the record was deleted (and the deletion applied) and not created again since."""
        ...

    def user(self, app: str, record: str, *, owner: bool) -> "UserRow | None":
        """The user that the id stands for now, or with `owner` the user that the record belongs to. None if
        there is none yet or it is deleted."""
        ...

    def generation(self, app: str, record: str) -> int:
        """The record's generation; 0 if it never changed."""
        ...

    def holder(self, app: str, kind: str, address: str) -> str:
        """The id of the record that has the address, by the links that are applied."""
        ...

    def streams(self) -> Sequence[StreamNow]:
        """The streams of the active topic by partition; none before there is a topic."""
        ...


class PostgresReads:
    """`Reads`, and the reads for the cache of apps, on sessions that stay open. Connects at its first use."""

    def __init__(self, *, sessions: int, deadline_ms: int | None = None) -> None:
        """With `deadline_ms` a read waits at most this long for a session, and as long for the answer."""
        self._free: queue.LifoQueue[_Session] = queue.LifoQueue()
        self._wait_s = 0.0 if deadline_ms is None else deadline_ms / 1000
        for _ in range(sessions):
            self._free.put(_Session(deadline_ms))
        self._dropped: Mapping[tuple[str, str], tuple[str, ...]] = {}
        self._dropping_due = 0.0
        self._deleted: DeletedList | None = None
        self._deleted_due: float | None = None

    def record(self, app: str, record: str) -> RecordRow | None:
        most = settings.NOTIFY_READ_TAGS + 1
        rows = self._rows("record", {"app": app, "id": record, "tags": most})
        return RecordRow(*rows[0]) if rows else None

    def is_deleted(self, app: str, record: str) -> bool:
        return bool(self._rows("is_deleted", {"app": app, "id": record}))

    def user(self, app: str, record: str, *, owner: bool) -> UserRow | None:
        found = self._meant(app, record, owner=owner)
        row = None if found is None else self.record(app, found)
        if found is None or row is None:
            return None
        shown = settings.NOTIFY_READ_SUBSCRIPTIONS
        logins = self._rows("logins", {"app": app, "id": found, "most": shown + 1})
        users = [found, *(login for login, is_logged_in in logins if is_logged_in)]
        rows = self._rows("subscriptions", {"app": app, "ids": users, "most": shown + 1})
        newest = [SubscriptionRow(*each) for each in rows[:shown] if each[0] is not None]
        # Logins end in the order in which they began: if one has ended, so have all before it.
        more_logins = len(logins) > shown and logins[-1][1]
        return UserRow(found, row, newest, more=more_logins or len(rows) > shown)

    def _meant(self, app: str, record: str, *, owner: bool) -> str | None:
        """The record that the id stands for, like `aliases.target`, by the links in PostgreSQL."""
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
        rows = self._rows("generation", {"app": app, "id": record})
        return int(rows[0][0]) if rows else 0

    def holder(self, app: str, kind: str, address: str) -> str:
        """The record that has the address, like `aliases.holder`, by the links in PostgreSQL."""
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
        return [StreamNow(*row) for row in self._rows("streams", {"fresh_s": fresh_for_s()})]

    def known(self, topic: str) -> AppsSnapshot:
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
        return AppsSnapshot(apps, partitions, self._dropping(), self._deleted_list())

    def _dropping(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """The reasons for which updates are dropped, by (app, record); read again every DROPPING_S."""
        now = time.monotonic()
        if now >= self._dropping_due:
            found: dict[tuple[str, str], tuple[str, ...]] = {}
            bounds = {"minutes": answer_warnings.WARNED_MINUTES, "most": answer_warnings.WARNED_MAX}
            for app, record, reason in self._rows("dropping", bounds):
                found[app, record] = (*found.get((app, record), ()), reason)
            self._dropped, self._dropping_due = found, now + DROPPING_S
        return self._dropped

    def _deleted_list(self) -> DeletedList | None:
        """The deleted records; None if they are more than NOTIFY_DELETED_LISTED, or not read yet. If they
        cannot be read, it is the last list. The first read of the apps does not wait for it."""
        began = time.monotonic()
        if self._deleted_due is None:
            self._deleted_due = began
        elif began >= self._deleted_due:
            most = settings.NOTIFY_DELETED_LISTED
            try:
                ((prefixes, n),) = self._rows("deleted", {"most": most + 1})
            except ReadsAway as error:
                self._deleted_due = began + LIST_FAILED_S
                logs.get().warning("deleted_not_listed", reason=str(error))
                return self._deleted
            if n > most:
                self._deleted, again_s = None, LIST_AGAIN_MAX_S
                logs.get().warning("deleted_not_listed", reason=f"there are more than {most}")
            else:
                self._deleted = DeletedList(prefixes or b"")
                again_s = max(LIST_AGAIN_S, (time.monotonic() - began) * LIST_AGAIN_TIMES)
            self._deleted_due = began + min(again_s, LIST_AGAIN_MAX_S)
        return self._deleted

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
    """One connection, opened when it is needed and again after it failed."""

    def __init__(self, deadline_ms: int | None) -> None:
        self._deadline_ms = deadline_ms
        self._connection: psycopg.Connection[Row] | None = None

    def rows(self, sql: str, parameters: Mapping[str, Any] | None) -> list[Row]:
        """Returns all rows of a statement. If the connection broke since its last use, it is opened again."""
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
