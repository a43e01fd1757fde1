"""Converts stored fields of users and subscriptions to the types that clients expect.

Any scalar may be stored, because old SDKs, batches and untyped clients send whatever their callers give
them. Two server clients raise an error for the whole user if one field has another type than they expect
(docs/compatibility.md). So a field that cannot be converted is left out.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

from msgspec import UNSET, Struct
from msgspec.structs import fields

from notify.web.http.answer_bodies import INTEGER_MAX, Flag, Integer, Number, Text

_Shown = TypeVar("_Shown", bound=Struct)


def readable(shown: type[_Shown], values: Mapping[str, Any]) -> _Shown:
    """The values in the types of the answer's fields. Fields of other types than those below take them as
    they are."""
    types = _types(shown)
    found = {key: _CONVERTERS.get(types[key], _as_it_is)(value) for key, value in values.items()}
    return shown(**{key: UNSET if value is None else value for key, value in found.items()})


@cache
def _types(shown: type[Struct]) -> Mapping[str, Any]:
    return {field.name: field.type for field in fields(shown)}


def _as_it_is(value: Any) -> Any:
    return value


def _text(value: Any) -> str | None:
    return None if isinstance(value, bool) else str(value)


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    if number is None or abs(number) > INTEGER_MAX or int(number) != number:
        return None
    return int(number)


def _number(value: Any) -> int | float | None:
    return value if type(value) in {int, float} else None


_CONVERTERS: Final[Mapping[Any, Callable[[Any], Any]]] = {
    Text: _text,
    Flag: _flag,
    Integer: _integer,
    Number: _number,
}
