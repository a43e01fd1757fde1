"""The iOS SDK 5.6.1, replayed from fixtures that cite its source: tests/fixtures/ios_5_6_1.

Every sequence, variant and order of it is answered as that SDK needs it, against views with fakes; the
life of a device is also played through a real web, Kafka, bridge and worker into a user.
"""

from typing import Any

import pytest

from tests.acceptance.devices import Device, Fixtures, http, to_server, to_views
from tests.acceptance.test_android_5_9_9 import Yes
from tests.acceptance.users import seen, until
from tests.fake_web import APP, Web
from tests.running import Running

FIXTURES = Fixtures("ios_5_6_1")
PARTS = sorted(FIXTURES.parts())


@pytest.mark.parametrize(("path", "order"), PARTS)
def test_every_request_is_answered_as_the_sdk_needs(
    web: Web, path: str, order: tuple[str, ...]
) -> None:
    Device(FIXTURES, to_views(web), APP).play(path, order)


def test_the_fixtures_are_whole() -> None:
    for path in FIXTURES.paths():
        for step in FIXTURES.part(path)["steps"]:
            assert step["cite"], (path, step["name"])
            assert step["answer_must"]["cite"], (path, step["name"])
            assert (step["body"] is None) == (step["method"] in ("GET", "DELETE"))
            assert step["headers"]["SDK-Version"].startswith("onesignal/ios/")


def test_a_device_sends_nothing_before_it_knows_its_ids() -> None:
    """Played against a server that says yes to everything, no placeholder is left unfilled."""
    for path, order in PARTS:
        Device(FIXTURES, Yes("iOSPush").send, APP).play(path, order)


def test_a_token_is_in_the_answer_as_it_was_sent(web: Web) -> None:
    """That SDK tells its push subscription by the token: absent and empty are the same to it."""
    for variant, token in (("first_start", None), ("first_start/with_token", "{PUSH_TOKEN}")):
        (step,) = (s for s in FIXTURES.part(variant)["steps"] if s["name"] == "create_user")
        answer = web.call("POST", f"/apps/{APP}/users", step["body"])
        (shown,) = answer.body["subscriptions"]
        assert shown["type"] == "iOSPush"
        assert shown.get("token") == token


#: One device's life.
LIFE = (
    "first_start",
    "session",
    "login",
    "set_email",
    "set_sms",
    "tags",
    "purchase",
    "opt_out",
    "alias",
    "set_sms/removed",
    "token_refresh",
    "custom_event",
    "live_activity",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_life_of_a_device_in_rows(stack: tuple[Running, str]) -> None:
    run, url = stack
    device = Device(FIXTURES, to_server(url), run.app.app_id, wait=run.wait)
    for path in LIFE:
        device.play_only(path)
    user = f"/apps/{run.app.app_id}/users/by/external_id/{device.known['EXTERNAL_ID']}"
    by_server = {"Authorization": f"Key {run.app.key}"}
    until(run, lambda: seen(http(url, "GET", user, headers=by_server)), expected(device))
    counters = (
        "SELECT session_count, session_time_s, purchase_count FROM record WHERE kind = 'user'"
    )
    assert (2, 75, 1) in run.rows(counters)
    device.play_only("logout")
    anonymous = f"/apps/{run.app.app_id}/users/by/onesignal_id/{device.known['ANONYMOUS_ID']}"
    push = (device.known["SUBSCRIPTION_ID"], "iOSPush", device.known["PUSH_TOKEN"], True)
    alone = {
        "aliases": {},
        "tags": {"guest": "yes"},
        "language": "de",
        "amount_spent": None,
        "subscriptions": {push},
    }
    until(run, lambda: seen(http(url, "GET", anonymous)), alone)
    left = {each["id"] for each in http(url, "GET", user, headers=by_server)[1]["subscriptions"]}
    assert left == {device.known["EMAIL_ID"]}


def expected(device: Device) -> dict[str, Any]:
    """The user before logout: alias and number were removed again, the token is the newer one."""
    known = device.known
    return {
        "aliases": {"external_id": known["EXTERNAL_ID"]},
        "tags": {"plan": "gold", "visits": "3"},
        "language": "en",
        "amount_spent": 4.99,
        "subscriptions": {
            (known["SUBSCRIPTION_ID"], "iOSPush", known["NEW_TOKEN"], True),
            (known["EMAIL_ID"], "Email", known["EMAIL"], True),
        },
    }
