"""What apps in the field send, by the number of its report (F1 to F12): each was answered wrongly once.

The rules are in docs/sdks.md, "What we do with what apps really send".
"""

import pytest

from tests.fake_web import APP, STRICT_APP, Web

IOS = {"SDK-Version": "onesignal/ios/050400"}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


@pytest.mark.parametrize("app", [APP, STRICT_APP])
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_f1_ios_gets_its_parameters(web: Web, prefix: str, app: str) -> None:
    """Without them an iOS SDK holds every create and login."""
    ios, android = (
        web.call("GET", f"{prefix}/apps/{app}/{platform}_params.js?player_id=", headers=IOS)
        for platform in ("ios", "android")
    )
    assert ios.status == 200
    assert ios.body == android.body
    assert ios.body["jwt_required"] is False
    again = {"If-None-Match": ios.headers["ETag"]}
    assert web.call("GET", f"/apps/{app}/ios_params.js", headers=again).status == 304
