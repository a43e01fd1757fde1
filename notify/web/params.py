"""android_params.js: what an Android SDK asks for before anything else.

Without a JSON object from here it never registers, so it needs no key even where the app requires
one: there is nothing secret in it. `fcm` and the sender id are absent, as push tokens are made
elsewhere; `outcomes` must be an object with objects in it, or that SDK crashes the app.
"""

import hashlib
import json
from typing import Any, Final

from django.http import HttpResponse

from notify.web.answers import ok
from notify.web.auth import KeyNeeded
from notify.web.endpoint import Call

_OFF: Final = {"enabled": False}
PARAMS: Final[dict[str, Any]] = {
    "enterp": False,
    "require_email_auth": False,
    "require_user_id_auth": False,
    "jwt_required": False,
    "receive_receipts_enable": False,
    "clear_group_on_summary_click": True,
    "unsubscribe_on_notifications_disabled": True,
    "chnl_lst": [],
    "outcomes": {"v2_enabled": False, "direct": _OFF, "indirect": _OFF, "unattributed": _OFF},
}
ETAG: Final = f'"{hashlib.sha256(json.dumps(PARAMS).encode()).hexdigest()[:16]}"'


def show(call: Call, app_id: str) -> HttpResponse:
    """GET /apps/{app}/android_params.js: 200, or 304 to If-None-Match with the same ETag."""
    call.app(app_id, key=KeyNeeded.NEVER)
    if call.request.META.get("HTTP_IF_NONE_MATCH") == ETAG:
        answer = HttpResponse(status=304)
        del answer["Content-Type"]
    else:
        answer = ok(PARAMS)
    answer["ETag"] = ETAG
    return answer
