"""What one line of an export says: a subscription and its user, or a user and its subscriptions.

A value that a record cannot have (a tag that is too long, a number that is none) is left out and named,
so that it does not cost the device. Only what says which record it is costs the line. Nothing here
knows Kafka or PostgreSQL.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, ParamSpec, TypeVar

from notify.domain.errors import Malformed
from notify.domain.records import ids, nobody
from notify.domain.records.patch import Value
from notify.domain.records.update import ALIASES_MAX, COUNTER_MAX, KEY_CHARS_MAX, check_value
from notify.web.resources import device, purchases, subscriptions, user_reference, users
from notify.web.resources.device import EXTERNAL_USER_ID, PUSH
from notify.web.resources.user_reference import EXTERNAL_ID, ONESIGNAL_ID

#: What is kept of a user and of a subscription in a CSV: what the API takes of them.
USER_KEYS: Final = users.PROPERTY_KEYS
ROW_KEYS: Final = tuple(
    dict.fromkeys((*device.PROPERTY_KEYS, *subscriptions.PROPERTY_KEYS, *USER_KEYS))
)
#: Columns of the CSV that are read and not stored under their own names.
_READ: Final = (
    "id", "identifier", "tags", "session_count", "playtime", "amount_spent", "created_at",
    "invalid_identifier", "location", ONESIGNAL_ID,
)  # fmt: skip
_INTEGERS: Final = ("device_type", "timezone", "notification_types", "net_type", "test_type")
_NUMBERS: Final = ("lat", "long")
_SECONDS: Final = ("first_active", "last_active")
#: PostgreSQL's spelling, which the export has, and others.
_FLAGS: Final = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
_LOCATION: Final = re.compile(r"\(?\s*([-+.\d]+)\s*,\s*([-+.\d]+)\s*\)?")
#: A greater number since 1970 is one of milliseconds.
_SECONDS_MAX: Final = 100_000_000_000

Given = ParamSpec("Given")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class ExportedSubscription:
    """A device, an address or a number. `identifier` is empty for a device without a token."""

    id: str
    kind: str
    identifier: str
    properties: Mapping[str, Value]
    tags: Mapping[str, Value] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExportedUser:
    """A user. It has the id that OneSignal gave it, or aliases, or both."""

    id: str | None
    aliases: Mapping[str, str]
    properties: Mapping[str, Value]
    tags: Mapping[str, Value] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportEntry:
    """What is to be imported of a line; `left_out` says what of it is not, and why."""

    user: ExportedUser | None
    subscriptions: Sequence[ExportedSubscription]
    left_out: Sequence[str] = ()


def of_row(row: Mapping[str, str], names: Collection[str] = nobody.NAMES) -> ImportEntry:
    """What a row of the CSV says. `names` are nobody's. Raises Malformed where it does not say which
    record it is.

    Tags are those of the device and of its user: the export does not tell them apart.
    """
    said: dict[str, Any] = {name: cell.strip() for name, cell in row.items() if cell.strip()}
    kept = _Kept(names)
    external = said.get(EXTERNAL_USER_ID)
    if external is not None and kept.value(_alias, EXTERNAL_ID, external, names) is None:
        del said[EXTERNAL_USER_ID]
    record = _record(said.get("id"), "id")
    device_type = _integer("device_type", said.get("device_type"))
    kind = device.kind_in({"device_type": device_type})
    if kind is None:
        raise Malformed("device_type is missing")
    subscription = ExportedSubscription(
        record,
        kind,
        _identifier(said.get("identifier"), kind),
        kept.values("properties", _properties(kept, said)),
        kept.values("tags", _tags(said.get("tags"))),
        _counters(kept, said.get("session_count"), said.get("playtime"), said.get("amount_spent")),
    )
    user = _user(
        kept,
        {EXTERNAL_ID: said.get(EXTERNAL_USER_ID), ONESIGNAL_ID: said.get(ONESIGNAL_ID)},
        {key: subscription.properties[key] for key in USER_KEYS if key in subscription.properties},
        subscription.tags,
        {},
    )
    return ImportEntry(user, (subscription,), kept.left_out)


def of_user(fields: Mapping[str, Any], names: Collection[str] = nobody.NAMES) -> ImportEntry:
    """What a user in JSON says. `names` are nobody's. Raises Malformed where it is none, or has neither
    an id nor an alias."""
    if "errors" in fields:
        raise Malformed("it is an error answer of the API and not a user: export the user again")
    identity, properties = fields.get("identity"), fields.get("properties") or {}
    if not isinstance(identity, Mapping) or not isinstance(properties, Mapping):
        raise Malformed("it is not a user: it must have the objects identity and properties")
    kept = _Kept(names)
    tags = properties.get("tags") or {}
    if not isinstance(tags, Mapping):
        raise Malformed("tags must be an object")
    user = _user(
        kept,
        identity,
        kept.values("properties", _of_user(kept, properties)),
        kept.values("tags", tags),
        _bought(kept, properties) | _counters(kept, None, None, properties.get("amount_spent")),
    )
    if user is None:
        raise Malformed("identity names no user: it has neither onesignal_id nor an alias")
    listed = fields.get("subscriptions") or []
    if not isinstance(listed, list):
        raise Malformed("subscriptions must be a list")
    found = [kept.value(_subscription, kept, each) for each in listed]
    return ImportEntry(user, [each for each in found if each is not None], kept.left_out)


def columns_not_taken(columns: Iterable[str]) -> list[str]:
    """The columns of a CSV of which nothing is imported."""
    return [name for name in columns if name not in ROW_KEYS and name not in _READ]


@dataclass(slots=True)
class _Kept:
    """Why something of a line was not kept."""

    #: Names that are nobody's.
    names: Collection[str]
    left_out: list[str] = field(default_factory=list)

    def value(
        self, read: Callable[Given, Found], *given: Given.args, **named: Given.kwargs
    ) -> Found | None:
        """What `read` returns; None if it raises Malformed, which is noted."""
        try:
            return read(*given, **named)
        except Malformed as error:
            self.left_out.append(f"left out: {error}")
            return None

    def values(self, what: str, values: Mapping[str, Any]) -> dict[str, Value]:
        """Those that a record may have; null and empty ones are absent."""
        return {
            name: value
            for name, value in values.items()
            if value is not None and value != ""
            if self.value(_checked, what, name, value) is not None
        }


def _checked(what: str, name: str, value: object) -> Value:
    if not 0 < len(name) <= KEY_CHARS_MAX:
        raise Malformed(f"a name in {what} that has not 1 to {KEY_CHARS_MAX} characters")
    check_value(name, f"a name in {what}")
    return check_value(value, f"{what}.{name}")


def _user(
    kept: _Kept,
    identity: Mapping[str, Any],
    properties: Mapping[str, Value],
    tags: Mapping[str, Value],
    counters: Mapping[str, int],
) -> ExportedUser | None:
    named = {label: name for label, name in identity.items() if name}
    given = named.pop(ONESIGNAL_ID, None)
    record = None if given is None else kept.value(_record, given, ONESIGNAL_ID)
    aliases: dict[str, str] = {}
    for label, name in sorted(named.items(), key=lambda each: each[0] != EXTERNAL_ID):
        if len(aliases) == ALIASES_MAX:
            kept.left_out.append(f"left out: all aliases after the first {ALIASES_MAX}")
            break
        if kept.value(_alias, label, name, kept.names):
            aliases[label] = name
    if record is None and not aliases:
        return None
    return ExportedUser(record, aliases, properties, tags, counters)


def _alias(label: object, name: object, names: Collection[str]) -> bool:
    user_reference.check_name(label, name)
    check_value(label, "an alias's label")
    check_value(name, "an alias")
    assert isinstance(name, str)
    if nobody.is_nobody(name, names):
        raise Malformed(f"{label}: {user_reference.NOBODYS.format(name)}")
    return True


def _subscription(kept: _Kept, fields: object) -> ExportedSubscription:
    if not isinstance(fields, Mapping):
        raise Malformed("a subscription must be an object")
    record = _record(fields.get("id"), "a subscription's id")
    name, kind = subscriptions.typed(fields.get("type"))
    said = {key: fields.get(key) for key in subscriptions.PROPERTY_KEYS}
    return ExportedSubscription(
        record,
        kind,
        _identifier(fields.get("token"), kind),
        kept.values("properties", said | {"subscription_type": name}),
        counters=_counters(kept, fields.get("session_count"), fields.get("session_time"), None),
    )


def _record(value: object, name: str) -> str:
    record = device.player_id(value, name)
    if ids.is_alias(record):
        raise Malformed(f"{name} has UUID version 8, which this server uses for aliases")
    return record


def _identifier(value: object, kind: str) -> str:
    identifier = device.identifier_in({"identifier": value}, kind) or ""
    if not identifier and kind != PUSH:
        raise Malformed(f"it has no address or number, which the kind {kind} needs")
    return identifier


def _tags(cell: str | None) -> Mapping[str, Any]:
    try:
        tags = json.loads(cell or "{}")
    except (ValueError, RecursionError):
        tags = None
    if not isinstance(tags, Mapping):
        raise Malformed("tags is not a JSON object")
    return tags


def _properties(kept: _Kept, said: Mapping[str, str]) -> dict[str, Any]:
    """The cells that are properties, in the types that the API has them in."""
    found = {key: kept.value(_typed, key, said[key]) for key in ROW_KEYS if key in said}
    if "created_at" in said:
        found["first_active"] = kept.value(_seconds, "created_at", said["created_at"])
    if "invalid_identifier" in said:
        is_invalid = kept.value(_flag, "invalid_identifier", said["invalid_identifier"])
        found["enabled"] = None if is_invalid is None else not is_invalid
    if "location" in said:
        found |= kept.value(_location, said["location"]) or {}
    return found


def _of_user(kept: _Kept, properties: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: properties[key] for key in USER_KEYS if properties.get(key) is not None}
    for key in found.keys() & set(_SECONDS):
        found[key] = kept.value(_seconds, key, str(properties[key]))
    return found


def _typed(key: str, cell: str) -> Value | None:
    if key in _INTEGERS:
        return _integer(key, cell)
    if key in _NUMBERS:
        return _number(key, cell)
    if key in _SECONDS:
        return _seconds(key, cell)
    return _flag(key, cell) if key in ("rooted", "enabled") else cell


def _integer(name: str, value: object) -> int | None:
    if value is None:
        return None
    try:
        return int(value)  # type: ignore[call-overload, no-any-return] # that is asked here
    except (TypeError, ValueError):
        raise Malformed(f"{name} must be an integer") from None


def _number(name: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise Malformed(f"{name} must be a number") from None


def _flag(name: str, cell: str) -> bool:
    try:
        return _FLAGS[cell.lower()]
    except KeyError:
        raise Malformed(f"{name} must be t or f") from None


def _seconds(name: str, cell: str) -> int:
    """Seconds since 1970 of a number, of milliseconds too, or of a date and time; in UTC if it says no
    other zone."""
    try:
        if cell.isascii() and cell.isdecimal():
            number = int(cell)
            seconds = number // 1000 if number > _SECONDS_MAX else number
        else:
            at = datetime.fromisoformat(cell.removesuffix("UTC").rstrip())
            seconds = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise Malformed(f"{name} must be a date and time, or seconds since 1970") from None
    if not 0 <= seconds <= COUNTER_MAX:
        raise Malformed(f"{name} is before 1970 or after 2038")
    return seconds


def _location(cell: str) -> dict[str, float]:
    """`lat` and `long`, in this order in the cell."""
    found = _LOCATION.fullmatch(cell)
    if found is None:
        raise Malformed("location must be a latitude and a longitude")
    lat, long = _number("location", found[1]), _number("location", found[2])
    if abs(lat) > 90 or abs(long) > 180:
        raise Malformed("location must be a latitude and a longitude")
    return {"lat": lat, "long": long}


def _bought(kept: _Kept, properties: Mapping[str, Any]) -> dict[str, int]:
    """What a user's list of purchases comes to."""
    bought = properties.get("purchases") or []
    if not isinstance(bought, list) or not all(isinstance(each, Mapping) for each in bought):
        kept.left_out.append("left out: purchases must be a list of objects")
        return {}
    spent = [kept.value(_micros, each.get("amount")) for each in bought]
    found = {"purchase_count": len(bought), "spent_micros": sum(filter(None, spent))}
    return {name: n for name, n in found.items() if n}


def _counters(kept: _Kept, sessions: object, seconds: object, spent: object) -> dict[str, int]:
    found = {
        "session_count": kept.value(_count, "session_count", sessions),
        "session_time_s": kept.value(_count, "playtime", seconds),
        "spent_micros": kept.value(_micros, spent),
    }
    return {name: n for name, n in found.items() if n}


def _count(name: str, value: object) -> int:
    n = _integer(name, value) or 0
    if not 0 <= n <= COUNTER_MAX:
        raise Malformed(f"{name} must be from 0 to {COUNTER_MAX}")
    return n


def _micros(spent: object) -> int:
    amount = 0 if spent is None else purchases.micros(spent)
    if amount is None:
        raise Malformed("an amount is not a number, or more than one update may add")
    return amount
