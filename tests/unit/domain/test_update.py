"""The strict parser: each way of being wrong by name, each limit at its edge and one past it."""

import json
from typing import Any

import pytest

from notify.domain.errors import Malformed, NewerVersion
from notify.domain.records.patch import ADD, DEFAULT, REMOVE, SET, Patch
from notify.domain.records.update import (
    AT_MAX,
    COUNTER_MAX,
    INTEGER_MAX,
    KEY_CHARS_MAX,
    READS,
    SPENT_MICROS_MAX,
    TAGS_MAX,
    UPDATE_BYTES_MAX,
    VALUE_CHARS_MAX,
    VERSION,
    VERSION_MAX,
    Newer,
    Unreadable,
    Update,
    check,
    check_value,
    encode,
    parse,
    read,
)

APP = "00000000-0000-0000-0000-0000000000a0"
RECORD = "00000000-0000-0000-0000-0000000000b0"
PARENT = "00000000-0000-0000-0000-0000000000b1"
FIELDS: dict[str, Any] = {
    "v": 1,
    "op": "update",
    "message_id": "m",
    "app": APP,
    "record": RECORD,
    "at": 1_700_000_000_000,
}
GONE = object()


def _fields(**changed: Any) -> dict[str, Any]:
    fields = FIELDS | changed
    return {name: value for name, value in fields.items() if value is not GONE}


def _set(name: str, value: object) -> dict[str, Any]:
    return _fields(patch={"=": {name: value}})


def test_a_full_update_is_read() -> None:
    patch = {
        "=": {"tags.a": "x", "identifier": "i", "properties.n": 1.5},
        "-": ["tags.b", "properties.o"],
        "?": {"tags.c": True},
        "+": {"session_count": -2},
    }
    fields = _fields(kind="push", patch=patch, links={"email": PARENT, "user": None})
    assert check(fields) == Update(
        app=APP,
        record=RECORD,
        at=1_700_000_000_000,
        message_id="m",
        kind="push",
        patch=Patch(
            False,
            {
                "tags.a": (SET, "x"),
                "identifier": (SET, "i"),
                "properties.n": (SET, 1.5),
                "tags.b": (REMOVE, None),
                "properties.o": (REMOVE, None),
                "tags.c": (DEFAULT, True),
                "session_count": (ADD, -2),
            },
        ),
        links={"email": PARENT, "user": None},
    )


@pytest.mark.parametrize(("op", "only"), [("delete", False), ("delete", True), ("detach", False)])
def test_a_delete_and_a_detach_need_nothing_more(op: str, only: bool) -> None:
    update = check(_fields(op=op, only=only))
    assert (update.op, update.only, update.patch.ops, update.links) == (op, only, {}, {})


_WRONG_FIELDS = [
    ({"v": GONE}, "v must be an integer from 1 to 1, not None"),
    ({"v": None}, "v must be an integer from 1 to 1, not None"),
    ({"v": True}, "v must be an integer from 1 to 1, not True"),
    ({"v": False}, "v must be an integer from 1 to 1, not False"),
    ({"v": 1.0}, "v must be an integer from 1 to 1, not 1.0"),
    ({"v": 2.0}, "v must be an integer from 1 to 1, not 2.0"),
    ({"v": "2"}, "v must be an integer from 1 to 1, not '2'"),
    ({"v": [2]}, "v must be an integer from 1 to 1, not [2]"),
    ({"v": 0}, "v must be an integer from 1 to 1, not 0"),
    ({"v": -2}, "v must be an integer from 1 to 1, not -2"),
    ({"v": VERSION_MAX + 1}, "v must be an integer from 1 to 1, not 10000"),
    ({"v": 10**4_000}, "v must be an integer from 1 to 1, not 1000"),
    ({"surprise": 1}, "'surprise' is not a field"),
    ({"\ud800": 1}, "is not a field"),
    ({"op": "drop"}, "op must be one of update, delete, detach"),
    ({"op": "\ud800"}, "op must be one of update, delete, detach"),
    ({"kind": "\ud800"}, "kind must be one of push, email, sms, user"),
    ({"op": ["update"]}, "op must be one of"),
    ({"app": APP.upper()}, "app must be a lower-case UUID"),
    ({"app": GONE}, "app must be a lower-case UUID"),
    ({"record": 7}, "record must be a lower-case UUID"),
    ({"message_id": ""}, "message_id must be a string of 1 to"),
    ({"message_id": 7}, "message_id must be a string of 1 to"),
    ({"message_id": "a\0"}, "message_id contains NUL"),
    ({"message_id": "\ud800"}, "message_id contains a lone surrogate"),
    ({"at": True}, "at must be an integer"),
    ({"at": 1.0}, "at must be an integer"),
    ({"at": -1}, "at must be an integer"),
    ({"at": GONE}, "at must be an integer"),
    ({"kind": "fax"}, "kind must be one of push, email, sms, user"),
    ({"only": 1}, "only must be true"),
    ({"only": None}, "only must be true"),
    ({"op": "delete", "patch": {"-": ["tags.a"]}}, "a delete has neither patch nor links"),
    ({"op": "detach", "links": {"email": None}}, "a detach has neither patch nor links"),
    ({"op": "detach", "only": True}, "it cannot be only"),
    ({"links": ["email"]}, "links must be an object"),
    ({"links": None}, "links must be an object"),
    ({"links": {"push": PARENT}}, "label must be one of email, sms, user"),
    ({"links": {"sms": "b1"}}, "links.sms must be a lower-case UUID or null"),
    ({"links": {"sms": ""}}, "links.sms must be a lower-case UUID or null"),
    ({"links": {"user": RECORD}}, "links.user: a record cannot be linked to itself"),
]
_WRONG_PATCHES: list[tuple[Any, str]] = [
    (None, "patch must be an object with the parts"),
    (["tags.a"], "patch must be an object with the parts"),
    ({"=": ["tags.a"]}, "patch must be an object with the parts"),
    ({"-": {"tags.a": 1}}, "patch must be an object with the parts"),
    ({"*": {"tags.a": 1}}, "patch has no part '*'"),
    ({"\ud800": {"tags.a": 1}}, "patch has no part"),
    ({"-": [["tags.a"]]}, "must be a string that stands in it once"),
    ({"-": ["tags.a", "tags.a"]}, "must be a string that stands in it once"),
    ({"=": {"tags.a": 1}, "?": {"tags.a": 1}}, "must be a string that stands in it once"),
    ({"+": {"tags.a": 1}}, "'tags.a' is not a counter"),
    ({"+": {"properties.a": 1}}, "'properties.a' is not a counter"),
    ({"=": {"tags.": 1}}, "name has 1 to"),
    ({"-": ["properties."]}, "name has 1 to"),
    ({"=": {"tags.a\0": 1}}, "a key contains NUL"),
    ({"-": ["tags.\udfff"]}, "a key contains a lone surrogate"),
    ({"=": {"session_count": 1}}, "session_count is a counter: add an integer"),
    ({"-": ["session_count"]}, "session_count is a counter: add an integer"),
    ({"+": {"spent_micros": 1.0}}, "spent_micros is a counter: add an integer"),
    ({"+": {"spent_micros": True}}, "spent_micros is a counter: add an integer"),
    ({"+": {"mirrored_updates": 1}}, "'mirrored_updates' is not a key"),
    ({"=": {"deleted": False}}, "'deleted' is not a key"),
    ({"=": {"": "x"}}, "'' is not a key"),
    ({"?": {"identifier": "x"}}, "identifier is set to a string, or removed"),
    ({"=": {"identifier": 7}}, "identifier is set to a string, or removed"),
    ({"=": {"identifier": "\0"}}, "identifier contains NUL"),
    ({"=": {"tags.a": None}}, "tags.a must be a string, a boolean or a number"),
    ({"=": {"tags.a": {}}}, "tags.a must be a string, a boolean or a number"),
    ({"=": {"tags.a": "\0"}}, "tags.a contains NUL"),
    ({"?": {"tags.a": "\ud83d"}}, "tags.a contains a lone surrogate"),
    ({"=": {"tags.a": float("inf")}}, "tags.a must be a finite number"),
    ({"=": {"tags.a": float("nan")}}, "tags.a must be a finite number"),
]


@pytest.mark.parametrize(
    ("changed", "words"),
    [*_WRONG_FIELDS, *(({"patch": patch}, words) for patch, words in _WRONG_PATCHES)],
)
def test_a_wrong_field_is_refused_by_name(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(Malformed) as refused:
        check(_fields(**changed))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "has no value (a tombstone)"),
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'{"v":1,"at":NaN}', "NaN is not a JSON number"),
        (b'{"v":1,"at":-Infinity}', "-Infinity is not a JSON number"),
        (b"[" * 20_000, "is not JSON"),
        (b"[]", "must be a JSON object"),
        (b'"v"', "must be a JSON object"),
        (b"{}", "v must be an integer"),
        (b'{"v":1e400}', "v must be an integer from 1 to 1, not inf"),
        (b'{"v":2', "is not JSON"),
        (b"[2]", "must be a JSON object"),
    ],
)
def test_a_value_that_is_no_update_is_unreadable(value: bytes | None, words: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse(value)
    assert words in str(refused.value)
    assert read(value) == Unreadable(str(refused.value))


def test_bytes_that_are_an_update_are_read() -> None:
    assert read(json.dumps(FIELDS).encode()) == check(FIELDS)


def test_text_is_written_as_it_is_and_defaults_are_left_out() -> None:
    update = check(_set("tags.é", "☃"))
    assert json.loads(encode(update)) == _set("tags.é", "☃")
    assert "☃".encode() in encode(update)


# -- limits --------------------------------------------------------------------------------------------


def _sized(size: int) -> bytes:
    value = json.dumps(FIELDS).encode()
    return value + b" " * (size - len(value))


def test_the_longest_update_is_read_and_one_byte_more_is_not() -> None:
    assert parse(_sized(UPDATE_BYTES_MAX)) == check(FIELDS)
    with pytest.raises(Malformed, match=f"{UPDATE_BYTES_MAX + 1} bytes; at most"):
        parse(_sized(UPDATE_BYTES_MAX + 1))


@pytest.mark.parametrize("v", [2, VERSION_MAX])
@pytest.mark.parametrize(
    "also", [{}, {"surprise": {"a": []}}, {"op": "rename"}, {"app": None}, {"at": "soon"}]
)
def test_an_update_of_a_later_release_waits_for_one_that_reads_it(
    v: int, also: dict[str, Any]
) -> None:
    value = json.dumps(_fields(v=v, **also)).encode()
    said = f"v is {v}, of a later release; this release reads v up to 1"
    assert read(value) == Newer(said, v)
    with pytest.raises(NewerVersion, match=said):
        parse(value)


def test_a_later_release_may_have_longer_updates() -> None:
    value = json.dumps(_fields(v=2, more="x" * UPDATE_BYTES_MAX)).encode()
    assert isinstance(read(value), Newer)
    assert read(_sized(UPDATE_BYTES_MAX + 1)) == Unreadable(
        f"the update has {UPDATE_BYTES_MAX + 1} bytes; at most {UPDATE_BYTES_MAX} are allowed"
    )


def test_a_release_reads_each_version_up_to_its_own_and_refuses_what_they_do_not_allow() -> None:
    for v in (1, 2):
        assert read(json.dumps(_fields(v=v)).encode(), reads=2) == check(FIELDS)
        wrong = read(json.dumps(_fields(v=v, surprise=1)).encode(), reads=2)
        assert wrong == Unreadable("'surprise' is not a field of an update")
    assert isinstance(read(json.dumps(_fields(v=3)).encode(), reads=2), Newer)


def test_what_is_written_can_be_read() -> None:
    assert VERSION <= READS <= VERSION_MAX


def _many(prefix: str, n: int) -> list[str]:
    return [f"{prefix}.{number}" for number in range(n)]


def test_so_many_tags_and_so_many_properties_may_change_at_once() -> None:
    fields = _fields(patch={"-": _many("tags", TAGS_MAX) + _many("properties", TAGS_MAX)})
    assert len(check(fields).patch.ops) == 2 * TAGS_MAX


@pytest.mark.parametrize("prefix", ["tags", "properties"])
def test_one_more_may_not(prefix: str) -> None:
    names = _many(prefix, TAGS_MAX + 1)
    with pytest.raises(Malformed, match=f"at most {TAGS_MAX} {prefix}"):
        check(_fields(patch={"=": dict.fromkeys(names[1:], 1), "-": names[:1]}))


@pytest.mark.parametrize("prefix", ["tags", "properties"])
def test_the_longest_name_fits_and_one_character_more_does_not(prefix: str) -> None:
    longest = prefix + "." + "é" * KEY_CHARS_MAX
    assert check(_set(longest, 1)).patch.ops == {longest: (SET, 1)}
    with pytest.raises(Malformed, match=f"1 to {KEY_CHARS_MAX} characters"):
        check(_set(longest + "é", 1))


def test_the_longest_message_id_fits_and_one_character_more_does_not() -> None:
    assert check(_fields(message_id="é" * KEY_CHARS_MAX)).message_id == "é" * KEY_CHARS_MAX
    with pytest.raises(Malformed, match=f"message_id .* 1 to {KEY_CHARS_MAX} characters"):
        check(_fields(message_id="é" * (KEY_CHARS_MAX + 1)))


@pytest.mark.parametrize("name", ["tags.a", "properties.a", "identifier"])
def test_the_longest_value_fits_and_one_character_more_does_not(name: str) -> None:
    longest = "é" * VALUE_CHARS_MAX
    assert check(_set(name, longest)).patch.ops == {name: (SET, longest)}
    with pytest.raises(Malformed, match=f"{name} has {VALUE_CHARS_MAX + 1} characters; at most"):
        check(_set(name, longest + "é"))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_integer_fits_and_one_more_does_not(sign: int) -> None:
    assert check_value(sign * INTEGER_MAX, "x") == sign * INTEGER_MAX
    with pytest.raises(Malformed, match="x must be an integer between"):
        check_value(sign * (INTEGER_MAX + 1), "x")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("counter", "most"), [("session_count", COUNTER_MAX), ("spent_micros", SPENT_MICROS_MAX)]
)
def test_the_largest_addend_fits_and_one_more_does_not(counter: str, most: int, sign: int) -> None:
    def fields(n: int) -> dict[str, Any]:
        return _fields(patch={"+": {counter: n}})

    assert check(fields(sign * most)).patch.ops[counter][1] == sign * most
    with pytest.raises(Malformed, match=f"{counter} is a counter"):
        check(fields(sign * (most + 1)))


def test_the_last_moment_fits_and_one_millisecond_more_does_not() -> None:
    assert check(_fields(at=AT_MAX)).at == AT_MAX
    assert check(_fields(at=0)).at == 0
    with pytest.raises(Malformed, match="at must be an integer of milliseconds"):
        check(_fields(at=AT_MAX + 1))
