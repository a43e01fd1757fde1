"""Encodes writes as the rows of a Celery task, which the worker's SQL reads.

A row is a flat object with short names; an absent name means "no change". The rows are one JSON text that
goes through Celery and the worker into PostgreSQL without being parsed. Each task (domain/engine/task.py)
also has the names of the rows' fields: SQL ignores fields that it does not know, so a worker refuses a
task with an unknown one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from notify.domain.records.decide import Write
from notify.domain.records.patch import (
    ADD,
    COUNTERS,
    DEFAULT,
    IDENTIFIER,
    PROPERTIES,
    PUSH_IDENTIFIER,
    REMOVE,
    SET,
    TAGS,
    Op,
    Patch,
    is_counter,
)
from notify.domain.records.update import KEYS_REMEMBERED

_MAP_PART: Final = {
    (TAGS, SET): "ts",
    (TAGS, REMOVE): "tr",
    (TAGS, DEFAULT): "td",
    (PROPERTIES, SET): "ps",
    (PROPERTIES, REMOVE): "pr",
    (PROPERTIES, DEFAULT): "pd",
}
_COLUMNS: Final = frozenset(
    ("kind", "identifier", "deleted", "created_at", "updated_at", *COUNTERS)
)
#: All fields that a row may have; the worker's SQL reads these columns.
FIELDS: Final = _COLUMNS | {"s", "l", "a", "r", "z", "ir", "ip", "iu", *_MAP_PART.values()}


def row(stream: int, write: Write, lane: int | None = None) -> dict[str, Any]:
    """The row of one write: ``s`` stream, ``l`` lane (only if the task has several), ``a`` app,
    ``r`` record, ``z`` reset, ``ir`` identifier removed, ``ts tr td`` tags set, removed, defaulted,
    ``ps pr pd`` the same for properties; columns and counters under their own names, ``kind`` as the one
    that it gets if it has none, counters as the number to add.

    ``ip``: ``identifier`` and ``ir`` are for a record of kind push; ``iu`` is then the identifier of
    any other, as a list of one or, to remove it, of none.
    """
    out: dict[str, Any] = {"s": stream, "a": write.app, "r": write.record}
    if lane is not None:
        out["l"] = lane
    if write.patch.reset:
        out["z"] = True
    ops = write.patch.ops
    if PUSH_IDENTIFIER in ops:
        ops = dict(ops)
        out["ip"] = True
        other = ops.pop(IDENTIFIER, None)
        if other is not None:
            out["iu"] = [] if other[0] == REMOVE else [other[1]]
        ops[IDENTIFIER] = ops.pop(PUSH_IDENTIFIER)
    for key, (op, value) in ops.items():
        if key in _COLUMNS:
            if op == REMOVE:
                out["ir"] = True
            else:
                out[key] = value
            continue
        part, name = _place(key, op)
        if op == REMOVE:
            out.setdefault(part, []).append(name)
        elif part in out:
            out[part][name] = value
        else:
            out[part] = {name: value}
    return out


@lru_cache(maxsize=KEYS_REMEMBERED)
def _place(key: str, op: str) -> tuple[str, str]:
    """The field of a row that has this op on a tag or property, and its name there."""
    prefix = TAGS if key.startswith(TAGS) else PROPERTIES
    return _MAP_PART[prefix, op], key[len(prefix) :]


def encode(writes: Iterable[tuple[int, Write]]) -> str:
    """The JSON list of the rows of these (stream, write) pairs."""
    return as_text([row(stream, write) for stream, write in writes])


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The JSON list of rows."""
    return msgspec.json.encode(rows).decode()


def fields(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of the fields that these rows have."""
    return sorted(set().union(*rows))


def decode(rows: str) -> list[tuple[int, Write]]:
    """The (stream, write) pairs in an encoded list: what the in-memory worker of the tests applies."""
    return [_write(fields) for fields in json.loads(rows)]


def _write(fields: dict[str, Any]) -> tuple[int, Write]:
    ops: dict[str, Op] = {}
    for (prefix, op), part in _MAP_PART.items():
        held = fields.get(part, {})
        for name in held:
            ops[prefix + name] = (op, None if op == REMOVE else held[name])
    identifier = PUSH_IDENTIFIER if fields.get("ip") else IDENTIFIER
    if "iu" in fields:
        ops[IDENTIFIER] = (SET, fields["iu"][0]) if fields["iu"] else (REMOVE, None)
    if fields.get("ir"):
        ops[identifier] = (REMOVE, None)
    for key, value in fields.items():
        if key == IDENTIFIER:
            ops[identifier] = (SET, value)
        elif key in ("deleted", "updated_at"):
            ops[key] = (SET, value)
        elif key in ("kind", "created_at"):
            ops[key] = (DEFAULT, value)
        elif is_counter(key):
            ops[key] = (ADD, value)
    write = Write(fields["a"], fields["r"], Patch(bool(fields.get("z")), ops))
    return fields["s"], write
