"""The web SDK 16, replayed from fixtures that cite its source: tests/fixtures/web_16.

Every sequence, variant and order of it is answered as that SDK needs it, against views with fakes; the
life of a visitor is also played through a real web, Kafka, bridge and worker into a user.
"""

from typing import Any

import pytest

from tests.acceptance.devices import Device, Fixtures, http, to_server, to_views
from tests.acceptance.users import seen, until
from tests.fake_web import APP, Web
from tests.running import Running

FIXTURES = Fixtures("web_16")
PARTS = sorted(FIXTURES.parts())


@pytest.mark.parametrize(("path", "order"), PARTS)
def test_every_request_is_answered_as_the_sdk_needs(
    web: Web, path: str, order: tuple[str, ...]
) -> None:
    Device(FIXTURES, to_views(web), APP).play(path, order)


def test_the_answer_lists_subscriptions_in_the_order_of_the_request(web: Web) -> None:
    """That SDK tells them apart by their place."""
    (step,) = FIXTURES.part("first_start/email_and_sms")["steps"]
    given = FIXTURES.part("first_start/email_and_sms")["given"]
    email, sms = step["body"]["subscriptions"]
    for order in ((email, sms), (sms, email)):
        asked = [
            each | {"token": given[str(each["token"]).strip("{}")]} for each in map(dict, order)
        ]
        answer = web.call("POST", f"/apps/{APP}/users", step["body"] | {"subscriptions": asked})
        assert [each["type"] for each in answer.body["subscriptions"]] == [
            each["type"] for each in order
        ]


def test_a_page_of_another_origin_may_call(web: Web) -> None:
    """A browser asks first, and shows the page no answer that does not allow its origin."""
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "content-type,onesignal-subscription-id,sdk-version",
    }
    path = f"/apps/{APP}/users"
    allowed = web.call("OPTIONS", path, headers=asked)
    assert allowed.status in (200, 204)
    assert allowed.headers["Access-Control-Allow-Origin"] in ("*", asked["Origin"])
    assert "PATCH" in allowed.headers["Access-Control-Allow-Methods"]
    headers = allowed.headers["Access-Control-Allow-Headers"].lower()
    assert all(name in headers for name in asked["Access-Control-Request-Headers"].split(","))
    refused = web.call("POST", path, raw=b"{", headers={"Origin": asked["Origin"]})
    assert refused.headers["Access-Control-Allow-Origin"] in ("*", asked["Origin"])
    assert "retry-after" in refused.headers["Access-Control-Expose-Headers"].lower()


def test_the_fixtures_are_whole() -> None:
    for path in FIXTURES.paths():
        for step in FIXTURES.part(path)["steps"]:
            assert step["cite"], (path, step["name"])
            assert step["answer_must"]["cite"], (path, step["name"])
            assert (step["body"] is None) == (step["method"] in ("GET", "DELETE"))


#: One visitor's life in a browser.
LIFE = (
    "first_start",
    "session",
    "login",
    "set_email",
    "set_sms",
    "tags",
    "alias",
    "opt_out",
    "set_sms/removed",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_life_of_a_visitor_in_rows(stack: tuple[Running, str]) -> None:
    run, url = stack
    visitor = Device(FIXTURES, to_server(url), run.app.app_id, wait=run.wait)
    for path in LIFE:
        visitor.play_only(path)
    user = f"/apps/{run.app.app_id}/users/by/external_id/{visitor.known['EXTERNAL_ID']}"
    by_server = {"Authorization": f"Key {run.app.key}"}
    until(run, lambda: seen(http(url, "GET", user, headers=by_server)), expected(visitor))
    visitor.play_only("logout")
    anonymous = f"/apps/{run.app.app_id}/users/by/onesignal_id/{visitor.known['ANONYMOUS_ID']}"
    push = (visitor.known["SUBSCRIPTION_ID"], "ChromePush", visitor.known["PUSH_TOKEN"], True)
    alone = {
        "aliases": {},
        "tags": {"guest": "yes"},
        "language": "de",
        "amount_spent": None,
        "subscriptions": {push},
    }
    until(run, lambda: seen(http(url, "GET", anonymous)), alone)
    left = {each["id"] for each in http(url, "GET", user, headers=by_server)[1]["subscriptions"]}
    assert left == {visitor.known["EMAIL_ID"]}


def expected(visitor: Device) -> dict[str, Any]:
    """The user before logout: alias and number were removed again."""
    known = visitor.known
    return {
        "aliases": {"external_id": known["EXTERNAL_ID"]},
        "tags": {"plan": "gold", "visits": "3"},
        "language": "en",
        "amount_spent": None,
        "subscriptions": {
            (known["SUBSCRIPTION_ID"], "ChromePush", known["PUSH_TOKEN"], True),
            (known["EMAIL_ID"], "Email", known["EMAIL"], True),
        },
    }
