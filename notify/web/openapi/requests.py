"""The schemas of request bodies in /openapi.json, with exactly the fields that the views read.

Field names come from the parsers' own tables where there are any; a test compares the others with the
keys that the views read.
"""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from notify.domain.records import nobody
from notify.domain.records.update import (
    COUNTER_MAX,
    DELETE,
    DETACH,
    INTEGER_MAX,
    KEY_CHARS_MAX,
    KINDS,
    UPDATE,
    VALUE_CHARS_MAX,
)
from notify.web.openapi.schemas import (
    Schema,
    address,
    any_case,
    closed,
    integer,
    one_of,
    opened,
    or_null,
    ref,
    some_text,
    text,
)
from notify.web.resources import batch, device, purchases, subscriptions, users

_BLANK: Final[Schema] = {"type": "string", "maxLength": VALUE_CHARS_MAX, "pattern": r"^\s*$"}
_EMPTY: Final[Schema] = {"type": "string", "enum": [""]}
_OPTIONAL_ID: Final[Schema] = {"anyOf": [ref("Id"), {"type": "null"}, _EMPTY]}
#: Device types of email and SMS players, which need their address or number.
_ADDRESSED: Final = sorted(device.ADDRESSED)
_DEVICE: Final[Mapping[str, Schema]] = {
    **{key: ref("Value") for key in device.PROPERTY_KEYS},
    "device_type": or_null(
        integer(-INTEGER_MAX, INTEGER_MAX),
        "11 is an email player, 14 an SMS player, any other number a device.",
    ),
    "identifier": or_null(
        text(), "Push token, email address or phone number; null and empty remove it."
    ),
    "tags": or_null(ref("Tags")),
    "parent_player_id": {
        **_OPTIONAL_ID,
        "description": "The email player to link the device to; null and empty unlink it.",
    },
}
_APP: Final[Mapping[str, Schema]] = {"app_id": ref("AppId")}
_NEW: Final[Mapping[str, Schema]] = {
    **_APP,
    **_DEVICE,
    "device_player_id": {
        **_OPTIONAL_ID,
        "description": "The device to link to this new SMS player.",
    },
}

#: The purchases of players and users. No entry is ever refused, because the SDK would report all of them
#: again. An unreadable amount counts as nothing.
_PURCHASES: Final[Schema] = {
    "type": "array",
    "minItems": 1,
    "maxItems": purchases.PURCHASES_MAX,
    "items": {
        "type": "object",
        "properties": {
            "sku": {"description": "not stored"},
            "iso": {
                "description": "not stored: amounts are in the app's currency. It is used to read an "
                "amount, since some currencies have three decimals"
            },
            "amount": {
                "description": 'a decimal number as a string, "4.99", or a price as shops print it, '
                '"4,99 EUR"'
            },
        },
    },
}

_SUBSCRIPTION: Final[Mapping[str, Schema]] = {
    **{key: ref("Value") for key in subscriptions.PROPERTY_KEYS},
    "type": or_null(any_case(subscriptions.TYPES)),
    "token": or_null(text(), "Push token, email address or phone number. Empty removes it."),
}

#: A field of a batch's item by its name in the parser's tables.
_ITEM: Final[Mapping[str, Schema]] = {
    "record": ref("Id"),
    "kind": or_null(one_of(KINDS)),
    "identifier": or_null(text(), "Null and empty remove it."),
    "message_id": or_null(text(KEY_CHARS_MAX, least=1)),
    "tags": or_null(ref("Tags")),
    "properties": or_null(ref("FreeProperties")),
    "counters": ref("Counters"),
    "links": or_null(ref("Links")),
}
_BY_NAME: Final[Mapping[str, Schema]] = {"kind": one_of(KINDS), "identifier": some_text()}
#: Identifiers that stand for a missing value, such as "null": an update must not have one.
_MISSING: Final[Schema] = {"not": {"enum": sorted(nobody.NAMES)}}


def _items() -> list[Schema]:
    """The schemas of an item: an update, or a delete or detach, each named by id or by identifier."""
    found: list[Schema] = []
    for ops, keys in (
        ((UPDATE,), batch.SUBJECT | batch.CHANGES),
        ((DELETE, DETACH), batch.SUBJECT),
    ):
        fields = {key: _ITEM[key] for key in sorted(keys - {"op"})} | {"op": one_of(ops)}
        op = [] if UPDATE in ops else ["op"]
        identifier = _BY_NAME["identifier"]
        if UPDATE in ops:
            identifier = {**identifier, **_MISSING}
            fields["identifier"] = or_null({**text(), **_MISSING}, "Null and empty remove it.")
        without = {key: schema for key, schema in fields.items() if key != "record"}
        found += [
            closed(fields, required=[*op, "record"]),
            closed({**without, **_BY_NAME, "identifier": identifier}, required=[*op, *_BY_NAME]),
        ]
    return found


_SECONDS: Final = dict.fromkeys(
    ("first_active", "last_active"), or_null(integer(0, COUNTER_MAX), "Seconds since 1970.")
)
_USER_PROPERTIES: Final[Mapping[str, Schema]] = {
    **{key: _SECONDS.get(key, ref("Value")) for key in users.PROPERTY_KEYS},
    "tags": or_null(ref("Tags")),
}
_DELTAS: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(
        ("session_count", "session_time"),
        or_null(integer(0, COUNTER_MAX), "The number to add; times are in seconds."),
    ),
    "purchases": or_null(_PURCHASES),
    "amount_spent": {
        "description": "a decimal number, or one as a string; anything else counts as 0"
    },
}
_ADDRESSED_TYPES: Final = {"Email": "email", "SMS": "sms"}
_NEW_SUBSCRIPTION: Final[Schema] = {
    "anyOf": [
        opened(
            {
                **_SUBSCRIPTION,
                "type": any_case(types),
                "id": or_null(ref("Id")),
                "token": or_null({"anyOf": [address(kind), _BLANK]} if kind else text()),
            },
            required=["type"],
            title=f"an {kind} subscription" if kind else "a device",
        )
        for types, kind in (
            ([each for each in subscriptions.TYPES if each not in _ADDRESSED_TYPES], ""),
            *(([name], kind) for name, kind in _ADDRESSED_TYPES.items()),
        )
    ],
    "description": "`id` is the id of an existing subscription.",
}
_REFRESH: Final[Mapping[str, Schema]] = {"refresh_device_metadata": {"description": "not stored"}}


def bodies() -> dict[str, Schema]:
    """The component schemas of request bodies, with the limits of the settings."""
    return {
        "Player": opened({**_APP, **_DEVICE}, required=["app_id"]),
        "NewPlayer": {
            "anyOf": [
                opened(
                    {
                        **_NEW,
                        "device_type": {
                            "anyOf": [
                                {**_DEVICE["device_type"]["anyOf"][0], "not": {"enum": _ADDRESSED}},
                                {"type": "null"},
                            ],
                        },
                    },
                    required=["app_id"],
                    title="a device",
                ),
                *(
                    opened(
                        {
                            **_NEW,
                            "device_type": {"type": "integer", "enum": [device_type]},
                            "identifier": address(kind),
                        },
                        required=["app_id", "device_type", "identifier"],
                        title=f"an {kind} player",
                    )
                    for device_type, kind in device.ADDRESSED.items()
                ),
            ]
        },
        "Focus": {
            "anyOf": [
                opened(
                    {
                        **_APP,
                        "state": one_of(["ping"]),
                        "active_time": {
                            **integer(0, COUNTER_MAX),
                            "description": "Seconds in the foreground.",
                        },
                        "net_type": ref("Value"),
                    },
                    required=["app_id", "active_time"],
                ),
                opened(
                    {**_APP, "state": {"not": {"enum": ["ping"]}}},
                    required=["app_id", "state"],
                    title="another state, which is not stored",
                ),
            ]
        },
        "Purchases": opened(
            {
                **_APP,
                "purchases": _PURCHASES,
                "existing": {
                    "description": "true for purchases that were made before: they change no counter"
                },
            },
            required=["app_id", "purchases"],
        ),
        "EmailLogout": opened(_APP, required=["app_id"]),
        "Report": opened(_APP, required=["app_id"], description="No other field is read."),
        "Batch": closed(
            {
                "updates": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": settings.NOTIFY_BATCH_UPDATES,
                    "items": ref("BatchItem"),
                }
            },
            required=["updates"],
        ),
        "BatchItem": {
            "anyOf": _items(),
            "description": "An invalid item does not affect the others: see `results` in the answer.",
        },
        "SubscriptionChange": opened(
            {"subscription": opened(_SUBSCRIPTION)}, required=["subscription"]
        ),
        "NewUser": opened(
            {
                "identity": or_null(ref("Identity")),
                "properties": or_null(opened(_USER_PROPERTIES)),
                "subscriptions": or_null(
                    {
                        "type": "array",
                        "items": _NEW_SUBSCRIPTION,
                        "maxItems": users.SUBSCRIPTIONS_MAX,
                    }
                ),
                **_REFRESH,
            }
        ),
        "UserChange": opened(
            {
                "properties": or_null(opened(_USER_PROPERTIES)),
                "deltas": or_null(opened(_DELTAS)),
                **_REFRESH,
            }
        ),
        "UserTags": opened({"tags": or_null(ref("Tags"))}, required=["tags"]),
        "IdentityChange": opened({"identity": or_null(ref("NewAliases"))}),
        "Owner": opened({"identity": ref("OneAlias")}, required=["identity"]),
        "NewSubscription": opened({"subscription": _NEW_SUBSCRIPTION}, required=["subscription"]),
    }


APP: Final = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11"
PLAYER: Final = "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01"
PARENT: Final = "5b2d7c84-1d2e-4f3a-9b6c-7a8d9e0f1a2b"
_SHOP: Final = [{"sku": "pro", "iso": "EUR", "amount": "4.99"}]

#: One valid body of each kind.
EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "Player": {
        "app_id": APP,
        "device_type": 1,
        "identifier": "push-token",
        "language": "de",
        "notification_types": 1,
        "tags": {"level": "7", "old": ""},
        "parent_player_id": PARENT,
    },
    "NewPlayer": {
        "app_id": APP,
        "device_type": 14,
        "identifier": "+49 170 1234567",
        "device_player_id": PLAYER,
        "timezone": 3600,
        "tags": {"plan": "pro"},
    },
    "Focus": {"app_id": APP, "state": "ping", "active_time": 60, "net_type": 0},
    "Purchases": {"app_id": APP, "purchases": _SHOP},
    "EmailLogout": {"app_id": APP},
    "Report": {"app_id": APP, "player_id": PLAYER, "id": "bought", "weight": 4.99},
    "Batch": {
        "updates": [
            {
                "record": PLAYER,
                "tags": {"level": 8, "old": None},
                "properties": {"language": "de", "rooted": False, "lat": 52.5},
                "counters": {"session_count": 1, "spent_micros": 4_990_000},
                "links": {"email": PARENT, "user": None},
                "message_id": "order-17",
            },
            {"kind": "email", "identifier": "a@example.com"},
            {"op": "delete", "record": PLAYER},
            {"op": "detach", "kind": "sms", "identifier": "+49170123"},
        ]
    },
    "SubscriptionChange": {
        "subscription": {"type": "AndroidPush", "token": "t", "enabled": True, "app_version": "7"}
    },
    "NewUser": {
        "identity": {"external_id": "u1"},
        "properties": {"language": "de", "timezone_id": "Europe/Berlin", "tags": {"plan": "pro"}},
        "subscriptions": [{"type": "Email", "token": "a@example.com"}],
    },
    "UserChange": {
        "properties": {"tags": {"plan": "free", "old": None}, "country": "DE"},
        "deltas": {"session_count": 1, "session_time": 60, "purchases": _SHOP},
    },
    "UserTags": {"tags": {"plan": "free", "old": ""}},
    "IdentityChange": {"identity": {"external_id": "u1"}},
    "Owner": {"identity": {"external_id": "u2"}},
    "NewSubscription": {"subscription": {"type": "Email", "token": "a@example.com"}},
}
