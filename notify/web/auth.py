"""Whose request it is, and whether it may be made.

An unknown app gets 403, not 404: old SDKs repeat a 404 (the one for android_params.js without end),
and new ones create their users again for it; a 403 stops both. An app that was made a moment ago
is unknown until the next refresh.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from notify import keys
from notify.web.answers import Refused
from notify.web.apps_cache import Known, KnownApp

_SCHEMES: Final = ("key", "basic")
_BEARER: Final = "bearer"
_CHALLENGE: Final = {"WWW-Authenticate": 'Key realm="notify"'}


class KeyNeeded(Enum):
    """When a request must carry a key. A wrong key is refused in any case."""

    NEVER = "never"
    BY_APP = "if the app requires it"
    BY_USER = "always, unless the app verifies identities and a token names the user"
    ALWAYS = "always"


def authenticate(
    known: Known, app_id: object, meta: Mapping[str, Any], *, key: KeyNeeded
) -> tuple[KnownApp, bool]:
    """The app that the request may act for, and whether it carried one of the app's keys.

    SDKs carry none. A token (`bearer`) is no key. Raises Refused: 400
    without an app id, 403 for an unknown or disabled app or a wrong key, 401 for a missing key.
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
    """The refusal of a call that carries no key and needs one."""
    return Refused(
        401, f"{what} needs the app's key: send Authorization: Key ...", headers=_CHALLENGE
    )


def bearer(meta: Mapping[str, Any]) -> str:
    """The token that the request carries, as it is; empty without one."""
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
