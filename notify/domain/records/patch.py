"""Patches: changes of a record that can be merged without reading the record.

A record's state is a flat mapping of keys to values: ``tags.NAME``, ``properties.NAME``, the columns
(``kind``, ``identifier``, ``deleted``, ``created_at``, ``updated_at``) and the counters. A patch is
``(reset, {key: op})``. An op is one of

* ``(SET, value)``: sets the key to this value;
* ``(REMOVE, None)``: removes the key;
* ``(DEFAULT, value)``: sets the key to this value if it is absent;
* ``(ADD, n)``: adds n to the counter; an absent counter is 0.

For example, ``{"tags.level": (SET, "3"), "session_count": (ADD, 1)}`` followed by
``{"tags.level": (REMOVE, None), "session_count": (ADD, 2)}`` is the one patch
``{"tags.level": (REMOVE, None), "session_count": (ADD, 3)}``.

``kind`` only takes DEFAULT, so a record keeps the first kind that it gets. The op of `PUSH_IDENTIFIER`
changes ``identifier``, but only if the record's kind is ``push``. A patch with it also has that kind as
DEFAULT, so the kind is known when the op is applied. This way a push token that is sent to an email
record does not overwrite its address, although merging does not see the record.

Property tests check two laws: `apply` accepts every state and patch, and
``apply(apply(s, a), b) == apply(s, compose(a, b))``.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

Value = str | bool | int | float
State = Mapping[str, Value]

SET: Final = "="
REMOVE: Final = "-"
DEFAULT: Final = "?"
ADD: Final = "+"

Op = tuple[str, Value | None]

TAGS: Final = "tags."
PROPERTIES: Final = "properties."
#: The prefix of keys with a record's aliases, by label. Only `decide` adds them to patches.
ALIASES: Final = f"{PROPERTIES}alias:"

#: The counters that clients may add to. Money is in millionths of the app's currency.
CLIENT_COUNTERS: Final = (
    "session_count",
    "session_time_s",
    "purchase_count",
    "spent_micros",
)
#: The number of updates mirrored to a record from its children. Only the planner adds to it.
MIRRORED_UPDATES: Final = "mirrored_updates"
COUNTERS: Final = (*CLIENT_COUNTERS, MIRRORED_UPDATES)
IDENTIFIER: Final = "identifier"
#: Only `decide` and `rows` use this key; messages do not have it.
PUSH_IDENTIFIER: Final = "identifier:push"
#: The kind of a device; its identifier is a push token.
PUSH: Final = "push"

_COUNTER_SET: Final = frozenset(COUNTERS)


class Patch(msgspec.Struct, frozen=True, gc=False):
    """A change of a record's state. Never modify `ops`: patches are shared."""

    reset: bool
    ops: Mapping[str, Op]


EMPTY: Final = Patch(False, {})


def apply(state: State, patch: Patch) -> dict[str, Value]:
    """The state after `patch` is applied to `state`. Works for every state and patch."""
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
    """One patch with the effect of `first` followed by `then`."""
    if then.reset:
        return then
    if not first.ops:
        return Patch(first.reset, then.ops)
    ops = dict(first.ops)
    for key, op in then.ops.items():
        before = ops.get(key)
        ops[key] = op if before is None else _compose_op(before, op)
    if IDENTIFIER in then.ops and PUSH_IDENTIFIER not in then.ops:
        # An identifier for records of any kind replaces an earlier one that is for push records only.
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
    """Whether `key` is a counter, which takes only ADD."""
    return key in _COUNTER_SET


def _number(value: Value | None) -> int:
    assert isinstance(value, int)
    return value
