"""JSON schemas of what requests carry, made of the constants that the parsers check against.

A schema may say less than a parser does where JSON Schema cannot say it (depth, bytes as stored,
an address that grows when it is lower-cased), never more: a body that its schema refuses is
refused with 400, or what is wrong in it is left out with a warning, or the key is not one that we read.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from notify.domain.records.nobody import DIGITS_MIN
from notify.domain.records.patch import ALIASES, CLIENT_COUNTERS, PROPERTIES
from notify.domain.records.update import (
    ALIASES_MAX,
    COUNTER_MAX,
    INTEGER_MAX,
    KEY_CHARS_MAX,
    LINK_LABELS,
    SPENT_MICROS_MAX,
    TAGS_MAX,
    VALUE_CHARS_MAX,
)

Schema = dict[str, Any]

_UUID: Final = "{h}{{8}}-{h}{{4}}-{h}{{4}}-{h}{{4}}-{h}{{12}}"
#: NUL is JSON, but PostgreSQL cannot store it.
_NO_NUL: Final = r"^[^\u0000]*$"
#: What is left of a text when `str.strip` has trimmed it.
_NOT_BLANK: Final = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$"

#: In a telephone number any of these may stand between the digits, of which one is not 0.
_IN_NUMBERS: Final = r"[ \t\u00a0\-().]*"
_ADDRESS: Final = {
    "email": r"^\s*[^@\s\u0000]+@[^@\s\u0000]+\s*$",
    "sms": rf"^{_IN_NUMBERS}\+?({_IN_NUMBERS}[0-9]){{{DIGITS_MIN - 1},20}}{_IN_NUMBERS}[1-9]"
    rf"({_IN_NUMBERS}[0-9])*{_IN_NUMBERS}$",
}


def ref(name: str) -> Schema:
    """A reference to the component schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(most: int = VALUE_CHARS_MAX, *, least: int = 0) -> Schema:
    """Text that can be stored."""
    bounds = {"minLength": least} if least else {}
    return {"type": "string", "maxLength": most, "pattern": _NO_NUL, **bounds}


def some_text(most: int = VALUE_CHARS_MAX) -> Schema:
    """Text that is not blank."""
    return {"type": "string", "maxLength": most, "pattern": _NOT_BLANK}


def address(kind: str) -> Schema:
    """An e-mail address or a telephone number: what `nobody.is_address` takes, or more."""
    return {"type": "string", "maxLength": VALUE_CHARS_MAX, "pattern": _ADDRESS[kind]}


def integer(least: int, most: int) -> Schema:
    """An integer, written without a fraction."""
    return {"type": "integer", "minimum": least, "maximum": most}


def one_of(names: Iterable[str]) -> Schema:
    """One of these texts."""
    return {"type": "string", "enum": list(names)}


def or_null(schema: Schema, meaning: str = "null counts as absent.") -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}], "description": meaning}


def closed(fields: Mapping[str, Schema], *, required: Iterable[str] = (), **more: Any) -> Schema:
    """An object that has these fields and no others."""
    return {**opened(fields, required=required, **more), "additionalProperties": False}


def opened(fields: Mapping[str, Schema], *, required: Iterable[str] = (), **more: Any) -> Schema:
    """An object with these fields; others are ignored, as clients add some with every version."""
    names = list(required)
    return {
        "type": "object",
        "properties": dict(fields),
        **({"required": names} if names else {}),
        **more,
    }


def any_case(names: Iterable[str]) -> Schema:
    """One of these texts, in upper or lower case."""
    spelled = list(names)
    either = "|".join(
        "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in name) for name in spelled
    )
    return {"type": "string", "pattern": f"^({either})$", "examples": spelled}


def _named(value: Schema, name: Schema, **more: Any) -> Schema:
    return {
        "type": "object",
        "propertyNames": name,
        "additionalProperties": value,
        "maxProperties": TAGS_MAX,
        **more,
    }


_NAME: Final = text(KEY_CHARS_MAX, least=1)
_USER_ID: Final = "onesignal_id"
_ALIAS_PREFIX: Final = ALIASES.removeprefix(PROPERTIES)

#: `#/components/schemas`: what several bodies share.
COMPONENTS: Final[Mapping[str, Schema]] = {
    "AppId": {
        "type": "string",
        "pattern": f"^{_UUID.format(h='[0-9a-fA-F]')}$",
        "description": "The app's id, a UUID.",
    },
    "Id": {
        "type": "string",
        "pattern": f"^{_UUID.format(h='[0-9a-fA-F]')}$",
        "description": "The id of a player, subscription, user or record: a UUID.",
    },
    "StoredId": {
        "type": "string",
        "pattern": f"^{_UUID.format(h='[0-9a-f]')}$",
        "description": "A UUID in lower case, as answers contain it.",
    },
    "Value": {
        "anyOf": [
            text(),
            {"type": "boolean"},
            integer(-INTEGER_MAX, INTEGER_MAX),
            {"type": "number", "minimum": -INTEGER_MAX, "maximum": INTEGER_MAX},
            {"type": "null"},
        ],
        "description": 'The value of a tag or property. null and "" remove it. '
        "Larger numbers must be written with a fraction or an exponent.",
    },
    "Tags": _named(
        ref("Value"),
        _NAME,
        description="The tags to change. Other tags stay as they are. "
        "Removed tags do not count against the limit.",
    ),
    "FreeProperties": _named(
        ref("Value"),
        {**_NAME, "pattern": rf"^(?!{_ALIAS_PREFIX})[^\u0000]*$"},
        description="The properties to change. Other properties stay as they are.",
    ),
    "Counters": {
        **closed(
            {
                name: integer(-most, most)
                for name in CLIENT_COUNTERS
                for most in [SPENT_MICROS_MAX if name == "spent_micros" else COUNTER_MAX]
            }
        ),
        "description": "The number to add to each counter. Money is in millionths of the app's currency.",
    },
    "Links": {
        **closed({label: {"anyOf": [ref("StoredId"), {"type": "null"}]} for label in LINK_LABELS}),
        "description": "The parent record by the label of the link; null unlinks.",
    },
    "Identity": _named(
        {"anyOf": [text(least=1), {"type": "null"}]},
        _NAME,
        properties={_USER_ID: {"anyOf": [ref("Id"), {"type": "null"}]}},
        maxProperties=ALIASES_MAX,
        description="The user's aliases by their labels. onesignal_id is not an alias but the user's id.",
    ),
    "NewAliases": _named(
        {"anyOf": [text(least=1), {"type": "null"}]},
        {**_NAME, "pattern": rf"^(?!{_USER_ID}$)[^\u0000]*$"},
        maxProperties=ALIASES_MAX - 1,
        description="The aliases to add, by their labels: at most "
        f"{ALIASES_MAX}, including the one in the path.",
    ),
    "OneAlias": _named(
        text(least=1),
        _NAME,
        properties={_USER_ID: ref("Id")},
        minProperties=1,
        maxProperties=1,
        description="One alias of a user, or its onesignal_id. A name that stands for a missing value, such "
        'as "null", is refused; an app can have its own list of these names.',
    ),
}
