"""Subscriptions of the user model (SDKs of version 5.x and server clients), by id.

A subscription's id is the player's id of version 4.x: they are the same record.
"""

from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpResponse

from notify.domain.errors import Malformed
from notify.domain.lanes import is_uuid
from notify.domain.patch import PROPERTIES
from notify.domain.update import DELETE
from notify.web.answers import Refused, ok
from notify.web.device import EMAIL, PUSH, SMS
from notify.web.draft import Draft, encoded, update_of
from notify.web.endpoint import Call
from notify.web.sending import send

#: In the clients' spelling, which is stored; they are compared without regard to case.
TYPES: Final = (
    "iOSPush", "AndroidPush", "FireOSPush", "ChromeExtensionPush", "ChromePush", "WindowsPush",
    "SafariLegacyPush", "FirefoxPush", "macOSPush", "HuaweiPush", "SafariPush", "Email", "SMS",
)  # fmt: skip
_BY_LOWER: Final = {name.lower(): name for name in TYPES}
_KINDS: Final = {"Email": EMAIL, "SMS": SMS}

#: Stored under their own names. The counts and times of sessions come as deltas of the user.
PROPERTY_KEYS: Final = (
    "enabled", "notification_types", "sdk", "device_model", "device_os", "rooted", "net_type",
    "carrier", "app_version", "test_type", "web_auth", "web_p256",
)  # fmt: skip


def update(call: Call, app_id: str, subscription: str) -> HttpResponse:
    """PATCH /apps/{app}/subscriptions/{id} with `{"subscription": {...}}`; answers `{}`.

    Fields that are null are as if absent (one client sends every unset field so); other unknown
    fields are ignored.
    """
    body = call.body()
    app = call.app(app_id)
    record = _id(subscription)
    fields = body.get("subscription")
    if not isinstance(fields, Mapping):
        raise Malformed("subscription must be an object")
    kind, draft = _described({key: value for key, value in fields.items() if value is not None})
    made = update_of(
        app.id,
        record,
        at=call.services.now_ms(),
        message_id=call.message_id(),
        kind=kind,
        draft=draft,
    )
    send(call, app, [encoded(made)])
    return ok({})


def delete(call: Call, app_id: str, subscription: str) -> HttpResponse:
    """DELETE /apps/{app}/subscriptions/{id}; answers 202 `{}`, also for one that is not there."""
    app = call.app(app_id)
    record = _id(subscription)
    at = call.services.now_ms()
    made = update_of(app.id, record, at=at, message_id=call.message_id(), op=DELETE)
    send(call, app, [encoded(made)])
    return ok({}, status=202)


def _id(subscription: str) -> str:
    record = subscription.lower()
    if not is_uuid(record):
        raise Refused(404, "there is no subscription with this id")
    return record


def _described(fields: Mapping[str, Any]) -> tuple[str | None, Draft]:
    draft = Draft()
    for key in PROPERTY_KEYS:
        if key in fields:
            draft.put(PROPERTIES + key, fields[key])
    if "token" in fields:
        draft.put("identifier", fields["token"])
    if "type" not in fields:
        return None, draft
    type_ = fields["type"]
    name = _BY_LOWER.get(type_.lower()) if isinstance(type_, str) else None
    if name is None:
        raise Malformed(f"type must be one of {', '.join(TYPES)}")
    draft.put(f"{PROPERTIES}subscription_type", name)
    return _KINDS.get(name, PUSH), draft
