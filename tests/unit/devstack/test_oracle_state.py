"""The comparison sees every difference: an oracle that cannot fail says nothing."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from devstack.oracle.state import Dead, Dropped, State, differences, same

KEY = ("app", "record")
ROW: dict[str, Any] = {
    "kind": "push",
    "tags": {"a": 1, "b": "x"},
    "session_count": 2,
    "deleted": False,
}


def _state() -> State:
    return State(
        records={KEY: dict(ROW)},
        links={("app", "child", "email"): "record"},
        generations={KEY: 1},
        counts={("app", "record", "email", 1): 1},
        dropped=Counter({Dropped("app", "record", "skip_rule", 3): 2}),
        hits=Counter({3: 2}),
        dead=Counter({Dead(0, 5, "malformed", None, None, b"x"): 1}),
    )


def test_equal_states_do_not_differ() -> None:
    assert list(differences(_state(), _state())) == []


def test_what_is_absent_counts_as_nothing() -> None:
    found = _state()
    found.generations["app", "other"] = 0
    found.counts["app", "record", "sms", 1] = 0
    assert list(differences(_state(), found)) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.records.clear(), "record record of app app: is missing"),
        (lambda state: state.records.update({("app", "new"): ROW}), "exists, but must not"),
        (lambda state: state.records[KEY].update(kind=None), "kind is None, must be 'push'"),
        (lambda state: state.records[KEY].update(tags={"a": 1}), "tags is {}, must be {'b': 'x'}"),
        (lambda state: state.records[KEY].update(session_count=3), "session_count is 3, must be 2"),
        (lambda state: state.links.clear(), "link app child email: is None, must be record"),
        (lambda state: state.generations.clear(), "generation app record: is 0, must be 1"),
        (lambda state: state.counts.clear(), "link count app record email 1: is 0, must be 1"),
        (lambda state: state.dropped.clear(), "skipped app record skip_rule 3: is 0, must be 2"),
        (lambda state: state.hits.update({3: 1}), "hits of skip rule 3: is 3, must be 2"),
        (lambda state: state.dead.clear(), "dead letter 0 5 malformed None None b'x': is 0"),
    ],
)
def test_each_difference_is_named(change: Callable[[State], object], named: str) -> None:
    found = _state()
    change(found)
    (line,) = differences(_state(), found)
    assert named in line


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        (1, 1.0, True),
        (10**23, 1e23, True),
        (2**62, 2**62 + 1, False),
        (True, 1, False),
        (0, False, False),
        ("1", 1, False),
        (1.5, "1.5", False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": None}, {}, False),
        (None, 0, False),
    ],
)
def test_values_are_compared_as_json_has_them(one: Any, other: Any, are_same: bool) -> None:
    assert same(one, other) is are_same
    assert same(other, one) is are_same
