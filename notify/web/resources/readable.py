"""Converts stored fields of users and subscriptions to the types that clients expect.

Any scalar may be stored, because old SDKs, batches and untyped clients send whatever their callers give
them. Two server clients raise an error for the whole user if one field has another type than they expect
(docs/compatibility.md). So a field that cannot be converted is left out.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

#: The clients' smallest integers have 32 bits.
INTEGER_MAX: Final = 2**31 - 1

_TEXTS: Final = (
    "language", "timezone_id", "country", "ip", "token", "sdk", "device_model", "device_os",
    "carrier", "app_version", "web_auth", "web_p256",
)  # fmt: skip
_FLAGS: Final = ("enabled", "rooted")
_INTEGERS: Final = ("notification_types", "net_type", "test_type", "first_active", "last_active")
_NUMBERS: Final = ("lat", "long")


def readable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in their types. Those of no type here are as they were."""
    found = {key: _TYPES.get(key, _as_it_is)(value) for key, value in fields.items()}
    return {key: value for key, value in found.items() if value is not None}


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


_TYPES: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(_FLAGS, _flag),
    **dict.fromkeys(_INTEGERS, _integer),
    **dict.fromkeys(_NUMBERS, _number),
}
