"""Builds the updates of a replay: they apply a dead letter, or an update that a skip rule dropped.

Each write that was not applied becomes one new update (`only`) of its record. It is applied after all
messages that are in the log now, changes no other record and no link. Links are passed in as they are
now, since the links of that time are no longer known.

Its message id is derived from what it replays, so a second click or a retry is the same update: counters
count it once as long as message ids are remembered (`repeats`). This also holds for two copies of an
update that a client sent under its own message id.
"""

import uuid
from typing import Final, NamedTuple

from msgspec.structs import replace

from notify.domain.errors import Malformed, NewerVersion
from notify.domain.records import aliases, idempotency, ids
from notify.domain.records import links as linking
from notify.domain.records.decide import Decision, Write, writes
from notify.domain.records.links import Links, Named
from notify.domain.records.patch import (
    ALIASES,
    IDENTIFIER,
    MIRRORED_UPDATES,
    PUSH_IDENTIFIER,
    Patch,
)
from notify.domain.records.policy import SCOPE_ALL
from notify.domain.records.update import (
    ALIAS,
    DELETE,
    DETACH,
    MIRROR_LABELS,
    UPDATE,
    UPDATE_BYTES_MAX,
    USER,
    Update,
    encode,
    parse,
)

_NAMESPACE: Final = uuid.UUID("5f1c8f0e-0b7a-5d0e-9a43-7c1f0d6f2a11")
#: Keys of a write that do not come from the update's patch.
_MADE: Final = frozenset(("kind", "deleted", "created_at", "updated_at", MIRRORED_UPDATES))


class CannotReplay(ValueError):
    """The update cannot be replayed. The text says why, and what to do instead."""


class Source(NamedTuple):
    """The position of a message: the id of its stream, and its offset."""

    stream: int
    offset: int


def names(message: Update, record: str) -> Named:
    """Which links must be loaded for `again` and `own_or_mirrored`."""
    named = linking.named((message,))
    also = {(message.app, record)}
    return Named(named.children | also, named.parents | also, named.owned)


def read(message: bytes) -> Update:
    """Parses the message of a dead letter. Raises CannotReplay if it is malformed or of a later release."""
    try:
        return parse(message)
    except NewerVersion as error:
        raise CannotReplay(
            f"{error}: upgrade web to a release that reads v {error.v}, then replay it"
        ) from None
    except Malformed as error:
        raise CannotReplay(
            f"it is malformed ({error}): find who wrote it and send it again through the API, "
            "then delete this letter"
        ) from None


def undecided(message: Update) -> str:
    """The record of a misrouted message, about which nothing was decided. Raises CannotReplay if only a
    decision in the right partition can tell what it does."""
    if message.op != UPDATE or message.owner or ids.is_alias(message.record):
        what = message.op if message.op != UPDATE else "an update by a name"
        raise CannotReplay(
            f"{what} in the wrong partition cannot be replayed as one write: send it again through "
            "the API, then delete this letter"
        )
    return message.record


def whole(message: Update, now: int, *, source: Source) -> Update:
    """The update of a message that an earlier release could not read and this one can, as of `now`.

    Nothing was decided about it, so it is sent as it is: it is mirrored, and changes links. It keeps the
    client's message id, so that its counters count once.
    """
    if message.once:
        return replace(message, at=now)
    made = message_id(message, message.record, source)
    return replace(message, at=now, message_id=made, once=True)


def again(message: Update, record: str, now: int, *, source: Source, links: Links) -> Update:
    """The update that does at `now` (in milliseconds) what `message` did to `record`.

    A mirrored write stays a mirrored write, for the parent only. Raises CannotReplay if the message
    writes nothing, or if the present links no longer show what it did to this record.
    """
    if message.op == DETACH:
        raise CannotReplay("a detach writes to no record: there is nothing to replay")
    is_own = _was_own(message, record, links)
    return _sent(message, record, now, source=source, links=links, is_own=is_own)


def dropped(
    message: Update, record: str, scope: str, now: int, *, source: Source, links: Links
) -> Update | None:
    """The update that does what a skip rule of this scope dropped for `record`; None if nothing."""
    if message.op != UPDATE:
        return None
    target = message.record if message.only else aliases.target(links, message)
    if target == record:
        is_own = True
        if scope != SCOPE_ALL:
            return None
    elif not message.only and record in _parents(message.app, target, links):
        is_own = False
    else:
        return None
    return _sent(message, record, now, source=source, links=links, is_own=is_own)


def _was_own(message: Update, record: str, links: Links) -> bool:
    if message.only or (record == message.record and not message.owner):
        return True
    target = aliases.target(links, message)
    if record == target:
        return True
    if record in _parents(message.app, target, links):
        return False
    if any(message.links.get(label) == record for label in MIRROR_LABELS):
        return False
    if message.kind == USER or message.op == DELETE:
        return True
    if not ids.is_alias(message.record) and not message.aliases:
        return False
    raise CannotReplay(
        "it named its record by a token that now names another one: send it again through the API, "
        "then delete this letter"
    )


def _parents(app: str, child: str, links: Links) -> set[str | None]:
    return {links.parent(app, child, label) for label in MIRROR_LABELS}


def _sent(
    message: Update, record: str, now: int, *, source: Source, links: Links, is_own: bool
) -> Update:
    decision = Decision(target=record) if is_own else Decision(own=False, mirrors=(record,))
    (write,) = writes(message, decision)
    return Update(
        app=message.app,
        record=record,
        at=now,
        message_id=message_id(message, record, source),
        op=message.op if is_own else UPDATE,
        kind=message.kind if is_own else None,
        patch=_patch(write),
        aliases=_names_kept(message, record, links) if is_own else {},
        once=True,
        only=True,
    )


def _patch(write: Write) -> Patch:
    """The part of the write that comes from the update's own patch; `writes` adds the rest again."""
    return Patch(
        False,
        {
            (IDENTIFIER if key == PUSH_IDENTIFIER else key): op
            for key, op in write.patch.ops.items()
            if key not in _MADE and not key.startswith(ALIASES)
        },
    )


def _names_kept(message: Update, record: str, links: Links) -> dict[str, str | None]:
    """The user's aliases in the message that still hold, because no later update has changed them."""
    if message.kind != USER:
        return {}
    app = message.app
    kept: dict[str, str | None] = {}
    for label, name in message.aliases.items():
        if name is None:
            borne = links.parent(app, record, linking.bearing(links, app, record, label))
            is_so = borne is None
        else:
            alias = ids.alias_id(app, USER, label, name)
            is_so = links.parent(app, alias, ALIAS) == record
        if is_so:
            kept[label] = name
    return kept


def encoded(update: Update) -> bytes:
    """The message of the update. Raises CannotReplay if it is longer than a message may be."""
    message = encode(update)
    if len(message) > UPDATE_BYTES_MAX:
        raise CannotReplay(
            f"with its new message id it has {len(message)} bytes, at most {UPDATE_BYTES_MAX} are "
            "allowed: send it again through the API in two parts"
        )
    return message


def message_id(message: Update, record: str, source: Source) -> str:
    """The message id of a replay of this message for this record; always the same."""
    key = idempotency.key_of(message)
    words = f"{source.stream}/{source.offset}" if key is None else f"{key.app}/{key.digest}"
    return str(uuid.uuid5(_NAMESPACE, f"{words}/{record}"))
