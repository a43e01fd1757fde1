"""android_params.js and ios_params.js: the settings that the SDK of a device asks for at its start.

Without this JSON object the Android SDK never registers, and the iOS SDK holds back every create and login.
So it needs no key even if the app requires one; there is nothing secret in the answer.
`fcm` and the sender id are absent, as push tokens are made elsewhere; `outcomes` must be an object
with objects in it, or the Android SDK crashes the app.
"""

import hashlib
from typing import Final

from django.http import HttpResponse

from notify.web.access.auth import KeyNeeded
from notify.web.http.answer_bodies import Params
from notify.web.http.answers import encoded, ok
from notify.web.http.endpoint import Call

_OFF: Final = {"enabled": False}


def _params(*, verified: bool) -> Params:
    """Those of an app that verifies identities, or does not. Old SDKs have no tokens; they then ask for auth
    hashes."""
    return Params(
        require_email_auth=verified,
        require_user_id_auth=verified,
        jwt_required=verified,
        outcomes={"v2_enabled": False, "direct": _OFF, "indirect": _OFF, "unattributed": _OFF},
    )


_BY_REQUIRED: Final = {verified: _params(verified=verified) for verified in (False, True)}
_ETAGS: Final = {
    verified: f'"{hashlib.sha256(encoded(params)).hexdigest()[:16]}"'
    for verified, params in _BY_REQUIRED.items()
}


def show(call: Call, app_id: str) -> HttpResponse:
    """GET /apps/{app}/android_params.js or ios_params.js: 200, or 304 to If-None-Match with the same
    ETag."""
    app = call.app(app_id, key=KeyNeeded.NEVER)
    etag = _ETAGS[app.requires_identity]
    if call.request.META.get("HTTP_IF_NONE_MATCH") == etag:
        answer = HttpResponse(status=304)
        del answer["Content-Type"]
    else:
        answer = ok(_BY_REQUIRED[app.requires_identity])
    answer["ETag"] = etag
    return answer
