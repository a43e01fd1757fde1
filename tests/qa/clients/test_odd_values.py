"""A value of a type that no client expects breaks no client's reads."""

from typing import Any, Final

import pytest
from msgspec import to_builtins

from notify.web.http.answer_bodies import INTEGER_MAX, Subscription, UserProperties
from notify.web.resources.readable import readable
from tests.fake_web import APP, Answer, Web
from tests.qa.clients.operations import faults

JSON: Final = "application/json"
USER: Final = f"/apps/{APP}/users/by/external_id/anna"
#: What Node sends as its caller gives it; the other two could not send it, nor read it.
ODD_PROPERTIES: Final[dict[str, Any]] = {
    **dict.fromkeys(("language", "timezone_id", "country", "ip"), 5),
    **dict.fromkeys(("lat", "long"), "52.5"),
    **dict.fromkeys(("first_active", "last_active"), 1_700_000_000_000),
}
ODD_FIELDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("token", "sdk", "device_model", "device_os", "app_version", "carrier"), 14),
    **dict.fromkeys(("web_auth", "web_p256"), True),
    **dict.fromkeys(("enabled", "rooted"), "yes"),
    **dict.fromkeys(("notification_types", "test_type", "net_type"), 1.5),
}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def check(web: Web, operation: str, written: Answer) -> None:
    """It was refused, or both its answer and the user that is read then are good for all clients."""
    assert written.status == 400 or not faults(operation, written.status, JSON, written.body)
    read = web.call("GET", USER, key=web.secret)
    assert read.status == (404 if written.status == 400 else 200)
    assert read.status == 404 or not faults("get_user", read.status, JSON, read.body)


@pytest.mark.parametrize("key", ODD_PROPERTIES)
def test_a_property_is_refused_or_read_by_every_client(web: Web, key: str) -> None:
    body = {"properties": {key: ODD_PROPERTIES[key]}}
    check(web, "update_user", web.call("PATCH", USER, body, key=web.secret))


@pytest.mark.parametrize("key", ODD_FIELDS)
def test_a_field_is_refused_or_read_by_every_client(web: Web, key: str) -> None:
    body = {"subscription": {"type": "AndroidPush", "token": "t"} | {key: ODD_FIELDS[key]}}
    written = web.call("POST", f"{USER}/subscriptions", body, key=web.secret)
    check(web, "create_subscription", written)


@pytest.mark.parametrize("value", ["x", "", 1, 1.0, 1.5, -1, 2**31, -(2**31), True, False, 1e300])
def test_any_scalar_is_shown_in_the_types_of_the_clients(value: Any) -> None:
    properties = readable(UserProperties, dict.fromkeys(ODD_PROPERTIES, value))
    subscription = readable(
        Subscription, {"id": "x", "type": "Email"} | dict.fromkeys(ODD_FIELDS, value)
    )
    user = to_builtins({"properties": properties, "subscriptions": [subscription]})
    assert faults("get_user", 200, JSON, user) == []


def test_what_has_its_type_is_shown_as_it_is() -> None:
    properties = {"language": "de", "lat": 52, "long": 13.5, "tags": {"a": 1}}
    properties |= {"last_active": INTEGER_MAX}
    assert to_builtins(readable(UserProperties, properties)) == properties
    fields = {"id": "x", "type": "Email", "enabled": False, "notification_types": -2}
    assert to_builtins(readable(Subscription, fields)) == fields
    odd = readable(Subscription, fields | {"device_os": 14, "net_type": 1.0})
    assert to_builtins(odd) == fields | {"device_os": "14", "net_type": 1}
