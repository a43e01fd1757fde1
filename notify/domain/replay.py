"""Send again what was not applied: a dead letter's write, or an update that a skip rule dropped.

What was one write becomes one new update (`only`) of that write's record: it is applied after all
that stands in the log, reaches no other record and changes no link. What the pure part needs to
know of links is handed in as they are now; as they were then is no longer known.

Its message id follows from what it replays, so a second click and a retry are the same update:
counters count it once for as long as message ids are remembered (`repeats`). Two copies of a
client's update, sent under its own message id, are one here too.
"""

import uuid
from typing import Final, NamedTuple

from msgspec.structs import replace

from notify.domain import aliases, ids, repeats
from notify.domain import links as linking
from notify.domain.decide import Decision, Write, writes
from notify.domain.errors import Malformed, NewerVersion
from notify.domain.links import Links, Named
from notify.domain.patch import ALIASES, IDENTIFIER, MIRRORED_UPDATES, PUSH_IDENTIFIER, Patch
from notify.domain.policy import SCOPE_ALL
from notify.domain.update import (
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
#: Keys that a write has from elsewhere than the update's patch.
_MADE: Final = frozenset(("kind", "deleted", "created_at", "updated_at", MIRRORED_UPDATES))


class CannotReplay(ValueError):
    """It cannot be sent again: the text says why, and what to do instead."""


class Source(NamedTuple):
    """Where the message stands: its stream's id and its offset."""

    stream: int
    offset: int


def names(message: Update, record: str) -> Named:
    """What of the links must be known for `again` and `own_or_mirrored`."""
    named = linking.named((message,))
    also = {(message.app, record)}
    return Named(named.children | also, named.parents | also, named.owned)


def read(message: bytes) -> Update:
    """The message of a dead letter. Raises CannotReplay for one that is malformed, or of a later release."""
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
    """The record of a misrouted message, of which nothing was decided. Raises CannotReplay where
    only a decision in the right partition can say what it does."""
    if message.op != UPDATE or message.owner or ids.is_alias(message.record):
        what = message.op if message.op != UPDATE else "an update by a name"
        raise CannotReplay(
            f"{what} in the wrong partition cannot be replayed as one write: send it again through "
            "the API, then delete this letter"
        )
    return message.record


def whole(message: Update, now: int, *, source: Source) -> Update:
    """The update of a message that could not be read when it came and can be read now, as of `now`.

    Nothing of it was decided, so it is sent as it is: it is mirrored and changes links as it would
    have then. Sent twice, its counters count once: a client's own message id stays.
    """
    if message.once:
        return replace(message, at=now)
    made = message_id(message, message.record, source)
    return replace(message, at=now, message_id=made, once=True)


def again(message: Update, record: str, now: int, *, source: Source, links: Links) -> Update:
    """The update that does again, at `now` (milliseconds), what `message` did to `record`.

    A mirrored write stays one: what a mirror carries, for the parent alone. Raises CannotReplay if
    the message writes nothing, or if links no longer tell what it did to this record.
    """
    if message.op == DETACH:
        raise CannotReplay("a detach writes to no record: there is nothing to replay")
    is_own = _was_own(message, record, links)
    return _sent(message, record, now, source=source, links=links, is_own=is_own)


def dropped(
    message: Update, record: str, scope: str, now: int, *, source: Source, links: Links
) -> Update | None:
    """The update that does again what a rule of this scope dropped of `record`; None: nothing."""
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
    """What the update's own patch brought to the write; `writes` adds the rest once more."""
    return Patch(
        False,
        {
            (IDENTIFIER if key == PUSH_IDENTIFIER else key): op
            for key, op in write.patch.ops.items()
            if key not in _MADE and not key.startswith(ALIASES)
        },
    )


def _names_kept(message: Update, record: str, links: Links) -> dict[str, str | None]:
    """The names of a user that are still as the message says: others were given or taken since."""
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
    """The message of the update. Raises CannotReplay where it became longer than one may be."""
    message = encode(update)
    if len(message) > UPDATE_BYTES_MAX:
        raise CannotReplay(
            f"with its new message id it has {len(message)} bytes, at most {UPDATE_BYTES_MAX} are "
            "allowed: send it again through the API in two parts"
        )
    return message


def message_id(message: Update, record: str, source: Source) -> str:
    """The id of the replay of this message for this record: always the same."""
    key = repeats.key_of(message)
    words = f"{source.stream}/{source.offset}" if key is None else f"{key.app}/{key.digest}"
    return str(uuid.uuid5(_NAMESPACE, f"{words}/{record}"))
