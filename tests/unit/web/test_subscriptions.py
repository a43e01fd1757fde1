"""PATCH and DELETE of a subscription."""

from typing import Any

import pytest

from notify.domain.records.patch import REMOVE, SET
from notify.domain.records.update import TOKEN
from tests.fake_web import APP, PLAYER, Web

PATH = f"/apps/{APP}/subscriptions/{PLAYER}"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def patch(web: Web, fields: Any, **options: Any) -> tuple[int, dict[str, Any]]:
    """The answer to a PATCH of these fields."""
    answer = web.call("PATCH", PATH, {"subscription": fields}, **options)
    return answer.status, answer.body


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_a_subscription_changes(web: Web, prefix: str) -> None:
    fields = {
        "type": "AndroidPush",
        "token": "t",
        "enabled": False,
        "notification_types": -2,
        "carrier": "",
        "device_os": None,
        "app_version": "1.2",
        "session_count": 5,
        "id": PLAYER,
        "unheard_of": {},
    }
    answer = web.call("PATCH", prefix + PATH, {"subscription": fields}, key=web.secret)
    assert (answer.status, answer.body) == (200, {})
    assert answer.headers["Content-Type"] == "application/json"
    assert web.one().kind == "push"
    assert web.one().patch.ops == {
        "identifier": (SET, "t"),
        "properties.subscription_type": (SET, "AndroidPush"),
        "properties.enabled": (SET, False),
        "properties.notification_types": (SET, -2),
        "properties.carrier": (REMOVE, None),
        "properties.app_version": (SET, "1.2"),
    }


@pytest.mark.parametrize(
    ("type_", "kind"), [("Email", "email"), ("email", "email"), ("SMS", "sms"), ("iOSPush", "push")]
)
def test_types_are_kinds(web: Web, type_: str, kind: str) -> None:
    assert patch(web, {"type": type_})[0] == 200
    assert web.one().kind == kind


def test_a_token_without_type_is_a_push_token_but_for_servers(web: Web) -> None:
    """Of a record of another kind it changes nothing: test_visible.py."""
    for token in ("", "t"):
        assert patch(web, {"token": token})[0] == 200
        assert patch(web, {"token": token}, key=web.secret)[0] == 200
    removed, by_key, given, _ = web.sent()
    assert (removed.kind, removed.aliases) == ("push", {TOKEN: None})
    assert removed.patch.ops == {"identifier": (REMOVE, None)}
    assert (by_key.kind, by_key.aliases, by_key.patch) == (None, {}, removed.patch)
    assert (given.kind, given.aliases) == ("push", {TOKEN: "t"})
    assert given.patch.ops == {"identifier": (SET, "t")}


def test_a_subscription_without_type_and_token_keeps_its_kind(web: Web) -> None:
    assert patch(web, {"enabled": False})[0] == 200
    assert web.one().kind is None


@pytest.mark.parametrize("fields", [None, [], "x", {"type": "Fax"}, {"type": 5}])
def test_what_is_no_subscription(web: Web, fields: object) -> None:
    assert patch(web, fields)[0] == 400
    assert web.sent() == []


def test_a_subscription_is_deleted(web: Web) -> None:
    answer = web.call("DELETE", PATH, headers={"Idempotency-Key": "k"})
    assert (answer.status, answer.body) == (202, {})
    update = web.one()
    assert (update.op, update.record, update.message_id) == ("delete", PLAYER, "k")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_an_id_that_cannot_be_ours_is_missing(web: Web, method: str) -> None:
    answer = web.call(method, f"/apps/{APP}/subscriptions/local-1", {"subscription": {}})
    assert answer.status == 404
