"""Refusals as iOS SDKs need them. docs/sdks.md has what these SDKs do with each status."""

import uuid

import pytest

from notify.domain.records import ids
from notify.domain.records.update import USER
from notify.kafka.producer import KafkaUnavailable
from notify.telemetry import metrics
from notify.web import wiring
from notify.web.access.limits import RateBounds, RateLimits
from notify.web.resources.sdks import HELD_RETRY_AFTER_S
from notify.web.wiring import Services
from tests.fake_web import APP, DISABLED_APP, PLAYER, STRICT_APP, Web

IOS_5 = {"SDK-Version": "onesignal/ios/050601"}
IOS_3 = {"SDK-Version": "onesignal/ios/031207"}
ANDROID = {"SDK-Version": "onesignal/android/050909"}
SERVER: dict[str, str] = {}
USER_ID = str(uuid.UUID(int=7, version=4))
LOGIN = {"identity": {"external_id": "ann"}}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


@pytest.mark.parametrize(
    ("headers", "status"), [(IOS_5, 503), (IOS_3, 503), (ANDROID, 429), (SERVER, 429)]
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", f"/players/{PLAYER}", {"app_id": APP, "tags": {"a": "b"}}),
        ("PATCH", f"/apps/{APP}/users/by/onesignal_id/{USER_ID}", {}),
        ("POST", f"/apps/{APP}/users", {}),
    ],
)
def test_a_limit_is_a_503_to_ios(
    web: Web,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    status: int,
    method: str,
    path: str,
    body: dict[str, object],
) -> None:
    none_left = RateLimits(RateBounds(1, 0, 0, 100), clock=lambda: 1.0)
    others = {name: getattr(web.services, name) for name in Services.__slots__}
    limited = Services(**others | {"limits": none_left})
    monkeypatch.setattr(wiring, "services", lambda: limited)
    web.call(method, path, body, headers=headers)
    answer = web.call(method, path, body, headers=headers)
    assert answer.status == status
    assert answer.headers["Retry-After"] == "1"
    assert answer.body["limit"] == "app requests: 1 a second"


@pytest.mark.parametrize(
    ("headers", "app", "status"),
    [
        (IOS_5, DISABLED_APP, 503),
        (IOS_5, STRICT_APP, 503),
        (ANDROID, DISABLED_APP, 403),
        (ANDROID, STRICT_APP, 401),
        (SERVER, STRICT_APP, 401),
        (IOS_5 | {"Authorization": "Bearer a.b.c"}, DISABLED_APP, 403),
    ],
)
def test_a_login_that_is_not_allowed_now_is_kept_by_ios(
    web: Web, headers: dict[str, str], app: str, status: int
) -> None:
    path = f"/apps/{app}/users/by/onesignal_id/{USER_ID}/identity"
    answer = web.call("PATCH", path, LOGIN, headers=headers)
    assert answer.status == status
    assert answer.headers.get("Retry-After") == (str(HELD_RETRY_AFTER_S) if status == 503 else None)


@pytest.mark.parametrize(("headers", "status"), [(IOS_5, 503), (ANDROID, 404), (SERVER, 404)])
@pytest.mark.parametrize("user", [USER_ID, ids.alias_id(APP, USER, "external_id", "ann")])
def test_ios_asks_again_for_a_user_of_which_nothing_was_applied(
    web: Web, headers: dict[str, str], status: int, user: str
) -> None:
    answer = web.call("GET", f"/apps/{APP}/users/by/onesignal_id/{user}", headers=headers)
    assert answer.status == status
    assert ("Retry-After" in answer.headers) == (status == 503)


def test_what_is_held_is_counted_apart_from_failures(web: Web) -> None:
    """Else an alert says that web fails."""

    def held(headers: dict[str, str]) -> float:
        before = float(metrics.WEB_HELD._value.get())
        web.call("GET", f"/apps/{APP}/users/by/onesignal_id/{USER_ID}", headers=headers)
        return float(metrics.WEB_HELD._value.get()) - before

    assert held(IOS_5) == 1
    assert held(ANDROID) == 0
    web.reads.away = True
    assert held(IOS_5) == 0
    web.producer.fails = KafkaUnavailable("Kafka does not answer")
    before = float(metrics.WEB_HELD._value.get())
    path = f"/apps/{APP}/users/by/onesignal_id/{USER_ID}"
    assert web.call("PATCH", path, {}, headers=IOS_5).status == 503
    assert float(metrics.WEB_HELD._value.get()) == before


def test_ios_is_logged_out_of_a_user_whose_id_does_not_work_any_more(web: Web) -> None:
    """It has the id from an earlier release. A 503 would hold back everything for ever."""
    old = ids.record_id(APP, "email", "a@example.org")
    answer = web.call("GET", f"/apps/{APP}/users/by/onesignal_id/{old}", headers=IOS_5)
    assert answer.status == 404


def test_a_session_makes_the_user_that_ios_asks_for(web: Web) -> None:
    """So the 503 before it ends: the SDK sends a session at each start, beside the read."""
    path = f"/apps/{APP}/users/by/onesignal_id/{USER_ID}"
    assert web.call("GET", path, headers=IOS_5).status == 503
    assert web.call("PATCH", path, {"deltas": {"session_count": 1}}, headers=IOS_5).status == 202
    answer = web.call("GET", path, headers=IOS_5)
    assert answer.status == 200
    assert answer.body["identity"]["onesignal_id"] == USER_ID
