"""Patches keep their laws for every op that a key may take, resets included (rule 2)."""

from collections.abc import Mapping
from copy import deepcopy
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from notify.domain.records.patch import (
    ADD,
    COUNTERS,
    DEFAULT,
    EMPTY,
    PUSH_IDENTIFIER,
    REMOVE,
    SET,
    Patch,
    State,
    Value,
    apply,
    compose,
    is_counter,
)

_VALUES = st.one_of(
    st.text(max_size=2),
    st.booleans(),
    st.integers(-2, 2),
    st.floats(allow_nan=False, allow_infinity=False),
)
_NAMED = ("tags.a", "tags.b", "properties.a", "properties.b")
_AMOUNTS = st.integers(-(2**40), 2**40)


def _op(op: str, values: st.SearchStrategy[Value]) -> st.SearchStrategy[tuple[str, Value]]:
    return st.tuples(st.just(op), values)


_REMOVED = st.just((REMOVE, None))
_MAP_OPS = st.one_of(_op(SET, _VALUES), _REMOVED, _op(DEFAULT, _VALUES))
_OPS = {
    **dict.fromkeys(_NAMED, _MAP_OPS),
    **dict.fromkeys(COUNTERS, _op(ADD, _AMOUNTS)),
    "identifier": st.one_of(_op(SET, st.text(max_size=2)), _REMOVED),
    "kind": _op(DEFAULT, st.sampled_from(["push", "email"])),
    "deleted": _op(SET, st.booleans()),
    "created_at": _op(DEFAULT, st.integers(0, 9)),
    "updated_at": _op(SET, st.integers(0, 9)),
}
#: As `writes` makes them of an update of kind push: the kind stands beside its token.
_PUSH_OPS = {
    "kind": st.just((DEFAULT, "push")),
    PUSH_IDENTIFIER: st.one_of(_op(SET, st.text(max_size=2)), _REMOVED),
}
_SINGLE = st.builds(
    lambda reset, ops, token: Patch(reset, ops | token),
    st.booleans(),
    st.fixed_dictionaries({}, optional=_OPS),
    st.one_of(st.just({}), st.fixed_dictionaries(_PUSH_OPS)),
)
#: Merged ones have more: the identifier for any kind and a push token that came after it.
PATCHES = st.one_of(_SINGLE, st.builds(compose, _SINGLE, _SINGLE))
STATES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(_NAMED, _VALUES),
        **dict.fromkeys(COUNTERS, _AMOUNTS),
        "identifier": st.text(max_size=2),
        "kind": st.sampled_from(["sms", "push"]),
        "deleted": st.booleans(),
        "created_at": st.integers(0, 9),
        "updated_at": st.integers(0, 9),
    },
)


def _exact(state: State) -> Mapping[str, tuple[type, Value]]:
    """With types, as True equals 1 and 1 equals 1.0."""
    return {key: (type(value), value) for key, value in state.items()}


@given(STATES, PATCHES, PATCHES)
def test_a_composed_patch_does_what_its_parts_do(state: State, a: Patch, b: Patch) -> None:
    assert _exact(apply(apply(state, a), b)) == _exact(apply(state, compose(a, b)))


@given(PATCHES, PATCHES, PATCHES)
def test_compose_is_associative(a: Patch, b: Patch, c: Patch) -> None:
    assert compose(compose(a, b), c) == compose(a, compose(b, c))


@given(PATCHES)
def test_the_empty_patch_is_neutral(patch: Patch) -> None:
    assert compose(EMPTY, patch) == patch == compose(patch, EMPTY)


@given(STATES, st.lists(PATCHES, max_size=6), st.data())
def test_patches_may_be_merged_in_any_batches(
    state: State, patches: list[Patch], data: st.DataObject
) -> None:
    batches, rest = [], patches
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        batches.append(reduce(compose, rest[:size]))
        rest = rest[size:]
    assert _exact(reduce(apply, batches, state)) == _exact(reduce(apply, patches, state))


@given(STATES, PATCHES)
def test_every_op_leaves_what_it_promises(state: State, patch: Patch) -> None:
    before = {} if patch.reset else state
    after = apply(state, patch)
    ops = dict(patch.ops)
    token = ops.pop(PUSH_IDENTIFIER, None)
    if token is not None and after["kind"] == "push":
        ops["identifier"] = token
    for key, (op, value) in ops.items():
        if op == SET:
            assert after[key] == value
        elif op == REMOVE:
            assert key not in after
        elif op == DEFAULT:
            assert after[key] == before.get(key, value)
        else:
            assert is_counter(key)
            assert isinstance(value, int)
            assert after[key] == int(before.get(key, 0)) + value
    untouched = before.keys() - ops.keys()
    assert {key: after[key] for key in untouched} == {key: before[key] for key in untouched}
    assert after.keys() <= before.keys() | ops.keys()


@given(STATES, PATCHES, PATCHES)
def test_states_and_patches_are_never_edited(state: State, a: Patch, b: Patch) -> None:
    before = deepcopy((state, a, b))
    apply(state, compose(a, b))
    assert (state, a, b) == before
