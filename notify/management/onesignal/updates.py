"""The updates that import an entry of an export.

* What is known here already is newer, so tags and properties are set only where a record has none
  (`? v`). Identifiers, tokens, links and deletions have no such op: `stored` asks PostgreSQL.
* Totals of an export are added to counters once a record: under a message id that follows from the
  record alone, which is remembered for NOTIFY_SEEN_HOURS, and never again once the record has the property
  IMPORTED_AT.
* A device keeps the id that it has at OneSignal, since that is what its SDK goes on to send. The record
  of an address or number has the id that it gets from whoever registers it later. The id that it had at
  OneSignal stays of use: it is a record of its own that is linked to it, so what an SDK that knows that
  id sends is mirrored.
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from notify.domain.records import ids
from notify.domain.records.patch import DEFAULT, IDENTIFIER, PROPERTIES, TAGS, Value
from notify.domain.records.update import TAGS_MAX, TOKEN, USER, Update
from notify.management.onesignal.entry import ExportedSubscription, ExportedUser, ImportEntry
from notify.web.resources import user_reference
from notify.web.resources.device import PUSH
from notify.web.resources.draft import Draft, update_of

#: The property of a record whose counters have an export's totals in them: when, in seconds since 1970.
IMPORTED_AT: Final = "imported_at"
#: UTF-8 bytes of the tags of one update; more of them follow in another.
TAGS_BYTES_MAX: Final = 16 * 1024

_NAMESPACE: Final = uuid.UUID("0e4f5a52-6b0e-5c57-8f0b-6f7c4e7f3c1d")


class IfAbsent(Draft):
    """A draft of keys that are set only where the record has none."""

    def __init__(self) -> None:
        super().__init__()
        self._defaults: dict[str, Value] = {}

    def default_all(self, prefix: str, values: Mapping[str, Value]) -> None:
        """Tags, or properties."""
        self._defaults |= {prefix + name: value for name, value in values.items()}

    def wire(self) -> dict[str, Any]:
        """The patch as `check` reads it."""
        return super().wire() | ({DEFAULT: self._defaults} if self._defaults else {})


def of_entry(entry: ImportEntry, app: str, *, at: int) -> Iterator[Update]:
    """The updates of an entry, its user first. Raises Malformed."""
    owner = None
    if entry.user is not None:
        owner = _user_id(app, entry.user)
        yield from _of_user(entry.user, app, owner, at=at)
    for each in entry.subscriptions:
        yield from _of_subscription(each, app, owner, at=at)


def _user_id(app: str, user: ExportedUser) -> str:
    """The id that its SDKs know, else the one of its first alias, as if it was made here by that."""
    if user.id is not None:
        return user.id
    label, name = next(iter(user.aliases.items()))
    return ids.alias_id(app, USER, label, name)


def _of_user(user: ExportedUser, app: str, record: str, *, at: int) -> Iterator[Update]:
    draft = _draft(user, at=at)
    yield from _in_parts(
        app, record, at=at, kind=USER, tags=user.tags, draft=draft, aliases=dict(user.aliases)
    )


def _of_subscription(
    each: ExportedSubscription, app: str, owner: str | None, *, at: int
) -> Iterator[Update]:
    draft = _draft(each, at=at)
    if each.identifier:
        draft.put(IDENTIFIER, each.identifier)
    links = {} if owner is None else {USER: owner}
    if each.kind == PUSH:
        record = each.id
        aliases = {TOKEN: user_reference.token_of(PUSH, each.identifier)} if each.identifier else {}
    else:
        record, aliases = ids.record_id(app, each.kind, each.identifier), {}
    yield from _in_parts(
        app,
        record,
        at=at,
        kind=each.kind,
        tags=each.tags,
        draft=draft,
        links=links,
        aliases=aliases,
    )
    if record != each.id:
        yield update_of(
            app,
            each.id,
            at=at,
            message_id=_message_id(app, each.id, 0),
            kind=each.kind,
            links={each.kind: record},
        )


def _draft(each: ExportedUser | ExportedSubscription, *, at: int) -> IfAbsent:
    draft = IfAbsent()
    draft.default_all(PROPERTIES, each.properties)
    for counter, n in each.counters.items():
        draft.add(counter, n)
    if each.counters:
        draft.default_all(PROPERTIES, {IMPORTED_AT: at // 1000})
    return draft


def _in_parts(
    app: str,
    record: str,
    *,
    at: int,
    kind: str,
    tags: Mapping[str, Value],
    draft: IfAbsent,
    links: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Iterator[Update]:
    """One update, and more of the same record for tags that do not fit into it."""
    first, *more = _parts(tags)
    draft.default_all(TAGS, first)
    yield update_of(
        app,
        record,
        at=at,
        message_id=_message_id(app, record, 0),
        kind=kind,
        draft=draft,
        links=links,
        aliases=aliases,
    )
    for number, part in enumerate(more, start=1):
        tagged = IfAbsent()
        tagged.default_all(TAGS, part)
        message_id = _message_id(app, record, number)
        yield update_of(app, record, at=at, message_id=message_id, kind=kind, draft=tagged)


def _parts(tags: Mapping[str, Value]) -> list[dict[str, Value]]:
    parts: list[dict[str, Value]] = [{}]
    size = 0
    for name, value in tags.items():
        size += len(name.encode()) + len(str(value).encode())
        if len(parts[-1]) == TAGS_MAX or size > TAGS_BYTES_MAX:
            parts.append({})
            size = len(name.encode()) + len(str(value).encode())
        parts[-1][name] = value
    return parts


def _message_id(app: str, record: str, part: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{app}/{record}/{part}"))
