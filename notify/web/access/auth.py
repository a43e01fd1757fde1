"""Finds the app of a request and checks its key.

An unknown app gets 403 and not 404. Old SDKs repeat a request after a 404 (that for android_params.js
endlessly), and new ones create their users again; a 403 stops both. A new app is unknown until the next
refresh of the cache.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from notify.security import keys
from notify.web.access.apps_cache import AppsSnapshot, KnownApp
from notify.web.http.answers import Refused

_SCHEMES: Final = ("key", "basic")
_BEARER: Final = "bearer"
_CHALLENGE: Final = {"WWW-Authenticate": 'Key realm="notify"'}


class KeyNeeded(Enum):
    """When a request needs the app's key. A wrong key is always refused."""

    NEVER = "never"
    BY_APP = "if the app requires it"
    BY_USER = "always, unless the app verifies identities and a token names the user"
    ALWAYS = "always"


def authenticate(
    known: AppsSnapshot, app_id: object, meta: Mapping[str, Any], *, key: KeyNeeded
) -> tuple[KnownApp, bool]:
    """The app of the request, and whether the request has one of the app's keys.

    SDKs send no key, and a token (`bearer`) is not a key. Raises Refused: 400 without an app id, 403 for an
    unknown or disabled app or a wrong key, 401 for a missing key.
    """
    if not isinstance(app_id, str) or not app_id:
        raise Refused(400, "app_id is missing: it must be the app's id as a string")
    app = known.apps.get(app_id.lower())
    if app is None:
        raise Refused(403, "app_id is not the id of an app of this server")
    if not app.enabled:
        raise Refused(403, "this app is disabled")
    secret = _secret(meta.get("HTTP_AUTHORIZATION", ""))
    if secret:
        if not keys.matches_any(secret, app.digests):
            raise Refused(403, "the key in Authorization is not a key of this app")
        return app, True
    if key is KeyNeeded.ALWAYS or (key is KeyNeeded.BY_APP and app.requires_key):
        raise key_needed("this call")
    return app, False


def key_needed(what: str) -> Refused:
    """The refusal of a call that needs the app's key and has none."""
    return Refused(
        401, f"{what} needs the app's key: send Authorization: Key ...", headers=_CHALLENGE
    )


def bearer(meta: Mapping[str, Any]) -> str:
    """The token of the request, unchecked; empty if it has none."""
    scheme, credential = _split(meta.get("HTTP_AUTHORIZATION", ""))
    return credential if scheme == _BEARER else ""


def _secret(header: str) -> str:
    """The key in an Authorization header. A client without a key may send a bare scheme."""
    scheme, credential = _split(header)
    if scheme == _BEARER and not credential.startswith(keys.PREFIX):
        return ""
    if scheme and scheme not in _SCHEMES:
        raise Refused(401, "send Authorization: Key ... (or Basic ...)", headers=_CHALLENGE)
    return credential


def _split(header: str) -> tuple[str, str]:
    scheme, _, credential = header.strip().partition(" ")
    return scheme.lower(), credential.strip()
