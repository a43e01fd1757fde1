"""The Android SDK 5.9.9, replayed from fixtures that cite its source: tests/fixtures/android_5_9_9.

Every sequence, variant and order of it is answered as that SDK needs it, against views with fakes;
the life of two devices of one user is also played through a real web, Kafka, bridge and worker.
"""

import uuid
from typing import Any

import pytest
from django.conf import settings

from notify.security.keys import make_key
from notify.web import wiring
from notify.web.access.apps_cache import KnownApp
from tests.acceptance.devices import Device, Fixtures, http, to_server, to_views
from tests.acceptance.users import seen, until
from tests.fake_producer import fake_services
from tests.fake_web import APP, Web
from tests.identity_tokens import pair, public_pem, token
from tests.running import Running

FIXTURES = Fixtures("android_5_9_9")
PARTS = sorted(FIXTURES.parts())
VERIFIED = "identity_verification"


def web_of(monkeypatch: pytest.MonkeyPatch, *, verified: bool) -> Web:
    """The API with fakes behind it, and one app, which verifies identities or does not."""
    secret, _, digest = make_key()
    keys = (public_pem(pair()),) if verified else ()
    app = KnownApp(APP, digests=(digest,), requires_identity=verified, identity_keys=keys)
    services, producer, reads = fake_services(app)
    monkeypatch.setattr(wiring, "services", lambda: services)
    monkeypatch.setattr(settings, "MIDDLEWARE", ["notify.web.http.edge.ApiFirst"])
    return Web(services, secret, producer, reads)


def token_for(given: dict[str, str]) -> str:
    """What the app's server signs for the user and the addresses in the fixture."""
    subscriptions = [{"type": "Email", "token": given["EMAIL"]}]
    return token(APP, identity={"external_id": given["EXTERNAL_ID"]}, subscriptions=subscriptions)


@pytest.mark.parametrize(("path", "order"), PARTS)
def test_every_request_is_answered_as_the_sdk_needs(
    monkeypatch: pytest.MonkeyPatch, path: str, order: tuple[str, ...]
) -> None:
    part = FIXTURES.part(path)
    verified = part.get("needs") == VERIFIED
    own = {"JWT": token_for(part["given"])} if verified else {}
    web = web_of(monkeypatch, verified=verified)
    Device(FIXTURES, to_views(web), APP, own=own).play(path, order)


def test_the_fixtures_are_whole() -> None:
    for path in FIXTURES.paths():
        for step in FIXTURES.part(path)["steps"]:
            assert step["cite"], (path, step["name"])
            assert step["answer_must"]["cite"], (path, step["name"])
            assert 201 not in step["answer_must"]["status"]
            assert (step["body"] is None) == (step["method"] in ("GET", "DELETE"))


def test_a_device_sends_nothing_before_it_knows_its_ids() -> None:
    """Played against a server that says yes to everything, no placeholder is left unfilled."""
    for path, order in PARTS:
        Device(FIXTURES, Yes().send, APP, own={"JWT": "x.y.z"}).play(path, order)


class Yes:
    """A server that grants everything, with new ids. Of users it remembers what was asked."""

    def __init__(self, push: str = "AndroidPush") -> None:
        """`push` is the type of a subscription that does not say its own."""
        self._push = push
        self._identities: dict[str, dict[str, str]] = {}

    def send(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """Send."""
        who = path.split("/")[6] if "/users/by/" in path else str(uuid.uuid4())
        identity = self._identities.setdefault(who, {"onesignal_id": who})
        if "/users/by/external_id/" in path:
            identity["external_id"] = who.replace("%20", " ")
        if body is not None:
            identity |= body.get("identity", {})
        subscriptions = [self._shown(each) for each in (body or {}).get("subscriptions", ())]
        one = self._shown((body or {}).get("subscription", {}))
        return 200, {
            "id": str(uuid.uuid4()),
            "identity": identity,
            "subscriptions": subscriptions,
            "subscription": one,
            "in_app_messages": [],
        }

    def _shown(self, subscription: dict[str, Any]) -> dict[str, Any]:
        return {"id": str(uuid.uuid4()), "type": self._push} | subscription


#: The life of a user's first device. The second one logs in to the same external id later.
LIFE = (
    "first_start",
    "login",
    "set_email",
    "set_sms",
    "tags",
    "session",
    "purchase",
    "opt_out",
    "alias",
    "set_email/removed",
)
SECOND = {
    "INSTALL_ID": "6b0a3f0e-2c54-4b38-9a36-3d0c1f1f7b22",
    "LOCAL_SUBSCRIPTION_ID": "local-0d8c5d1c-5c7e-4a51-8a51-0b9d4c3b2a11",
    "PUSH_TOKEN": "eR5tYu-2bW8Zl4oPqStUvX:APA91bF-second-device-8y1r1wC1lr7dKs6iZx3n9eaQmy2uVf5tOgLhD",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_life_of_two_devices_of_one_user_in_rows(stack: tuple[Running, str]) -> None:
    run, url = stack
    first = Device(FIXTURES, to_server(url), run.app.app_id, wait=run.wait)
    for path in LIFE:
        first.play_only(path)
    second = Device(FIXTURES, to_server(url), run.app.app_id, wait=run.wait, own=SECOND)
    for path in ("first_start", "login", "tags/set_and_removed_together"):
        second.play_only(path)
    user = f"/apps/{run.app.app_id}/users/by/external_id/{first.known['EXTERNAL_ID']}"
    by_server = {"Authorization": f"Key {run.app.key}"}
    until(run, lambda: seen(http(url, "GET", user, headers=by_server)), expected(first, second))
    # The second device's own id names the user that it logged in to.
    handle = f"/apps/{run.app.app_id}/users/by/onesignal_id/{second.known['ONESIGNAL_ID']}"
    shown = [http(url, "GET", path, headers=by_server)[1]["identity"] for path in (handle, user)]
    assert shown[0] == shown[1]
    # And after logout its push subscription is a new, anonymous user's.
    second.play_only("logout")
    anonymous = f"/apps/{run.app.app_id}/users/by/onesignal_id/{second.known['ANONYMOUS_ID']}"

    def moved() -> bool:
        status, found = http(url, "GET", anonymous)
        ids = {each["id"] for each in found.get("subscriptions", ())}
        tags = found.get("properties", {}).get("tags")
        return (
            status == 200 and ids == {second.known["SUBSCRIPTION_ID"]} and tags == {"guest": "yes"}
        )

    run.wait("the second device is anonymous", moved)
    left = {each["id"] for each in http(url, "GET", user, headers=by_server)[1]["subscriptions"]}
    assert left == {first.known["SUBSCRIPTION_ID"], first.known["SMS_ID"]}


def expected(first: Device, second: Device) -> dict[str, Any]:
    """The user at the end: the first device's email and alias were removed again."""
    return {
        "aliases": {"external_id": first.known["EXTERNAL_ID"]},
        "tags": {"plan": "gold", "visits": "3"},
        "language": "en",
        "amount_spent": 4.99,
        "subscriptions": {
            (each.known["SUBSCRIPTION_ID"], "AndroidPush", each.known["PUSH_TOKEN"], True)
            for each in (first, second)
        }
        | {(first.known["SMS_ID"], "SMS", first.known["SMS_NUMBER"], True)},
    }
