"""The product's parser and the oracle's take the same values for updates."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devstack.oracle import wire
from notify.domain.records.update import LINK_LABELS, Unreadable, read
from tests.property.histories import ALIASES, APPS, RECORDS, Fields


def _message(**fields: Any) -> Fields:
    return {
        "v": 1,
        "op": "update",
        "message_id": "m",
        "app": APPS[0],
        "record": RECORDS[0],
        "at": 0,
    } | fields


NUMBERS = [
    -1,
    0,
    1,
    2,
    2**31 - 1,
    2**31,
    2**40,
    2**40 + 1,
    2**53,
    2**53 + 1,
    7_258_118_400_000,
    7_258_118_400_001,
]
VALUES: list[Any] = [
    *(None, True, False, "", "x", "a" * 128, "a" * 129, "a" * 1024, "a" * 1025, "\0", "\ud800"),
    *(*NUMBERS, -(2**31), -(2**53) - 1, 1.5, 1e300, float("nan"), float("-inf")),
    *([], {}, [1], ["x"], [[]], {"x": 1}),
]
KEYS = [
    *("tags.a", "properties.a", "tags", "tags.", "tag.a", "tags." + "k" * 128, "tags." + "k" * 129),
    *("tags.\0", "tags.\udfff", "properties.", "identifier", "kind", "deleted", "created_at", ""),
    *("session_count", "session_time_s", "purchase_count", "spent_micros", "mirrored_updates"),
]
PATCHES: list[Any] = [
    *VALUES,
    *({op: {key: value}} for op in "=?+*" for key in KEYS for value in VALUES),
    *({"-": keys} for keys in ([], [1], [None], [[]], *([key] for key in KEYS))),
    *({op: part} for op in "=?+-" for part in VALUES),
    *({"=": {"tags.a": 1}, op: {"tags.a": 1}} for op in "?+"),
    *({"=": {"tags.a": 1}, "-": ["tags.a"]}, {"-": ["tags.a", "tags.a"]}),
    *(
        {"=": {f"{of}.{n}": 1 for n in range(99)}, "-": [f"{of}.x", f"{of}.y"][:more]}
        for of in ("tags", "properties")
        for more in (1, 2)
    ),
]
ODD: dict[str, list[Any]] = {
    "v": VALUES,
    "op": [*VALUES, "update", "delete", "detach"],
    "message_id": VALUES,
    "app": [*VALUES, APPS[0].upper(), APPS[0].replace("-", ""), f"{{{APPS[0]}}}", APPS[0] + "\n"],
    "record": [*VALUES, RECORDS[1], RECORDS[1].replace("-", "")],
    "at": VALUES,
    "kind": [*VALUES, "push", "email", "sms", "user", "web"],
    "only": VALUES,
    "once": VALUES,
    "owner": VALUES,
    "links": [
        *VALUES,
        *({label: parent} for label in (*LINK_LABELS, "phone") for parent in (*VALUES, *RECORDS)),
    ],
    "patch": PATCHES,
    "extra": VALUES,
}


@pytest.mark.parametrize("op", ["update", "delete", "detach"])
@pytest.mark.parametrize("name", ODD)
def test_both_readers_take_the_same_messages_for_updates(name: str, op: str) -> None:
    without = _message(op=op)
    without.pop(name, None)
    for fields in (without, *(_message(**{"op": op, name: odd}) for odd in ODD[name])):
        for escaped in (True, False):
            text = json.dumps(fields, ensure_ascii=escaped)
            _assert_read_alike(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("kind", [None, "user", "push", "email"])
@pytest.mark.parametrize("op", ["update", "delete"])
def test_both_readers_take_the_same_aliases(kind: str | None, op: str) -> None:
    labels = ["token", "external_id", "k" * 128, "k" * 129, "", "\0", "\udfff"]
    odd: list[Any] = [
        *VALUES,
        *({label: name} for label in labels for name in VALUES),
        *({f"l{n}": "x" for n in range(many)} for many in (20, 21)),
    ]
    for aliases in odd:
        fields = _message(op=op, kind=kind, aliases=aliases)
        _assert_read_alike(json.dumps(fields).encode())


@pytest.mark.parametrize("kind", [None, "user", "push"])
@pytest.mark.parametrize("op", ["update", "delete"])
@pytest.mark.parametrize("links", [{}, {"email": RECORDS[1]}])
@pytest.mark.parametrize("record", [RECORDS[0], ALIASES[0]])
def test_both_readers_take_the_same_owners_updates(
    kind: str | None, op: str, links: Fields, record: str
) -> None:
    fields = _message(op=op, kind=kind, links=links, record=record, owner=True)
    _assert_read_alike(json.dumps(fields).encode())
    for key in ("properties.alias:x", "properties.alias", "tags.alias:x"):
        patch = {"=": {key: "v"}}
        _assert_read_alike(json.dumps(_message(patch=patch)).encode())


@pytest.mark.parametrize("size", [32 * 1024, 32 * 1024 + 1])
def test_both_readers_refuse_the_same_sizes(size: int) -> None:
    body = json.dumps(_message()).encode()
    _assert_read_alike(body + b" " * (size - len(body)))


@given(st.one_of(st.binary(max_size=40), st.none(), st.text(max_size=40).map(str.encode)))
@example(b"[" * 20_000)
@example(b"9" * 5_000)
@example(b'{"v": 1, "v": 2}')
def test_both_readers_refuse_what_is_no_message(body: bytes | None) -> None:
    _assert_read_alike(body)


def _assert_read_alike(body: bytes | None) -> None:
    must, found = wire.read(body), read(body)
    assert (must is None) == isinstance(found, Unreadable), (body, found)
