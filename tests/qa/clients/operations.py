"""The operations of the user model that server clients have, and which answers to each they accept."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

#: In the clients' spelling: two of them refuse an answer with any other.
TYPES: Final = frozenset((
    "iOSPush", "AndroidPush", "FireOSPush", "ChromeExtensionPush", "ChromePush", "WindowsPush",
    "SafariLegacyPush", "FirefoxPush", "macOSPush", "HuaweiPush", "SafariPush", "Email", "SMS",
))  # fmt: skip
#: Rust's integers.
INT_MAX: Final = 2**31 - 1
_STRING, _BOOL, _INT, _NUMBER = "a string", "a boolean", "an integer of 32 bits", "a number"
_PURCHASE: Final = {"sku": _STRING, "amount": _STRING, "iso": _STRING, "count": _INT}
_PROPERTIES: Final = {
    **dict.fromkeys(("language", "timezone_id", "country", "ip"), _STRING),
    **dict.fromkeys(("lat", "long", "amount_spent"), _NUMBER),
    **dict.fromkeys(("first_active", "last_active"), _INT),
}
_SUBSCRIPTION: Final = {
    **dict.fromkeys(
        ("id", "type", "token", "sdk", "device_model", "device_os", "app_version", "carrier"),
        _STRING,
    ),
    **dict.fromkeys(("web_auth", "web_p256"), _STRING),
    **dict.fromkeys(("enabled", "rooted"), _BOOL),
    **dict.fromkeys(
        ("notification_types", "session_time", "session_count", "test_type", "net_type"), _INT
    ),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One of the clients' methods.

    `statuses` are the successes that all three take for one; `answer` names the fields that are read
    from the answer. An operation without any has an answer that no client looks into.
    """

    method: str
    path: str
    statuses: tuple[int, ...]
    answer: tuple[str, ...] = ()


_BY_ALIAS: Final = "/apps/{app}/users/by/{label}/{name}"
_SUBSCRIPTION_PATH: Final = "/apps/{app}/subscriptions/{id}"
OPERATIONS: Final[Mapping[str, Operation]] = {
    "create_user": Operation(
        "POST", "/apps/{app}/users", (200, 201, 202), ("identity", "properties", "subscriptions")
    ),
    "get_user": Operation("GET", _BY_ALIAS, (200,), ("identity", "properties", "subscriptions")),
    "update_user": Operation("PATCH", _BY_ALIAS, (200, 201, 202), ("properties",)),
    "delete_user": Operation("DELETE", _BY_ALIAS, (200,)),
    "create_alias": Operation("PATCH", f"{_BY_ALIAS}/identity", (200, 201, 202), ("identity",)),
    "get_aliases": Operation("GET", f"{_BY_ALIAS}/identity", (200,), ("identity",)),
    "delete_alias": Operation(
        "DELETE", f"{_BY_ALIAS}/identity/{{label_to_delete}}", (200, 201, 202), ("identity",)
    ),
    "create_alias_by_subscription": Operation(
        "PATCH", f"{_SUBSCRIPTION_PATH}/user/identity", (200, 201, 202), ("identity",)
    ),
    "get_aliases_by_subscription": Operation(
        "GET", f"{_SUBSCRIPTION_PATH}/user/identity", (200,), ("identity",)
    ),
    "create_subscription": Operation(
        "POST", f"{_BY_ALIAS}/subscriptions", (200, 201, 202), ("subscription",)
    ),
    "update_subscription": Operation("PATCH", _SUBSCRIPTION_PATH, (200,)),
    "delete_subscription": Operation("DELETE", _SUBSCRIPTION_PATH, (202,)),
    "transfer_subscription": Operation(
        "PATCH", f"{_SUBSCRIPTION_PATH}/owner", (200, 201, 202), ("identity",)
    ),
    "update_subscription_by_token": Operation(
        "PATCH", "/apps/{app}/subscriptions_by_token/{type}/{token}", (200, 201, 202)
    ),
}


def operation_of(method: str, path: str) -> str | None:
    """Which operation a request is; `path` is as it was sent, percent-encoded."""
    for name, operation in OPERATIONS.items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", operation.path)
        if method == operation.method and re.fullmatch(pattern, path):
            return name
    return None


def faults(operation: str, status: int, content_type: str, answer: object) -> list[str]:
    """Why one client or another would not take this answer for a success; empty where all would."""
    known = OPERATIONS[operation]
    found = []
    if status not in known.statuses:
        found.append(f"status {status} is none of {known.statuses}")
    if content_type.partition(";")[0] != "application/json":
        found.append(f"Content-Type {content_type!r} is not application/json")
    if not isinstance(answer, dict):
        return [*found, "the body is not a JSON object"]
    for field in known.answer:
        if field in answer:
            found += _CHECKS[field](answer[field])
    return found


def _identity(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return ["identity is not an object"]
    return [
        f"identity.{label} is not a string"
        for label, name in value.items()
        if not isinstance(name, str)
    ]


def _properties(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return ["properties is not an object"]
    found = _fields(value, _PROPERTIES, "properties")
    if not isinstance(value.get("tags", {}), dict):
        found.append("properties.tags is not an object")
    purchases = value.get("purchases", [])
    if not isinstance(purchases, list):
        return [*found, "properties.purchases is not an array"]
    for purchase in purchases:
        found += _fields(purchase, _PURCHASE, "purchase")
        found += [
            f"purchase.{key} is missing" for key in ("sku", "amount", "iso") if key not in purchase
        ]
    return found


def _subscription(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return ["subscription is not an object"]
    found = _fields(value, _SUBSCRIPTION, "subscription")
    if value.get("type", "Email") not in TYPES:
        found.append(f"subscription.type {value['type']!r} is none of the clients' types")
    return found


def _subscriptions(value: Any) -> list[str]:
    if not isinstance(value, list):
        return ["subscriptions is not an array"]
    return [fault for each in value for fault in _subscription(each)]


def _fields(value: Mapping[str, Any], types: Mapping[str, str], where: str) -> list[str]:
    return [
        f"{where}.{key} is not {type_}"
        for key, type_ in types.items()
        if key in value and not _IS[type_](value[key])
    ]


_CHECKS: Final = {
    "identity": _identity,
    "properties": _properties,
    "subscription": _subscription,
    "subscriptions": _subscriptions,
}
_IS: Final = {
    _STRING: lambda value: isinstance(value, str),
    _BOOL: lambda value: isinstance(value, bool),
    _INT: lambda value: type(value) is int and abs(value) <= INT_MAX,
    _NUMBER: lambda value: type(value) in {int, float},
}
