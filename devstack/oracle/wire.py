"""Decides which Kafka messages are valid updates: docs/protocol.md, "Message" and its limits."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_YEAR_2200_MS: Final = 7_258_118_400_000
COUNTERS: Final = ("session_count", "session_time_s", "purchase_count", "spent_micros")
_REQUIRED: Final = frozenset(("v", "op", "message_id", "app", "record", "at"))


def read(value: bytes | None) -> dict[str, Any] | None:
    """The fields of the update; None if the message is not a valid update."""
    if value is None or len(value) > 32 * 1024:
        return None
    try:
        message = json.loads(value.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and _is_update(message) else None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _is_update(message: Mapping[str, Any]) -> bool:
    return (
        message.keys() >= _REQUIRED
        and all(name in _FIELDS and _FIELDS[name](it) for name, it in message.items())
        and message["record"] not in message.get("links", {}).values()
        and (message["op"] == "update" or not _changes_something(message))
        and not (message["op"] == "detach" and message.get("only"))
        and (not message.get("owner") or _is_owners(message))
        and ("aliases" not in message or _may_have(message.get("kind"), message["aliases"]))
    )


def _is_owners(message: Mapping[str, Any]) -> bool:
    return (
        (message["op"], message.get("kind")) == ("update", "user")
        and not message.get("links")
        and message["record"][14] != "8"
    )


def _changes_something(message: Mapping[str, Any]) -> bool:
    return bool(message.get("links") or message.get("aliases")) or any(
        message.get("patch", {}).values()
    )


def _is_uuid(it: object) -> bool:
    return isinstance(it, str) and _UUID.fullmatch(it) is not None


def _is_text(it: object, *, most: int, least: int = 0) -> bool:
    """Text that PostgreSQL can store: no NUL, no half of a surrogate pair."""
    return (
        isinstance(it, str)
        and least <= len(it) <= most
        and not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in it)
    )


def _is_value(it: object) -> bool:
    if isinstance(it, float):
        return math.isfinite(it)
    return isinstance(it, bool) or _is_int(it, most=2**53) or _is_text(it, most=1024)


def _is_int(it: object, *, most: int) -> bool:
    return type(it) is int and -most <= it <= most


def _are_links(links: object) -> bool:
    return isinstance(links, dict) and all(
        label in ("email", "sms", "user") and (parent is None or _is_uuid(parent))
        for label, parent in links.items()
    )


def _are_aliases(aliases: object) -> bool:
    return (
        isinstance(aliases, dict)
        and len(aliases) <= 20
        and all(
            _is_text(label, least=1, most=128)
            and (name is None or _is_text(name, least=1, most=1024))
            for label, name in aliases.items()
        )
    )


def _may_have(kind: object, aliases: Mapping[str, Any]) -> bool:
    """Whether a record of this kind may have the aliases: a user any, a subscription only its token."""
    return kind == "user" or (kind is not None and not aliases.keys() - {"token"})


def _is_patch(patch: object) -> bool:
    if not isinstance(patch, dict) or not patch.keys() <= {"=", "?", "+", "-"}:
        return False
    if not all(isinstance(part, list if op == "-" else dict) for op, part in patch.items()):
        return False
    keys = [key for part in patch.values() for key in part]
    if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        return False
    return (
        all(
            sum(key.startswith(prefix) for key in keys) <= 100
            for prefix in ("tags.", "properties.")
        )
        and all(_may_set(key) and _is_value(it) for key, it in patch.get("=", {}).items())
        and all(_is_named(key) and _is_value(it) for key, it in patch.get("?", {}).items())
        and all(_may_set(key) for key in patch.get("-", []))
        and all(
            key in COUNTERS and _is_int(it, most=2**40 if key == "spent_micros" else 2**31 - 1)
            for key, it in patch.get("+", {}).items()
        )
        and _is_text(patch.get("=", {}).get("identifier", ""), most=1024)
    )


def _may_set(key: str) -> bool:
    return key == "identifier" or _is_named(key)


def _is_named(key: str) -> bool:
    family, _, name = key.partition(".")
    if family == "properties" and name.startswith("alias:"):
        return False
    return family in ("tags", "properties") and _is_text(name, least=1, most=128)


_FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "v": lambda it: type(it) is int and it == 1,
    "op": lambda it: it in ("update", "delete", "detach"),
    "message_id": lambda it: _is_text(it, least=1, most=128),
    "app": _is_uuid,
    "record": _is_uuid,
    "kind": lambda it: it in (None, "push", "email", "sms", "user"),
    "at": lambda it: type(it) is int and 0 <= it <= _YEAR_2200_MS,
    "patch": _is_patch,
    "links": _are_links,
    "aliases": _are_aliases,
    "owner": lambda it: isinstance(it, bool),
    "once": lambda it: isinstance(it, bool),
    "only": lambda it: isinstance(it, bool),
}
