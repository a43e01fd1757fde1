"""GET /sync/{app}/web: the settings that the web SDK asks for at its start.

A page asks for them as a script (JSONP), its service worker as JSON. Without an answer the SDK does not
start on that page. The answer is that for an app that is set up by code: the page passes all options to
`OneSignal.init`, and the answer has only what the SDK reads in addition. It has no keys for web push,
since push tokens are made elsewhere.
"""

import re
from typing import Any, Final

from django.http import HttpResponse

from notify.web.access.auth import KeyNeeded
from notify.web.http.answer_bodies import PageConfig
from notify.web.http.answers import Refused, encoded, ok
from notify.web.http.endpoint import Call

#: A callback is the name of one function: anything else could make the script say something.
CALLBACK_CHARS_MAX: Final = 64
_CALLBACK: Final = re.compile(rf"[A-Za-z_$][A-Za-z0-9_$]{{0,{CALLBACK_CHARS_MAX - 1}}}")
_SCRIPT: Final = "application/javascript; charset=utf-8"
_NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}
#: The SDK's words for an app that it cannot use. It says so in the browser's console and stops.
_CODE_OF_INVALID_APP: Final = 1
_OFF: Final = {"enabled": False}
_FEATURES: Final[dict[str, Any]] = {
    "restrict_origin": {"enable": False},
    "metrics": {"enable": False, "mixpanel_reporting_token": ""},
    "receive_receipts_enable": False,
    "web_on_focus_enabled": True,
    "session_threshold": 30,
}
_CONFIG: Final[dict[str, Any]] = {
    "origin": "",
    "autoResubscribe": True,
    "siteInfo": {
        "name": "",
        "origin": "",
        "defaultIconUrl": None,
        "proxyOriginEnabled": False,
    },
    "integration": {"kind": "custom"},
    "serviceWorker": {},
    "webhooks": {"enable": False},
    "welcomeNotification": {"enable": False},
    "notificationBehavior": {
        "click": {"match": "exact", "action": "navigate"},
        "display": {"persist": False},
    },
    "staticPrompts": {
        "customlink": {
            "enabled": False,
            "style": "button",
            "size": "medium",
            "unsubscribeEnabled": True,
            "text": {"explanation": "", "subscribe": "Subscribe", "unsubscribe": "Unsubscribe"},
            "color": {"button": "#0e6ea5", "text": "#ffffff"},
        }
    },
    "outcomes": {
        "direct": _OFF,
        "indirect": {
            "enabled": False,
            "notification_attribution": {"minutes_since_displayed": 60, "limit": 5},
        },
        "unattributed": _OFF,
    },
}


def show(call: Call, app_id: str) -> HttpResponse:
    """Answers with JSON, or with `?callback=` with a script that calls the function. A page cannot read the
    status of a script, so with a callback an error has status 200 and `success` false. Raises Refused."""
    callback = call.request.GET.get("callback")
    if callback is None:
        return ok(_config_of(call, app_id))
    if _CALLBACK.fullmatch(callback) is None:
        raise Refused(
            400,
            f"callback must be a JavaScript name of 1 to {CALLBACK_CHARS_MAX} ASCII letters, digits, "
            "_ and $",
        )
    try:
        answer: Any = _config_of(call, app_id)
    except Refused as refused:
        answer = {"success": False, "errors": list(refused.errors)}
        if refused.status == 403:
            answer["code"] = _CODE_OF_INVALID_APP
    # The comment prevents browsers from taking the start of the answer for another format.
    script = b"/**/%s(%s);" % (callback.encode(), encoded(answer))
    return HttpResponse(script, content_type=_SCRIPT, headers=_NOSNIFF)


def _config_of(call: Call, app_id: str) -> PageConfig:
    app = call.app(app_id, key=KeyNeeded.NEVER)
    return PageConfig(success=True, version=2, features=_FEATURES, config=_CONFIG, app_id=app.id)
