"""Changes the status of refusals for SDKs of the user model: some statuses make an SDK repeat a request for
ever, or lose the device. docs/sdks.md says what each SDK does with each status. Other clients get the status
unchanged.
"""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from notify.web.http.answers import Refused

#: Retry-After for a device that cannot be served now and would lose its user by any other status.
HELD_RETRY_AFTER_S: Final = 600
_UNAUTHORISED: Final = (401, 403)
_USER_MODEL: Final = ("users", "user", "user_", "subscription")


class NothingApplied(Refused):
    """No update of the user has been applied. It may not exist, or its updates may still wait."""


def for_sdk(refused: Refused, route: str, method: str, meta: Mapping[str, Any]) -> Refused:
    """The refusal with the status that suits this caller.

    * 413 is repeated for ever: SDKs get 400.
    * 401 and 403 to the request that makes an anonymous user lose an Android device for good: 404,
      which is kept until the next start. With identity verification they mean a new token, and stay.
    * Anything that is not repeated loses a device that asks for the user it had in version 4.x: 503.
    * An iOS SDK repeats a 503 and nothing else: after a 429 it holds back the user until the next
      start (5.x), or drops the change (3.x). And after a 401 or 403 to a login the device never gets a
      user again.
    * An iOS SDK reads its user 3 s after it made it, and a 404 logs the person out of the app. It also
      sends a session for the user at each start, which makes the user. So it is told to ask again.
    """
    if is_ios(meta) and refused.status == 429:
        return _with_status(refused, 503, refused.headers)
    if is_ios(meta) and isinstance(refused, NothingApplied):
        return _with_status(refused, 503, {"Retry-After": str(settings.NOTIFY_RETRY_AFTER_S)})
    if not is_sdk(meta) or not route.startswith(_USER_MODEL):
        return refused
    if refused.status == 413:
        return _with_status(refused, 400)
    if refused.status not in _UNAUTHORISED or _has_token(meta):
        return refused
    if route == "users" and is_android(meta):
        return _with_status(refused, 404)
    is_login = is_ios(meta) and (route, method) == ("user_identity", "PATCH")
    if is_login or (route, method) == ("subscription_identity", "GET"):
        return _with_status(refused, 503, {"Retry-After": str(HELD_RETRY_AFTER_S)})
    return refused


def is_sdk(meta: Mapping[str, Any]) -> bool:
    """Whether an SDK on a device or a page sends the request, not a customer's server."""
    return bool(_version(meta))


def is_android(meta: Mapping[str, Any]) -> bool:
    """Whether an Android SDK sends the request."""
    return _version(meta).startswith("onesignal/android/")


def is_ios(meta: Mapping[str, Any]) -> bool:
    """Whether an iOS SDK sends the request."""
    return _version(meta).startswith("onesignal/ios/")


def _version(meta: Mapping[str, Any]) -> str:
    return str(meta.get("HTTP_SDK_VERSION", ""))


def _has_token(meta: Mapping[str, Any]) -> bool:
    return str(meta.get("HTTP_AUTHORIZATION", "")).lower().startswith("bearer ")


def _with_status(
    refused: Refused, status: int, headers: Mapping[str, str] | None = None
) -> Refused:
    return Refused(status, *refused.errors, headers=headers, details=refused.details)
