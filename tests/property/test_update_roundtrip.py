"""An update survives its bytes; what is no update is refused, and never more than that."""

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from notify.domain.errors import Malformed
from notify.domain.records.ids import alias_id
from notify.domain.records.patch import ADD, CLIENT_COUNTERS, DEFAULT, REMOVE, SET, Patch
from notify.domain.records.update import (
    AT_MAX,
    COUNTER_MAX,
    DELETE,
    DETACH,
    INTEGER_MAX,
    KINDS,
    LINK_LABELS,
    TOKEN,
    UPDATE,
    USER,
    Unreadable,
    Update,
    check,
    encode,
    parse,
    read,
)

APPS = [f"00000000-0000-0000-0000-0000000000a{n}" for n in range(2)]
RECORDS = [f"00000000-0000-0000-0000-0000000000b{n}" for n in range(5)]
#: Names, and the ids that stand for them.
USER_LABELS = ("external_id", "crm")
NAMES = ("x", "y")
ALIASES = [
    *(alias_id(APPS[0], USER, label, name) for label in USER_LABELS for name in NAMES),
    *(alias_id(APPS[0], "push", TOKEN, name) for name in NAMES),
]

_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_VALUES = st.one_of(
    st.text(_CHARACTERS, max_size=5),
    st.booleans(),
    st.integers(-INTEGER_MAX, INTEGER_MAX),
    st.floats(allow_nan=False, allow_infinity=False),
)
_PROPERTIES = ("language", "timezone", "timezone_id", "country", "last_active", "device_model")
_NAMES = st.one_of(
    st.sampled_from([f"properties.{name}" for name in _PROPERTIES]),
    st.sampled_from(["tags.a", "tags.b", "tags.properties.c"]),
    st.text(_CHARACTERS, min_size=1, max_size=5).map(lambda name: "tags." + name),
)
_MAP_OPS = st.one_of(
    st.tuples(st.just(SET), _VALUES),
    st.just((REMOVE, None)),
    st.tuples(st.just(DEFAULT), _VALUES),
)
_COLUMN_OPS = st.fixed_dictionaries(
    {},
    optional={
        "identifier": st.one_of(
            st.tuples(st.just(SET), st.text(_CHARACTERS, max_size=5)), st.just((REMOVE, None))
        ),
        **dict.fromkeys(
            CLIENT_COUNTERS, st.tuples(st.just(ADD), st.integers(-COUNTER_MAX, COUNTER_MAX))
        ),
    },
)
_PATCHES = st.builds(
    lambda named, columns: Patch(False, named | columns),
    st.dictionaries(_NAMES, _MAP_OPS, max_size=4),
    _COLUMN_OPS,
)


@st.composite
def updates(draw: st.DrawFn, patches: st.SearchStrategy[Patch] = _PATCHES) -> Update:
    """Any valid update of a few records of two apps."""
    op = draw(st.sampled_from([UPDATE, UPDATE, UPDATE, UPDATE, DELETE, DETACH]))
    record = draw(st.sampled_from([*RECORDS, *RECORDS, *ALIASES]))
    parents = st.one_of(
        st.none(), st.sampled_from([r for r in (*RECORDS, *ALIASES) if r != record])
    )
    patch, links, aliases = Patch(False, {}), {}, {}
    kind = draw(st.sampled_from([None, *KINDS]))
    if op == UPDATE:
        patch = draw(patches)
        links = draw(st.dictionaries(st.sampled_from(LINK_LABELS), parents, max_size=3))
        if kind is not None and draw(st.booleans()):
            labels = USER_LABELS if kind == USER else (TOKEN,)
            names = st.sampled_from([*NAMES, None])
            aliases = draw(st.dictionaries(st.sampled_from(labels), names, max_size=2))
    return Update(
        app=draw(st.sampled_from(APPS)),
        record=record,
        at=draw(st.integers(0, AT_MAX)),
        message_id=draw(st.text(_CHARACTERS, min_size=1, max_size=5)),
        op=op,
        kind=kind,
        patch=patch,
        links=links,
        aliases=aliases,
        owner=(op, kind, links) == (UPDATE, USER, {}) and record in RECORDS and draw(st.booleans()),
        once=draw(st.booleans()),
        only=op != DETACH and draw(st.sampled_from([False, False, True])),
    )


def _types(update: Update) -> dict[str, type]:
    return {key: type(value) for key, (_, value) in update.patch.ops.items()}


@given(updates())
def test_an_encoded_update_is_read_back(update: Update) -> None:
    again = parse(encode(update))
    assert again == update
    assert _types(again) == _types(update)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_update_or_unreadable(value: bytes) -> None:
    assert isinstance(read(value), Update | Unreadable)


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=3),
        st.sampled_from([RECORDS[0], RECORDS[1], "email", "push", "delete", "tags.a", "="]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.text(st.characters(), max_size=3),
                st.sampled_from(["=", "-", "?", "+", "tags.a", "session_count", "user", "email"]),
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)
_FIELDS = ["v", "op", "message_id", "app", "record", "kind", "at", "patch", "links", "only", "x"]
_FIELDS += ["aliases", "once", "owner"]


@given(updates(), st.dictionaries(st.sampled_from(_FIELDS), _JSON, min_size=1, max_size=3))
def test_nonsense_in_a_field_is_refused_or_read_for_good(
    update: Update, nonsense: dict[str, Any]
) -> None:
    """Whatever is accepted can be written again and is then the same."""
    try:
        accepted = check(json.loads(encode(update)) | nonsense)
    except Malformed:
        return
    again = parse(encode(accepted))
    assert again == accepted
    assert _types(again) == _types(accepted)
    assert all(math.isfinite(v) for _, v in again.patch.ops.values() if isinstance(v, float))


@given(updates(), st.dictionaries(st.sampled_from(_FIELDS), _JSON, min_size=1, max_size=3))
def test_bytes_and_fields_are_judged_alike(update: Update, nonsense: dict[str, Any]) -> None:
    """msgspec reads what the bridge gets; what web builds, and what msgspec refuses, is checked by hand."""
    fields = json.loads(encode(update)) | nonsense
    value = json.dumps(fields).encode()
    try:
        checked: Update | None = check(fields)
    except Malformed:
        checked = None
    parsed = read(value)
    assert parsed == checked or (checked is None and isinstance(parsed, Unreadable))
    if checked is not None:
        assert isinstance(parsed, Update)
        assert _types(parsed) == _types(checked)
