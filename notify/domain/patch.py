"""Patches of a record, and the two laws they keep.

A record's state is a flat mapping of keys to values: ``tags.NAME``, ``properties.NAME``, the columns
(``kind``, ``identifier``, ``deleted``, ``created_at``, ``updated_at``) and the counters. A patch is
``(reset, {key: op})``; an op is one of

* ``(SET, value)``: the key has this value afterwards;
* ``(REMOVE, None)``: the key is absent afterwards;
* ``(DEFAULT, value)``: the key has this value afterwards if it was absent;
* ``(ADD, n)``: the counter is higher by n; an absent counter is 0.

``kind`` only takes DEFAULT: the first kind that a record gets is the one that it keeps. The op of
`PUSH_IDENTIFIER` acts on ``identifier``, and only if the record's kind is ``push``. Its patch also has
that kind as DEFAULT, so it is known when the op acts. It is how a push token that is sent to an email
record leaves the address alone, although nobody who merges patches can see the record.

Laws, held by property tests: `apply` is total, and
``apply(apply(s, a), b) == apply(s, compose(a, b))``. So waiting updates of a record may be merged
anywhere without a look at the record.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

Value = str | bool | int | float
State = Mapping[str, Value]

SET: Final = "="
REMOVE: Final = "-"
DEFAULT: Final = "?"
ADD: Final = "+"

Op = tuple[str, Value | None]

TAGS: Final = "tags."
PROPERTIES: Final = "properties."
#: Where a record keeps the aliases that name it, by label; only decide and writes put them there.
ALIASES: Final = f"{PROPERTIES}alias:"

#: Counters a client may add to. Money is in micros of the app's currency.
CLIENT_COUNTERS: Final = (
    "session_count",
    "session_time_s",
    "purchase_count",
    "spent_micros",
)
#: The number of updates mirrored to a record by its children; only the planner adds to it.
MIRRORED_UPDATES: Final = "mirrored_updates"
COUNTERS: Final = (*CLIENT_COUNTERS, MIRRORED_UPDATES)
IDENTIFIER: Final = "identifier"
#: Only decide and rows put it into patches; no message has it.
PUSH_IDENTIFIER: Final = "identifier:push"
#: The kind of devices, whose identifier is a push token.
PUSH: Final = "push"

_COUNTER_SET: Final = frozenset(COUNTERS)


class Patch(NamedTuple):
    """A total change of a record's state. Treat `ops` as frozen: a patch is shared, never edited."""

    reset: bool
    ops: Mapping[str, Op]


EMPTY: Final = Patch(False, {})


def apply(state: State, patch: Patch) -> dict[str, Value]:
    """The state after `patch`. Total: it holds for every state and every patch."""
    after: dict[str, Value] = {} if patch.reset else dict(state)
    for key, op in patch.ops.items():
        if key != PUSH_IDENTIFIER:
            _apply_op(after, key, op)
    if PUSH_IDENTIFIER in patch.ops and after.get("kind") == PUSH:
        _apply_op(after, IDENTIFIER, patch.ops[PUSH_IDENTIFIER])
    return after


def _apply_op(state: dict[str, Value], key: str, op: Op) -> None:
    what, value = op
    if what == REMOVE:
        state.pop(key, None)
    elif what == ADD:
        state[key] = _number(state.get(key, 0)) + _number(value)
    elif what == SET or key not in state:
        assert value is not None
        state[key] = value


def compose(first: Patch, then: Patch) -> Patch:
    """The one patch that does what `first` and then `then` do."""
    if then.reset:
        return then
    if not first.ops:
        return Patch(first.reset, then.ops)
    ops = dict(first.ops)
    for key, op in then.ops.items():
        before = ops.get(key)
        ops[key] = op if before is None else _compose_op(before, op)
    if IDENTIFIER in then.ops and PUSH_IDENTIFIER not in then.ops:
        # An identifier for a record of any kind takes the place of an earlier push token.
        ops.pop(PUSH_IDENTIFIER, None)
    return Patch(first.reset, ops)


def _compose_op(before: Op, then: Op) -> Op:
    kind, value = then
    if kind == ADD:
        return (ADD, _number(before[1]) + _number(value))
    if kind == DEFAULT:
        return (SET, value) if before[0] == REMOVE else before
    return then


def is_counter(key: str) -> bool:
    """Whether `key` takes ADD, and only ADD."""
    return key in _COUNTER_SET


def _number(value: Value | None) -> int:
    assert isinstance(value, int)
    return value
