"""What the clients are told to send when their wire is recorded, and when it is compared anew."""

from dataclasses import dataclass
from typing import Any, Final

APP: Final = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11"
KEY: Final = "the-key-of-the-app"
SUB: Final = "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01"
#: What a path must escape, by one client or another, and characters that none does.
NAME: Final = "u 1/é+&@%"
MARKS: Final = "-._~!'()*"
TAGS: Final = {
    "text": "gold",
    "number": 3,
    "fraction": 4.5,
    "truth": True,
    "list": ["a", 1],
    "nested": {"deep": {"er": "x"}},
    "über": "naïve ☃ 😀",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One call. `operation` is of operations.py; `path` are the arguments before the body."""

    name: str
    operation: str
    path: tuple[str, ...]
    body: dict[str, Any] | None = None
    has_key: bool = True

    @property
    def key(self) -> str | None:
        """What the client is configured with."""
        return KEY if self.has_key else None


def _subscription(**fields: Any) -> dict[str, Any]:
    return {"subscription": fields}


_ME: Final = (APP, "external_id", "customer-4711")
STEPS: Final = (
    Step(
        "create_user",
        "create_user",
        (APP,),
        {
            "identity": {"external_id": "customer-4711", "crm": "A-17"},
            "properties": {
                "tags": {"plan": "gold", "visits": 3},
                "language": "de",
                "timezone_id": "Europe/Berlin",
                "country": "DE",
                "lat": 52.5,
                "long": 13.25,
                "first_active": 1_700_000_000,
                "last_active": 1_700_000_060,
            },
            "subscriptions": [
                {"type": "Email", "token": "anna@example.com", "enabled": True},
                {"type": "SMS", "token": "+15555550123"},
                {"id": SUB, "type": "AndroidPush", "token": "push-token-1", "rooted": False},
            ],
        },
    ),
    Step("get_user", "get_user", _ME),
    Step(
        "update_user",
        "update_user",
        _ME,
        {
            "properties": {"tags": {"plan": "silver"}, "language": "en"},
            "deltas": {
                "session_time": 75,
                "session_count": 1,
                "purchases": [{"sku": "coins", "amount": "4.99", "iso": "EUR", "count": 2}],
            },
            "refresh_device_metadata": True,
        },
    ),
    Step("create_alias", "create_alias", _ME, {"identity": {"shop": "S-1", "loyalty": "L-1"}}),
    Step("get_aliases", "get_aliases", _ME),
    Step("delete_alias", "delete_alias", (*_ME, "shop")),
    Step(
        "create_alias_by_subscription",
        "create_alias_by_subscription",
        (APP, SUB),
        {"identity": {"device_name": "pixel"}},
    ),
    Step("get_aliases_by_subscription", "get_aliases_by_subscription", (APP, SUB)),
    Step(
        "create_subscription",
        "create_subscription",
        _ME,
        _subscription(
            type="AndroidPush",
            token="push-token-2",
            enabled=True,
            notification_types=1,
            session_time=60,
            session_count=2,
            sdk="050909",
            device_model="Pixel 8",
            device_os="14",
            rooted=False,
            test_type=1,
            app_version="7",
            net_type=0,
            carrier="none",
            web_auth="auth",
            web_p256="p256",
        ),
    ),
    Step(
        "update_subscription",
        "update_subscription",
        (APP, SUB),
        _subscription(enabled=False, notification_types=-2, device_os="15"),
    ),
    Step(
        "update_subscription_by_token",
        "update_subscription_by_token",
        (APP, "Email", "a+b@x.co"),
        _subscription(type="Email", token="a+b@x.co", enabled=False),
    ),
    Step(
        "transfer_subscription",
        "transfer_subscription",
        (APP, SUB),
        {"identity": {"external_id": "customer-4712"}},
    ),
    Step("name_with_everything", "get_user", (APP, "external_id", NAME)),
    Step("name_with_marks", "get_user", (APP, "external_id", MARKS)),
    Step("name_given", "create_alias", (APP, "external_id", NAME), {"identity": {"名": NAME}}),
    Step("name_deleted", "delete_alias", (APP, "external_id", NAME, "名")),
    Step("name_is_dots", "get_user", (APP, "external_id", "..")),
    Step("name_is_empty", "get_user", (APP, "external_id", "")),
    Step(
        "token_with_slash",
        "update_subscription_by_token",
        (APP, "AndroidPush", "a/b:c d"),
        _subscription(enabled=True),
    ),
    Step("user_of_nothing", "create_user", (APP,), {}),
    Step("aliases_of_nothing", "create_alias", _ME, {}),
    Step("tags_of_every_type", "update_user", _ME, {"properties": {"tags": TAGS}}),
    Step("tag_removed_by_text", "update_user", _ME, {"properties": {"tags": {"plan": ""}}}),
    Step("tag_removed_by_null", "update_user", _ME, {"properties": {"tags": {"plan": None}}}),
    Step("small_number", "update_user", _ME, {"properties": {"lat": 1e-07, "long": 48.123456789}}),
    Step("whole_number", "update_user", _ME, {"properties": {"lat": 48, "long": 11}}),
    Step("null_of_a_field", "update_subscription", (APP, SUB), _subscription(token=None)),
    Step("null_of_an_object", "create_user", (APP,), {"identity": None, "subscriptions": []}),
    Step("type_in_lower_case", "update_subscription", (APP, SUB), _subscription(type="email")),
    Step("name_is_a_number", "create_alias", _ME, {"identity": {"crm": 17}}),
    Step(
        "unknown_field",
        "update_subscription",
        (APP, SUB),
        _subscription(enabled=True, idempotency_key="k"),
    ),
    Step(
        "transfer_with_two_aliases",
        "transfer_subscription",
        (APP, SUB),
        {"identity": {"external_id": "customer-4712", "crm": "A-18"}},
    ),
    Step("without_a_key", "get_user", _ME, has_key=False),
    Step("delete_subscription", "delete_subscription", (APP, SUB)),
    Step("delete_user", "delete_user", _ME),
)
