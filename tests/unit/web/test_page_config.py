"""GET /sync/{app}/web: a script for pages, JSON for their workers."""

import json
import re
from typing import Any

import pytest

from notify.web import wiring
from notify.web.access.limits import RateBounds, RateLimits
from notify.web.resources.page_config import CALLBACK_CHARS_MAX
from notify.web.wiring import Services
from tests.acceptance.devices import Fixtures, filled
from tests.fake_web import APP, DISABLED_APP, STRICT_APP, Web

HEADERS = {"SDK-Version": "onesignal/web/160608", "Origin": "https://shop.example"}
PATH = "/sync/{}/web"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def script(web: Web, app: str, callback: str) -> Any:
    """The answer to a page: it sends no headers of its own with a script."""
    path = PATH.format(app)
    return web.client.generic("GET", path, secure=True, QUERY_STRING=f"callback={callback}")


def called_with(response: Any, callback: str) -> dict[str, Any]:
    """What the script hands to the function."""
    text = response.content.decode("ascii")
    found = re.fullmatch(rf"/\*\*/{re.escape(callback)}\((.*)\);", text)
    assert found is not None, text
    parsed = json.loads(found[1])
    assert isinstance(parsed, dict)
    return parsed


def at(config: Any, path: str) -> Any:
    """What is at a.b.c."""
    for part in path.split("."):
        config = config[part]
    return config


#: What the SDK reads without looking whether it is there: src/shared/config of its source.
READ_BLINDLY = (
    "config.siteInfo.name",
    "config.origin",
    "features.restrict_origin.enable",
    "config.staticPrompts.customlink.enabled",
    "config.staticPrompts.customlink.style",
    "config.staticPrompts.customlink.size",
    "config.staticPrompts.customlink.unsubscribeEnabled",
    "config.staticPrompts.customlink.text.subscribe",
    "config.staticPrompts.customlink.text.unsubscribe",
    "config.staticPrompts.customlink.text.explanation",
    "config.staticPrompts.customlink.color.button",
    "config.staticPrompts.customlink.color.text",
    "config.outcomes.direct.enabled",
    "config.outcomes.indirect.enabled",
    "config.outcomes.indirect.notification_attribution.minutes_since_displayed",
    "config.outcomes.indirect.notification_attribution.limit",
    "config.outcomes.unattributed.enabled",
)


def test_both_requests_of_the_sdk_are_answered(web: Web) -> None:
    """As its fixture has them."""
    page, worker = Fixtures("web_16").part("config")["steps"]
    path, _, query = filled(page["path"], {"APP_ID": APP}).partition("?")
    response = web.client.generic("GET", path, secure=True, QUERY_STRING=query)
    assert response.status_code in page["answer_must"]["status"]
    called_with(response, query.removeprefix("callback="))
    answer = web.call("GET", filled(worker["path"], {"APP_ID": APP}), headers=worker["headers"])
    assert answer.status in worker["answer_must"]["status"]


def test_a_worker_gets_json_that_it_may_read(web: Web) -> None:
    answer = web.call("GET", PATH.format(APP), headers=HEADERS)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.body["success"] is True
    assert answer.body["app_id"] == APP
    for path in READ_BLINDLY:
        at(answer.body, path)
    # What the page gives to init() counts, and it may be any page.
    assert at(answer.body, "config.integration.kind") == "custom"
    assert at(answer.body, "features.restrict_origin.enable") is False


def test_a_page_gets_a_script_that_calls_its_function(web: Web) -> None:
    response = script(web, APP, "__jp0")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/javascript; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    json_ = web.call("GET", PATH.format(APP), headers=HEADERS).body
    assert called_with(response, "__jp0") == json_


def test_no_key_is_needed(web: Web) -> None:
    """A page has none."""
    assert web.call("GET", PATH.format(STRICT_APP), headers=HEADERS).status == 200
    assert called_with(script(web, STRICT_APP, "f"), "f")["success"] is True


@pytest.mark.parametrize("app", [DISABLED_APP, "0b7c2f6e-1111-4c3b-9f7e-6a2d0c5b4e99", "<script>"])
def test_a_page_of_an_app_that_is_none_is_told_so(web: Web, app: str) -> None:
    """With status 200: a page that waits for a script sees no status, and waits for a minute."""
    response = script(web, app, "__jp0")
    assert response.status_code == 200
    said = called_with(response, "__jp0")
    assert said["success"] is False
    assert said["code"] == 1
    assert said["errors"]
    assert web.call("GET", PATH.format(app), headers=HEADERS).status == 403


def test_a_page_over_the_limit_of_its_app_is_not_told_that_the_app_is_none(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one = RateLimits(RateBounds(1, 0, 0, 100), clock=lambda: 1.0)
    others = {name: getattr(web.services, name) for name in Services.__slots__}
    limited = Services(**others | {"limits": of_one})
    monkeypatch.setattr(wiring, "services", lambda: limited)
    assert called_with(script(web, APP, "f"), "f")["success"] is True
    assert called_with(script(web, APP, "f"), "f").keys() == {"success", "errors"}


@pytest.mark.parametrize(
    "callback",
    [
        "",
        "alert(1)//",
        "a.b",
        "a[0]",
        "1a",
        "a%0A",
        "%3Cscript%3E",
        "\u00e4",
        "a b",
        "a" * (CALLBACK_CHARS_MAX + 1),
    ],
)
def test_a_callback_is_the_name_of_a_function(web: Web, callback: str) -> None:
    response = script(web, APP, callback)
    assert response.status_code == 400
    assert response["Content-Type"] == "application/json"
    assert "callback must be a JavaScript name" in response.content.decode()
    assert script(web, APP, "$" * CALLBACK_CHARS_MAX).status_code == 200
