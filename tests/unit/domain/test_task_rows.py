"""The rows of a task: what the bridge writes and the worker's SQL reads."""

import json

import pytest

from notify.domain.records.decide import Write
from notify.domain.records.patch import (
    ADD,
    COUNTERS,
    DEFAULT,
    PUSH_IDENTIFIER,
    REMOVE,
    SET,
    Op,
    Patch,
)
from notify.domain.records.task_rows import FIELDS, decode, encode, fields, row

FULL = Write(
    "a",
    "r",
    Patch(
        True,
        {
            "tags.x": (SET, True),
            "tags.y": (REMOVE, None),
            "tags.z": (DEFAULT, 1.5),
            "properties.x": (SET, "é"),
            "properties.y": (REMOVE, None),
            "properties.z": (DEFAULT, ""),
            "identifier": (SET, "i"),
            "kind": (DEFAULT, "push"),
            "deleted": (SET, False),
            "created_at": (DEFAULT, 5),
            "updated_at": (SET, 6),
            "session_count": (ADD, -1),
            "mirrored_updates": (ADD, 2),
        },
    ),
)

REMOVED = Write("a", "r", Patch(False, {"identifier": (REMOVE, None)}))


def test_a_row_has_short_names_and_leaves_out_what_does_not_change() -> None:
    assert row(7, FULL) == {
        "s": 7,
        "a": "a",
        "r": "r",
        "z": True,
        "ts": {"x": True},
        "tr": ["y"],
        "td": {"z": 1.5},
        "ps": {"x": "é"},
        "pr": ["y"],
        "pd": {"z": ""},
        "identifier": "i",
        "kind": "push",
        "deleted": False,
        "created_at": 5,
        "updated_at": 6,
        "session_count": -1,
        "mirrored_updates": 2,
    }
    empty = Write("a", "r", Patch(False, {}))
    assert row(7, empty) == {"s": 7, "a": "a", "r": "r"}
    assert row(7, empty, 0) == {"s": 7, "a": "a", "r": "r", "l": 0}


def test_every_key_of_an_update_has_a_field_that_workers_know() -> None:
    every = dict(FULL.patch.ops) | dict.fromkeys(COUNTERS, (ADD, 1))
    token = every | {PUSH_IDENTIFIER: (SET, "t")}
    rows = [row(7, Write("a", "r", Patch(True, each))) for each in (every, token)]
    rows.append(row(7, REMOVED, 3))
    assert fields(rows) == sorted(FIELDS)


def test_a_removed_identifier_has_a_sign_of_its_own() -> None:
    assert row(7, REMOVED) == {"s": 7, "a": "a", "r": "r", "ir": True}
    assert decode(encode([(7, REMOVED)])) == [(7, REMOVED)]


@pytest.mark.parametrize(
    ("ops", "said"),
    [
        ({PUSH_IDENTIFIER: (SET, "t")}, {"ip": True, "identifier": "t"}),
        ({PUSH_IDENTIFIER: (REMOVE, None)}, {"ip": True, "ir": True}),
        (
            {"identifier": (SET, "a"), PUSH_IDENTIFIER: (SET, "t")},
            {"ip": True, "identifier": "t", "iu": ["a"]},
        ),
        (
            {"identifier": (REMOVE, None), PUSH_IDENTIFIER: (REMOVE, None)},
            {"ip": True, "ir": True, "iu": []},
        ),
    ],
)
def test_a_push_token_has_a_sign_of_its_own(ops: dict[str, Op], said: dict[str, object]) -> None:
    write = Write("a", "r", Patch(False, ops))
    assert row(7, write) == {"s": 7, "a": "a", "r": "r", **said}
    assert decode(encode([(7, write)])) == [(7, write)]


def test_a_tag_may_be_called_like_a_property_or_a_counter() -> None:
    write = Write(
        "a",
        "r",
        Patch(False, {"tags.properties.x": (SET, 1), "tags.session_count": (SET, "n")}),
    )
    assert row(7, write)["ts"] == {"properties.x": 1, "session_count": "n"}
    assert decode(encode([(7, write)])) == [(7, write)]


def test_writes_are_read_back_with_their_streams_in_order() -> None:
    other = Write("b", "r", Patch(False, {"tags.x": (SET, 1)}))
    written = [(7, FULL), (8, other), (7, other)]
    assert decode(encode(written)) == written


def test_text_goes_through_as_it_is() -> None:
    assert '"é"' in encode([(7, FULL)])
    assert json.loads(encode([])) == []
