"""Masks a message for support staff: they see which fields an update has, but no values."""

import json
from collections.abc import Callable
from typing import Any, Final

from notify.domain.engine.lanes import is_uuid
from notify.domain.records.update import AT_MAX, KEY_CHARS_MAX, KINDS, LABELS, OPS, VERSION

_PARTS: Final = ("=", "?", "+", "-")


def masked(message: bytes) -> str:
    """The message as indented JSON, with its keys; each value replaced by its type and length.

    Shown as they are: ids, version, op, kind and time, if they are what an update may have. The
    names of removed tags are keys too. For what is not JSON, only its size.
    """
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        return f"not JSON: {len(message)} bytes"
    return json.dumps(_fields(fields), indent=2, ensure_ascii=False)


def _fields(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return _mask(fields)
    return {_key(name): _field(name, value) for name, value in fields.items()}


def _field(name: str, value: Any) -> Any:
    is_plain = _PLAIN.get(name)
    if is_plain is not None and is_plain(value):
        return value
    if name == "links" and isinstance(value, dict):
        return {_key(label): _link(label, parent) for label, parent in value.items()}
    if name == "patch" and isinstance(value, dict):
        return {_key(part): _patch(part, held) for part, held in value.items()}
    return _mask(value)


def _link(label: str, parent: Any) -> Any:
    return parent if label in LABELS and (parent is None or is_uuid(parent)) else _mask(parent)


def _patch(part: str, held: Any) -> Any:
    if part == "-" and isinstance(held, list) and all(isinstance(name, str) for name in held):
        return [_key(name) for name in held]
    return _mask(held)


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(name): _mask(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_mask(held) for held in value]
    if isinstance(value, str):
        return f"<text of {len(value)} characters>"
    if isinstance(value, bool) or value is None:
        return "<true or false>" if value is not None else None
    return "<number>"


def _key(name: str) -> str:
    return name if len(name) <= KEY_CHARS_MAX else f"{name[:KEY_CHARS_MAX]}…"


_PLAIN: Final[dict[str, Callable[[Any], bool]]] = {
    "v": lambda value: type(value) is int and value == VERSION,
    "op": lambda value: value in OPS,
    "message_id": is_uuid,
    "app": is_uuid,
    "record": is_uuid,
    "kind": lambda value: value in KINDS,
    "at": lambda value: type(value) is int and 0 <= value <= AT_MAX,
    "only": lambda value: value is True,
}
