"""Reads of what has more than an answer shows: bounded, and the answer says so."""

import pytest
from pytest_django import Settings

from tests.fake_web import APP, PLAYER, Web

BASE = f"/apps/{APP}"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """Requests to the views, and what they sent."""
    return Web.with_fakes(monkeypatch)


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    settings.NOTIFY_READ_SUBSCRIPTIONS = 2
    settings.NOTIFY_READ_TAGS = 3
    settings.NOTIFY_READ_ALIASES = 2


def make(web: Web, n: int) -> None:
    """A user with n subscriptions, tags and aliases."""
    identity = {"external_id": "ann"} | {f"a{label}": "x" for label in range(n - 1)}
    body = {
        "identity": identity,
        "properties": {"tags": {f"t{name}": "1" for name in reversed(range(n))}},
        "subscriptions": [{"type": "AndroidPush", "token": f"token {place}"} for place in range(n)],
    }
    assert web.call("POST", f"{BASE}/users", body).status == 202


def test_what_an_answer_has_room_for_is_shown_without_a_warning(web: Web) -> None:
    make(web, 2)
    shown = web.call("GET", f"{BASE}/users/by/external_id/ann", key=web.secret).body
    assert len(shown["subscriptions"]) == 2
    assert shown["properties"]["tags"] == {"t0": "1", "t1": "1"}
    assert sorted(shown["identity"]) == ["a0", "external_id", "onesignal_id"]
    assert "warnings" not in shown


def test_what_is_not_shown_of_a_user_is_said(web: Web) -> None:
    make(web, 5)
    shown = web.call("GET", f"{BASE}/users/by/external_id/ann", key=web.secret).body
    assert len(shown["subscriptions"]) == 2
    assert shown["properties"]["tags"] == {"t0": "1", "t1": "1", "t2": "1"}
    assert sorted(shown["identity"]) == ["a0", "external_id", "onesignal_id"]
    assert shown["warnings"] == [
        "identity: only 2 aliases are shown",
        "tags: only the first 3 by name are shown",
        "subscriptions: only the newest 2 are shown",
    ]


def test_what_is_not_shown_of_an_identity_is_said(web: Web) -> None:
    make(web, 5)
    (subscription, *_) = web.call("GET", f"{BASE}/users/by/external_id/ann", key=web.secret).body[
        "subscriptions"
    ]
    for path in (
        f"{BASE}/users/by/external_id/ann/identity",
        f"{BASE}/subscriptions/{subscription['id']}/user/identity",
    ):
        shown = web.call("GET", path, key=web.secret).body
        assert sorted(shown["identity"]) == ["a0", "external_id", "onesignal_id"]
        assert shown["warnings"] == ["identity: only 2 aliases are shown"]


@pytest.mark.parametrize("has_key", [False, True])
def test_what_is_not_shown_of_a_player_is_said(web: Web, *, has_key: bool) -> None:
    key = web.secret if has_key else ""
    path = f"/players/{PLAYER}?app_id={APP}"
    for n, warned in ((3, None), (4, ["tags: only the first 3 by name are shown"])):
        tags = {f"t{name}": "1" for name in range(n)}
        body = {"app_id": APP, "device_type": 1, "tags": tags}
        assert web.call("PUT", f"/players/{PLAYER}", body).status == 200
        shown = web.call("GET", path, key=key).body
        assert sorted(shown["tags"]) == ["t0", "t1", "t2"]
        assert shown.get("warnings") == warned
