"""Random histories of a small world: few apps and records, so that everything meets.

What happens in them is often what a rule forbids or an edge: limits of 0 to 3, rules that expire at once,
links to oneself's children, time that stands still, holes in the log.
"""

import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from notify.domain.records import ids
from notify.domain.records.patch import CLIENT_COUNTERS
from notify.domain.records.update import LABELS, LINK_LABELS

PARTITIONS = 2
LANES = 3
#: One in each partition.
APPS = [str(uuid.UUID(int=n)) for n in (1, 4)]
RECORDS = [str(uuid.UUID(int=0xB0 + n)) for n in range(4)]

_VALUES = ["", "x", "Ω 'é\\", 0, 1, 1.0, -2.5, True, False, 2**53, 1e23, 1e-300]
_KEYS = ["tags.a", "tags.b", "tags.c.d", "properties.language", "properties.model"]
#: Names that users and devices have; ids that stand for them.
NAMES = {
    "user": [(label, name) for label in ("external_id", "crm") for name in ("x", "y")],
    "push": [("token", name) for name in ("t", "u")],
}
ALIASES = [
    ids.alias_id(app, kind, label, name)
    for app in APPS
    for kind, names in NAMES.items()
    for label, name in names
]
#: Addresses that change hands, by kind, in any spelling; the ids that are made of them.
ADDRESSES = {
    "email": ["a@b.example", " A@B.example", "c@d.example"],
    "sms": ["+49 1", "491", "+49 (2)"],
}
HOMES = [
    home
    for app in APPS
    for kind, names in ADDRESSES.items()
    for name in names
    for home in (
        ids.record_id(app, kind, name),
        ids.named_user(app, ids.alias_id(app, kind, "token", name), 0),
    )
]

Fields = dict[str, Any]


@dataclass(frozen=True)
class Produce:
    """A message, after a hole in the log."""

    app: str
    body: bytes
    hole: int
    misrouted: bool


@dataclass(frozen=True)
class EditSkip:
    app: str
    record: str
    scope: str | None
    lives: int | None


@dataclass(frozen=True)
class EditLimit:
    app: str | None
    label: str
    children: int | None
    lives: int | None


@dataclass(frozen=True)
class Pass:
    """Time."""

    ms: int


@dataclass(frozen=True)
class Plan:
    """A tick: what was produced is decided."""

    partition: int


@dataclass(frozen=True)
class Land:
    """A lane applies its next batch."""

    partition: int
    lane: int


@dataclass(frozen=True)
class Load:
    """Memory is lost; what is planned is built again from the log and the recorded decisions."""

    partition: int


Action = Produce | EditSkip | EditLimit | Pass | Plan | Land | Load


def draw(rng: random.Random, size: int) -> list[Action]:
    """A history of that many actions."""
    kinds: list[tuple[int, Callable[[random.Random], Action]]] = [
        (60, _produce),
        (12, lambda rng: Plan(rng.randrange(PARTITIONS))),
        (15, lambda rng: Land(rng.randrange(PARTITIONS), rng.randrange(LANES))),
        (1, lambda rng: Load(rng.randrange(PARTITIONS))),
        (3, _edit_skip),
        (5, _edit_limit),
        (4, lambda rng: Pass(rng.randint(1, 3))),
    ]
    weights = [weight for weight, _ in kinds]
    return [kind(rng) for _, kind in rng.choices(kinds, weights, k=size)]


def _edit_skip(rng: random.Random) -> EditSkip:
    scope = rng.choice([None, "all", "mirrored"])
    return EditSkip(rng.choice(APPS), rng.choice(RECORDS), scope, _lives(rng))


def _edit_limit(rng: random.Random) -> EditLimit:
    app, children = rng.choice([None, *APPS]), rng.choice([None, 0, 1, 2, 3])
    return EditLimit(app, rng.choice(LABELS), children, _lives(rng))


def _lives(rng: random.Random) -> int | None:
    return rng.choice([None, None, 0, 1, 4])


def _produce(rng: random.Random) -> Produce:
    fields = _fields(rng)
    body = json.dumps(fields, ensure_ascii=rng.random() < 0.5).encode()
    hole = rng.choice([0, 0, 0, 1, 3])
    rare = rng.randrange(40)
    return Produce(fields["app"], b"{}" if rare == 0 else body, hole, rare == 1)


def _fields(rng: random.Random) -> Fields:
    """The fields of a valid message."""
    record = rng.choice(ALIASES if rng.random() < 0.2 else RECORDS)
    fields: Fields = {
        "v": 1,
        "op": rng.choice(["update"] * 10 + ["delete", "detach"]),
        "message_id": rng.choice("mno"),
        "app": rng.choice(APPS),
        "record": record,
        "at": rng.randrange(20),
    }
    if rng.random() < 0.5:
        fields["kind"] = rng.choice([None, "push", "email", "sms", "user"])
    if fields["op"] != "detach" and rng.random() < 0.1:
        fields["only"] = True
    if fields["op"] == "update" and rng.random() < 0.7:
        fields["patch"] = _patch(rng)
    if fields["op"] == "update" and rng.random() < 0.4:
        records = (*RECORDS, *RECORDS, *ALIASES, *rng.sample(HOMES, 4))
        parents = [None, *(each for each in records if each != record)]
        fields["links"] = {
            label: rng.choice(parents) for label in rng.sample(LINK_LABELS, rng.randint(1, 3))
        }
    if fields["op"] == "update" and rng.random() < 0.35:
        fields["kind"] = kind = rng.choice(["user", "user", "user", "push", "email"])
        names = NAMES["user" if kind == "user" else "push"]
        fields["aliases"] = {
            label: rng.choice([name, name, name, None])
            for label, name in rng.sample(names, rng.randint(1, 2))
        }
        if (
            kind == "user"
            and "links" not in fields
            and record not in ALIASES
            and rng.random() < 0.3
        ):
            fields["owner"] = True
    if rng.random() < 0.3:
        fields["once"] = True
    if fields["op"] == "update" and "owner" not in fields and rng.random() < 0.3:
        _address(rng, fields)
    return fields


def _address(rng: random.Random, fields: Fields) -> None:
    """Let the message be one of an address: by it, with it, or one that changes or removes it."""
    app, kind = fields["app"], rng.choice(list(ADDRESSES))
    address = rng.choice(ADDRESSES[kind])
    fields["patch"] = fields.get("patch", {}) | {"=": {"identifier": address}}
    fields["patch"].pop("-", None)
    fields["patch"].pop("?", None)
    fields["kind"] = rng.choice([kind, kind, None])
    fields.pop("aliases", None)
    fields["record"] = rng.choice(
        [
            ids.record_id(app, kind, address),
            ids.alias_id(app, kind, "token", address),
            *rng.sample(HOMES, 3),
            rng.choice(RECORDS),
        ]
    )
    if fields["kind"] is not None and rng.random() < 0.4:
        fields["aliases"] = {"token": rng.choice([address, address, None])}
    if fields["record"] in fields.get("links", {}).values():
        del fields["links"]


def _patch(rng: random.Random) -> Fields:
    patch: Fields = {}
    for key in rng.sample(_KEYS, rng.randint(0, 3)):
        op = rng.choice("=?-")
        if op == "-":
            patch.setdefault(op, []).append(key)
        else:
            patch.setdefault(op, {})[key] = rng.choice(_VALUES)
    if rng.random() < 0.1:
        patch.setdefault("-", []).append("identifier")
    elif rng.random() < 0.1:
        patch.setdefault("=", {})["identifier"] = rng.choice(["", "a@b.example"])
    for counter in rng.sample(CLIENT_COUNTERS, rng.randint(0, 2)):
        patch.setdefault("+", {})[counter] = rng.randint(-3, 3)
    return patch
