"""What SDKs send and nobody stores: success to SDKs, 404 to everybody else, and a count by route."""

import io
import json
from typing import Any

import pytest
from django.http import HttpRequest

from notify.telemetry import metrics
from notify.web import wiring
from notify.web.access.limits import RateBounds, RateLimits
from notify.web.http import bodies
from notify.web.http.bodies import DISCARDED_BYTES_MAX
from notify.web.wiring import Services
from tests.fake_web import APP, DISABLED_APP, PLAYER, STRICT_APP, Web
from tests.qa.fuzz.operations import Operation, operations

SDK = {"SDK-Version": "onesignal/ios/050601"}
NOT_STORED = [each for each in operations() if not each.is_stored]


def named(operation: Operation) -> str:
    """For pytest."""
    return operation.name


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def counted(route: str) -> float:
    """What the metric says of the route."""
    return float(metrics.WEB_UNSTORED.labels(route)._value.get())


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
@pytest.mark.parametrize("operation", NOT_STORED, ids=named)
def test_an_sdk_is_told_that_all_is_well(web: Web, operation: Operation, prefix: str) -> None:
    route = operation.name.rpartition("_")[0]
    before = counted(route)
    body = None if operation.schema is None else operation.json(APP)
    path = prefix + operation.path(APP)
    answer = web.call(operation.method, path, body, headers=SDK)
    assert answer.status == 200
    assert answer.body in ({"success": True}, {"in_app_messages": []}, {"features": []})
    assert counted(route) == before + 1
    assert web.sent() == []


@pytest.mark.parametrize("operation", NOT_STORED, ids=named)
def test_a_server_is_told_that_nothing_is_stored(web: Web, operation: Operation) -> None:
    route = operation.name.rpartition("_")[0]
    before = counted(route)
    body = None if operation.schema is None else operation.json(APP)
    answer = web.call(operation.method, operation.path(APP), body, key=web.secret)
    assert answer.status == 404
    assert "does not store" in answer.body["errors"][0]
    assert counted(route) == before


@pytest.mark.parametrize("operation", NOT_STORED, ids=named)
def test_it_is_of_an_app_that_may_be_asked(web: Web, operation: Operation) -> None:
    for app, status in ((DISABLED_APP, 403), (PLAYER, 403), (STRICT_APP, 401)):
        body = None if operation.schema is None else operation.json(app)
        answer = web.call(operation.method, operation.path(app), body, headers=SDK)
        assert answer.status == status, app


def test_postgres_and_kafka_are_not_asked(web: Web) -> None:
    web.reads.away, web.producer.fails = True, RuntimeError("not to be asked")
    for operation in NOT_STORED:
        body = None if operation.schema is None else operation.json(APP)
        answer = web.call(operation.method, operation.path(APP), body, headers=SDK)
        assert answer.status == 200, operation.name


def test_no_body_of_a_path_that_names_the_app_is_refused(web: Web) -> None:
    """An Android SDK repeats a 413 without end, at the head of its queue."""
    large = json.dumps({"events": ["x" * 2_000_000]}).encode()
    for raw in (large, b"{", b"", b"[]"):
        answer = web.call("POST", f"/apps/{APP}/custom_events", raw=raw, headers=SDK)
        assert answer.status == 200


class Endless(io.RawIOBase):
    """A body that does not end."""

    taken = 0

    def read(self, size: int = -1) -> bytes:
        """Read."""
        assert size > 0
        self.taken += size
        return b"x" * size


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"CONTENT_LENGTH": "5"}, 5),
        ({"CONTENT_LENGTH": "99999999999"}, DISCARDED_BYTES_MAX),
        ({"CONTENT_LENGTH": "x", "wsgi.input_terminated": True}, DISCARDED_BYTES_MAX),
        ({"wsgi.input_terminated": True}, DISCARDED_BYTES_MAX),
        ({"CONTENT_LENGTH": ""}, 0),
        ({"CONTENT_LENGTH": "-5"}, 0),
    ],
)
def test_a_body_is_read_up_to_a_bound(said: dict[str, Any], read: int) -> None:
    body = Endless()
    request = HttpRequest()
    request.META = {"wsgi.input": body, **said}
    bodies.discard(request)
    assert body.taken == read


def test_a_client_that_goes_away_is_no_error() -> None:
    class Gone:
        def read(self, size: int) -> bytes:
            raise OSError("gone")

    request = HttpRequest()
    request.META = {"wsgi.input": Gone(), "CONTENT_LENGTH": "5"}
    bodies.discard(request)


def test_it_counts_against_the_limit_of_the_app(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    of_one = RateLimits(RateBounds(1, 0, 0, 100), clock=lambda: 1.0)
    others = {name: getattr(web.services, name) for name in Services.__slots__}
    limited = Services(**others | {"limits": of_one})
    monkeypatch.setattr(wiring, "services", lambda: limited)
    path = f"/apps/{APP}/custom_events"
    android = {"SDK-Version": "onesignal/android/050909"}
    statuses = [web.call("POST", path, headers=android).status for _ in range(2)]
    assert statuses == [200, 429]


def test_a_name_with_a_slash_is_one_activity(web: Web) -> None:
    path = f"/apps/{APP}/live_activities/order%2F17/token"
    assert web.call("POST", path, headers=SDK).status == 200
    assert web.call("DELETE", f"{path}/{PLAYER}", headers=SDK).status == 200


def test_a_user_is_not_read_where_messages_are_asked_for(web: Web) -> None:
    """The user's name in the path may have slashes, so this path looks like a longer name."""
    path = f"/apps/{APP}/users/by/external_id/a/subscriptions/{PLAYER}/iams"
    assert web.call("GET", path, headers=SDK).body == {"in_app_messages": []}
