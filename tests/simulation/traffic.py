"""What web accepts, as the schedule's dice have it."""

import random

from notify.domain.engine.lanes import partition_of
from notify.domain.records.ids import alias_id
from notify.domain.records.patch import ADD, DEFAULT, REMOVE, SET, Op, Patch
from notify.domain.records.update import (
    DELETE,
    DETACH,
    LINK_LABELS,
    TOKEN,
    UPDATE,
    USER,
    VERSION,
    Update,
    encode,
)
from tests.simulation.workers import KILLER, POISON

#: The `v` of the later release.
LATER = 2
APPS = [f"00000000-0000-0000-0000-00000000a00{n}" for n in range(3)]
#: Kinds, labels and names of aliases.
NAMES = [
    *((USER, label, name) for label in ("external_id", "crm") for name in ("x", "y")),
    ("push", TOKEN, "t"),
]
RECORDS = [f"00000000-0000-0000-0000-00000000b00{n}" for n in range(9)]


def message(rng: random.Random, at: int, *, poison: bool, partitions: int) -> tuple[int, bytes]:
    """A partition and what is appended to it; rarely what another producer wrote, nonsense."""
    update = _update(rng, at, poison=poison)
    partition = partition_of(update.app, partitions)
    dice = rng.random()
    if dice < 0.02:
        # Never the same twice: what is lost and replaced by the same bytes cannot be noticed.
        return partition, b"\xff{%r" % dice
    if dice < 0.04:
        return rng.randrange(partitions), encode(update)
    return partition, encode(update)


def of_later_release(value: bytes) -> bytes:
    """The same update as a web process of the later release would write it; nonsense stays nonsense."""
    return value.replace(b'{"v":%d,' % VERSION, b'{"v":%d,' % LATER, 1)


def _update(rng: random.Random, at: int, *, poison: bool) -> Update:
    app = rng.choice(APPS)
    record = RECORDS[0] if rng.random() < 0.4 else rng.choice(RECORDS)
    op = rng.choices([UPDATE, DELETE, DETACH], [20, 1, 1])[0]
    if op != UPDATE:
        return Update(app, rng.choice(RECORDS[:-1]), at, "m", op=op)
    ops: dict[str, Op] = {"session_count": (ADD, 1)}
    for name in rng.sample("abc", rng.randint(0, 2)):
        ops["tags." + name] = rng.choice(
            [(SET, rng.randint(0, 99)), (REMOVE, None), (DEFAULT, "d")]
        )
    if poison and rng.random() < 0.03:
        record = RECORDS[-1]  # never deleted: a delete merged after it would swallow the poison
        if rng.random() < 0.3:
            return Update(app, record, at, "m", patch=Patch(False, {KILLER: (ADD, 1)}), only=True)
        ops[POISON] = (ADD, 1)
    links: dict[str, str | None] = {}
    if rng.random() < 0.25:
        parent = rng.choice([None, *RECORDS[:3]])
        if parent != record:
            links[rng.choice(LINK_LABELS)] = parent
    only = rng.random() < 0.02
    kind, aliases = None, {}
    if POISON not in ops and rng.random() < 0.2:
        kind, label, name = rng.choice(NAMES)
        if rng.random() < 0.5:
            record = alias_id(app, kind, label, name)
        aliases = {label: rng.choice([name, name, None])}
        if record == RECORDS[-1]:  # or it may become one with a user who is deleted
            kind, aliases = None, {}
    message_id = rng.choice(["m", str(at)])
    own_kind = _describe(ops, random.Random(f"{at} {record}"))
    return Update(
        app,
        record,
        at,
        message_id,
        kind=kind or own_kind,
        patch=Patch(False, ops),
        links=links,
        aliases=aliases,
        owner=kind == USER and record in RECORDS and not links and not only and rng.random() < 0.3,
        once=rng.random() < 0.3,
        only=only,
    )


def _describe(ops: dict[str, Op], dice: random.Random) -> str | None:
    """Rarely an identifier into the patch, and the kind of the record that is said with it."""
    if dice.random() < 0.6:
        return None
    name = dice.choice("xyz")
    ops["identifier"] = dice.choice([(SET, name), (SET, name), (REMOVE, None)])
    return dice.choice([None, "push", "push", "email"])
