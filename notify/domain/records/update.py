"""The update, which is the content of one Kafka message: its fields, its strict parser and its encoding.

Web and the bridge check updates with the same function (`check`), so the bridge accepts whatever web
accepts. Any other message, for example from another producer, is `Malformed`: the planner makes it a dead
letter. A message with a higher `v` comes from a later release and waits until a bridge knows that `v`.
"""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

from notify.domain.engine.lanes import is_uuid
from notify.domain.errors import Malformed, NewerVersion
from notify.domain.records import patch as patches
from notify.domain.records.ids import ADDRESSES, is_alias, is_named, normalised
from notify.domain.records.patch import ADD, DEFAULT, IDENTIFIER, REMOVE, SET, Op, Patch, Value

#: The `v` that web writes, and the highest that bridges read. A release that adds a field raises
#: READS; the next release raises VERSION and writes the field.
VERSION: Final = 1
READS: Final = 1
#: No release will have a higher `v`: what has one is damaged, and waits for no release.
VERSION_MAX: Final = 9_999

UPDATE: Final = "update"
DELETE: Final = "delete"
DETACH: Final = "detach"
OPS: Final = (UPDATE, DELETE, DETACH)

USER: Final = "user"
KINDS: Final = ("push", "email", "sms", USER)
#: The labels of links that updates can ask for, and those of them by which updates are mirrored.
LINK_LABELS: Final = ("email", "sms", "user")
MIRROR_LABELS: Final = ("email", "sms")
#: Links that `decide` makes: from an alias to what it names, and from an anonymous user to the user that
#: it logged in as.
ALIAS: Final = "alias"
MERGED: Final = "merged"
#: Every label that has a limit.
LABELS: Final = (*LINK_LABELS, ALIAS, MERGED)
#: The alias of a subscription: its push token, address or number.
TOKEN: Final = "token"  # noqa: S105 - a label, no secret

#: Limits of one update; docs/protocol.md lists them.
UPDATE_BYTES_MAX: Final = 32 * 1024
TAGS_MAX: Final = 100
ALIASES_MAX: Final = 20
KEY_CHARS_MAX: Final = 128
VALUE_CHARS_MAX: Final = 1024
DEPTH_MAX: Final = 8
INTEGER_MAX: Final = 2**53
COUNTER_MAX: Final = 2**31 - 1
#: Micros: about a million units of a currency in one update; a window of them is far below 2^63.
SPENT_MICROS_MAX: Final = 2**40
#: How many valid keys are remembered and not checked again; an app uses few.
KEYS_REMEMBERED: Final = 4_096
#: Milliseconds: the year 2200. Up to there a double holds every microsecond, in PostgreSQL too.
AT_MAX: Final = 7_258_118_400_000

_FIELDS: Final = frozenset(
    (
        *("v", "op", "message_id", "app", "record", "kind", "at", "patch", "links", "aliases"),
        *("owner", "once", "only"),
    )
)


_ABSENT: Final[tuple[str, None]] = ("", None)
_NO_UUID: Final = "{} must be a lower-case UUID"
_NO_MESSAGE_ID: Final = f"message_id must be a string of 1 to {KEY_CHARS_MAX} characters"
_KEY_TWICE: Final = "a key of a patch must be a string that stands in it once"
_NO_TIME: Final = "at must be an integer of milliseconds since 1970"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


#: Built once: `json.loads` with an option builds a decoder a call.
_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


class Update(msgspec.Struct, frozen=True, gc=False):
    """A valid update of one record.

    * `record`: its id, or the id of an alias (`ids.is_alias`), which stands for the record that it names.
    * `owner`: the update is for the user that the record belongs to (its link `user`), or for a new user
      if it belongs to none. `record` is then not an alias.
    * `links`: the record's new parents by label; None removes the link.
    * `aliases`: the record's new aliases by label; None removes the alias.
    * `once`: the message id is the client's own, so a repetition adds to no counter.
    * `at`: when web accepted it, in milliseconds since 1970.
    * `only`: the update of a replay, which changes this record only: it is not mirrored or resolved, and
      changes no links.
    """

    app: str
    record: str
    at: int
    message_id: str
    op: str = UPDATE
    kind: str | None = None
    patch: Patch = patches.EMPTY
    links: Mapping[str, str | None] = {}
    aliases: Mapping[str, str | None] = {}
    owner: bool = False
    once: bool = False
    only: bool = False


def is_plain(message: "Update | Unreadable") -> bool:
    """Whether it only changes the record that it names: it sets no link, alias or identifier, and its id is
    no alias's. Most updates are so, and are decided without a look at aliases."""
    return (
        isinstance(message, Update)
        and message.op == UPDATE
        and not message.links
        and not message.aliases
        and not message.owner
        and not is_alias(message.record)
        and IDENTIFIER not in message.patch.ops
    )


class Names(NamedTuple):
    """The aliases that an update sets (None removes one), and the kind of their record."""

    kind: str
    aliases: Mapping[str, str | None]


def names_in(update: Update) -> Names | None:
    """The aliases of the update, or the address that it sets as identifier.

    SDKs of version 4.x send an address only as identifier, and PUT players/{id} does not even send its
    kind. It is taken as an address if the record's id is made from one. A record with another id (a
    device, or an imported child of an address) does not take an address through its identifier.
    """
    if update.aliases:
        assert update.kind is not None
        return Names(update.kind, update.aliases)
    op, value = update.patch.ops.get(IDENTIFIER, _ABSENT)
    if op != SET or not isinstance(value, str) or not value.strip() or not is_named(update.record):
        return None
    kind = update.kind or kind_of_address(value)
    return Names(kind, {TOKEN: value}) if kind in ADDRESSES else None


def kind_of_address(text: str) -> str | None:
    """Whether a text is an email address or a telephone number; None if it is neither."""
    if "@" in text:
        return "email"
    return "sms" if normalised("sms", text)[1:].isdecimal() else None


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A message that is not a valid update, with the reason. It becomes a dead letter."""

    error: str


class Newer(Unreadable, frozen=True, gc=False):
    """An update of a later release. This bridge must wait in front of it until one that knows `v` runs."""

    v: int


class _WirePatch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    set: dict[str, Value] = msgspec.field(name=SET, default_factory=dict)
    remove: list[str] = msgspec.field(name=REMOVE, default_factory=list)
    default: dict[str, Value] = msgspec.field(name=DEFAULT, default_factory=dict)
    add: dict[str, int] = msgspec.field(name=ADD, default_factory=dict)


class _Wire(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of a message and their types, which msgspec checks. `check` has all other rules."""

    v: int
    op: Literal["update", "delete", "detach"]
    message_id: str
    app: str
    record: str
    at: int
    kind: Literal["push", "email", "sms", "user"] | None = None
    patch: _WirePatch | msgspec.UnsetType = msgspec.UNSET
    links: dict[str, str | None] = {}
    aliases: dict[str, str | None] | msgspec.UnsetType = msgspec.UNSET
    owner: bool = False
    once: bool = False
    only: bool = False


_WIRE: Final = msgspec.json.Decoder(_Wire)


def encode(update: Update) -> bytes:
    """The bytes of a message with `update`; `parse` returns an equal update from them."""
    message: dict[str, Any] = {
        "v": VERSION,
        "op": update.op,
        "message_id": update.message_id,
        "app": update.app,
        "record": update.record,
        "at": update.at,
    }
    if update.kind is not None:
        message["kind"] = update.kind
    if update.patch.ops:
        message["patch"] = _patch_to_wire(update.patch)
    if update.links:
        message["links"] = dict(update.links)
    if update.aliases:
        message["aliases"] = dict(update.aliases)
    if update.owner:
        message["owner"] = True
    if update.once:
        message["once"] = True
    if update.only:
        message["only"] = True
    return msgspec.json.encode(message)


def parse(value: bytes | None, *, reads: int = READS) -> Update:
    """Parses a message value. Raises Malformed for everything that web would not have written.

    Raises NewerVersion for a `v` above `reads`, whatever else is in the message, because a later release
    may have other fields and limits.
    """
    if value is None:
        raise Malformed("the message has no value (a tombstone); updates are never compacted")
    try:
        wire = _WIRE.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _named(value, reads)
    _check_version(wire.v, reads)
    _check_size(value)
    return _update(wire)


def _update(wire: _Wire) -> Update:
    return _valid(
        Update(
            wire.app,
            wire.record,
            wire.at,
            wire.message_id,
            wire.op,
            wire.kind,
            patches.EMPTY if wire.patch is msgspec.UNSET else _patch(wire.patch),
            wire.links,
            {} if wire.aliases is msgspec.UNSET else _aliases(wire.aliases, wire.kind),
            wire.owner,
            wire.once,
            wire.only,
        )
    )


def _named(value: bytes, reads: int) -> Update:
    """Parses a message that msgspec refuses. It is slower, and its errors name the field that is wrong."""
    try:
        fields = _DECODER.decode(value.decode())
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the message is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Malformed("the message must be a JSON object")
    _check_version(fields.get("v"), reads)
    _check_size(value)
    return _check_each(fields)


def _check_size(value: bytes) -> None:
    if len(value) > UPDATE_BYTES_MAX:
        raise Malformed(
            f"the update has {len(value)} bytes; at most {UPDATE_BYTES_MAX} are allowed"
        )


def read(value: bytes | None, *, reads: int = READS) -> Update | Unreadable:
    """Parses a message for the bridge: a malformed one becomes Unreadable, one of a later release Newer."""
    try:
        return parse(value, reads=reads)
    except NewerVersion as error:
        return Newer(str(error), error.v)
    except Malformed as error:
        return Unreadable(str(error))


def _check_version(v: object, reads: int) -> None:
    if type(v) is not int or not 1 <= v <= VERSION_MAX:
        raise Malformed(f"v must be an integer from 1 to {reads}, not {v!r:.20}")
    if v > reads:
        raise NewerVersion(v, reads)


def check(fields: Mapping[str, Any]) -> Update:
    """Checks the fields of a message and returns the update. Raises Malformed, whose text names the first
    wrong field, and NewerVersion for a `v` above READS."""
    _check_version(fields.get("v"), READS)
    try:
        wire = msgspec.convert(fields, _Wire)
    except (msgspec.ValidationError, UnicodeEncodeError):  # the latter for lone surrogates
        return _check_each(fields)
    return _update(wire)


def _check_each(fields: Mapping[str, Any]) -> Update:
    """Checks fields that msgspec refuses, to name the one that is wrong."""
    if not fields.keys() <= _FIELDS:
        unknown = min(fields.keys() - _FIELDS)
        raise Malformed(f"{unknown!r:.50} is not a field of an update")
    op = fields.get("op")
    if op not in OPS:
        raise Malformed(f"op must be one of {', '.join(OPS)}")
    for name in ("app", "record"):
        if not is_uuid(fields.get(name)):
            raise Malformed(_NO_UUID.format(name))
    message_id = fields.get("message_id")
    if not isinstance(message_id, str):
        raise Malformed(_NO_MESSAGE_ID)
    at = fields.get("at")
    if type(at) is not int:
        raise Malformed(_NO_TIME)
    kind = fields.get("kind")
    if kind is not None and kind not in KINDS:
        raise Malformed(f"kind must be one of {', '.join(KINDS)}")
    owner, once, only = (_flag(fields, name) for name in ("owner", "once", "only"))
    links = fields.get("links", {})
    if not isinstance(links, dict):
        raise Malformed("links must be an object of label to record id or null")
    return _valid(
        Update(
            app=fields["app"],
            record=fields["record"],
            at=at,
            message_id=message_id,
            op=op,
            kind=kind,
            patch=_patch_from_wire(fields["patch"]) if "patch" in fields else patches.EMPTY,
            links=links,
            aliases=_aliases(fields["aliases"], kind) if "aliases" in fields else {},
            owner=owner,
            once=once,
            only=only,
        )
    )


#: Few apps send most updates.
_is_app: Final = lru_cache(maxsize=KEYS_REMEMBERED)(is_uuid)


def _valid(update: Update) -> Update:
    """Checks the values of fields whose types are right, and returns the update. Raises Malformed."""
    if not _is_app(update.app):
        raise Malformed(_NO_UUID.format("app"))
    if not is_uuid(update.record):
        raise Malformed(_NO_UUID.format("record"))
    if not 0 < len(update.message_id) <= KEY_CHARS_MAX:
        raise Malformed(_NO_MESSAGE_ID)
    _check_text(update.message_id, "message_id")
    if not 0 <= update.at <= AT_MAX:
        raise Malformed(_NO_TIME)
    if update.owner and (
        update.op != UPDATE or update.kind != USER or update.links or is_alias(update.record)
    ):
        raise Malformed(
            "an owner's update names a record, no alias, says that its kind is user, and links nothing"
        )
    if update.links:
        _check_links(update.links, update.record)
    if update.op != UPDATE and (update.patch.ops or update.links or update.aliases):
        raise Malformed(f"a {update.op} has neither patch nor links nor aliases")
    if update.op == DETACH and update.only:
        raise Malformed("a detach changes links and nothing else: it cannot be only")
    return update


@lru_cache(maxsize=KEYS_REMEMBERED)
def check_key(key: str) -> None:
    """Raises Malformed unless `key` is the key of a tag or property that updates may change."""
    name = key.partition(".")[2]
    if key.startswith(patches.ALIASES):
        raise Malformed("an alias is not a property: it has a place of its own, aliases")
    if not 0 < len(name) <= KEY_CHARS_MAX:
        raise Malformed(f"a tag's or property's name has 1 to {KEY_CHARS_MAX} characters")
    _check_text(name, "a key")


def check_value(value: object, name: str) -> Value:
    """Returns `value` if a tag or property may have it; else raises Malformed."""
    if isinstance(value, str):
        if len(value) > VALUE_CHARS_MAX:
            raise Malformed(
                f"{name} has {len(value)} characters; at most {VALUE_CHARS_MAX} are allowed"
            )
        _check_text(value, name)
        return value
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise Malformed(f"{name} must be an integer between -2^53 and 2^53")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed(f"{name} must be a finite number")
        return value
    raise Malformed(f"{name} must be a string, a boolean or a number")


def _check_text(text: str, name: str) -> None:
    if "\0" in text:
        raise Malformed(f"{name} contains NUL, which PostgreSQL cannot store")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Malformed(f"{name} contains a lone surrogate, which is not text") from None


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    flag = fields.get(name, False)
    if flag is not True and flag is not False:
        raise Malformed(f"{name} must be true or absent")
    return flag


def _aliases(aliases: object, kind: str | None) -> dict[str, str | None]:
    if not isinstance(aliases, dict):
        raise Malformed("aliases must be an object of label to name or null")
    if kind is None or (kind != USER and aliases.keys() - {TOKEN}):
        raise Malformed("a user has aliases, and a subscription only its token; say the kind")
    if len(aliases) > ALIASES_MAX:
        raise Malformed(f"an update may change at most {ALIASES_MAX} aliases")
    for label, name in aliases.items():
        if not isinstance(label, str) or not 0 < len(label) <= KEY_CHARS_MAX:
            raise Malformed(f"an alias's label has 1 to {KEY_CHARS_MAX} characters")
        _check_text(label, "an alias's label")
        if name is None:
            continue
        if not isinstance(name, str) or not 0 < len(name) <= VALUE_CHARS_MAX:
            raise Malformed(f"an alias must be a string of 1 to {VALUE_CHARS_MAX} characters")
        _check_text(name, "an alias")
    return aliases


def _check_links(links: Mapping[str, object], record: str) -> None:
    for label, parent in links.items():
        if label not in LINK_LABELS:
            raise Malformed(f"a link's label must be one of {', '.join(LINK_LABELS)}")
        if parent is not None and not is_uuid(parent):
            raise Malformed(f"links.{label} must be a lower-case UUID or null")
        if parent == record:
            raise Malformed(f"links.{label}: a record cannot be linked to itself")


def _patch_to_wire(patch: Patch) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    for key, (op, value) in patch.ops.items():
        if op == REMOVE:
            wire.setdefault(REMOVE, []).append(key)
        else:
            wire.setdefault(op, {})[key] = value
    return wire


def _patch_from_wire(wire: object) -> Patch:
    if not isinstance(wire, dict) or not all(
        isinstance(part, list if op == REMOVE else dict) for op, part in wire.items()
    ):
        raise Malformed("patch must be an object with the parts =, ?, + (objects) and - (a list)")
    for op, part in wire.items():
        if op not in (SET, REMOVE, DEFAULT, ADD):
            raise Malformed(f"patch has no part {op!r:.20}; its parts are =, -, ? and +")
        if not all(isinstance(key, str) for key in part):
            raise Malformed(_KEY_TWICE)
    return _patch(
        _WirePatch(
            wire.get(SET, {}), wire.get(REMOVE, []), wire.get(DEFAULT, {}), wire.get(ADD, {})
        )
    )


def _patch(wire: _WirePatch) -> Patch:
    ops: dict[str, Op] = {}
    for op, part in ((SET, wire.set), (DEFAULT, wire.default), (ADD, wire.add)):
        for key, value in part.items():
            if key in ops:
                raise Malformed(_KEY_TWICE)
            _check_op(op, key, value)
            ops[key] = (op, value)
    for key in wire.remove:
        if key in ops:
            raise Malformed(_KEY_TWICE)
        _check_op(REMOVE, key, "")
        ops[key] = (REMOVE, None)
    if len(ops) > TAGS_MAX:
        for prefix in (patches.TAGS, patches.PROPERTIES):
            if sum(key.startswith(prefix) for key in ops) > TAGS_MAX:
                raise Malformed(f"an update may change at most {TAGS_MAX} {prefix[:-1]}")
    return Patch(False, ops)


def _check_op(op: str, key: str, value: object) -> None:
    """Checks the value of one op by the kind of its key."""
    most = _most_added(key)
    if most is not None:
        if op != ADD or type(value) is not int or abs(value) > most:
            raise Malformed(f"{key} is a counter: add an integer of at most {most} to it")
        return
    if key == IDENTIFIER:
        if op not in (SET, REMOVE) or not isinstance(value, str):
            raise Malformed("identifier is set to a string, or removed")
    elif op == ADD:
        raise Malformed(f"{key!r:.50} is not a counter")
    check_value(value, key)


@lru_cache(maxsize=KEYS_REMEMBERED)
def _most_added(key: str) -> int | None:
    """What an update may add to a counter at most; None if the key is no counter. Raises Malformed for a key
    that updates may not change."""
    if key.startswith((patches.TAGS, patches.PROPERTIES)):
        check_key(key)
    elif key in patches.CLIENT_COUNTERS:
        return SPENT_MICROS_MAX if key == "spent_micros" else COUNTER_MAX
    elif key != IDENTIFIER:
        raise Malformed(f"{key!r:.50} is not a key that an update may change")
    return None
