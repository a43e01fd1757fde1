"""The players API, which SDKs of version 4.x use, with and without /api/v1.

Every success is 200 and never 201, which these SDKs take for a failure and repeat. A body contains only what
has changed, so all keys except app_id may be absent. Values that cannot be stored are left out
(`left_out`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from django.http import HttpResponse
from msgspec import UNSET, Struct

from notify.domain.engine.lanes import is_uuid
from notify.domain.errors import Malformed
from notify.domain.records import ids
from notify.domain.records.patch import PROPERTIES
from notify.domain.records.update import COUNTER_MAX, DELETE, kind_of_address
from notify.web.access.apps_cache import KnownApp
from notify.web.access.identity import hash_unusable
from notify.web.http.answer_bodies import Created, PlayerState, Success
from notify.web.http.answers import Refused, ok
from notify.web.http.bounded_answer import BoundedAnswer
from notify.web.http.endpoint import Call
from notify.web.reads import RecordRow
from notify.web.resources import changes, device, left_out, purchases
from notify.web.resources.device import EMAIL, PUSH, SMS
from notify.web.resources.draft import Draft, update_of, updates_of

#: An old SDK drops its id and registers again after a 400 with the first text to a PUT, a 400 with the second
#: to on_session and email_logout, and for nothing else. What it reports by on_focus and on_purchase it
#: keeps and reports again by its new id.
NO_SUCH_PLAYER = "No user with this id found"
REGISTER_AGAIN = "this player was deleted: register it again (its id is not a valid device_type)"

_SHOWN: Final = (*device.PROPERTY_KEYS, "last_active")
#: A player with its properties, which may be of any type.
PlayerAnswer: Final = msgspec.defstruct(
    "PlayerAnswer",
    [(key, Any, UNSET) for key in _SHOWN],
    bases=(PlayerState,),
    frozen=True,
    kw_only=True,
)

Body = Mapping[str, Any]
Links = dict[str, str | None]
Change = tuple[Draft, Links]


def create(call: Call) -> HttpResponse:
    """POST /players: registers a push, email or SMS player and answers its id.

    The id is made from the identifier, so a repeated request gets the same id. If the address has changed
    hands, it is the id of its present owner (`addresses`). A device without a push token gets an id made from
    its Idempotency-Key, or a random one. An SMS player is linked to its device here, because no later
    request does it; an email player is linked by the device's PUT.
    """
    body = call.body()
    app, has_key = call.app_and_key(body.get("app_id"))
    who = call.identity(app, has_key=has_key, absent=hash_unusable)
    kind = device.kind_in(body) or PUSH
    if kind == PUSH:
        identifier = device.identifier_or_none(body, kind, call.left_out)
    else:
        identifier = device.identifier_in(body, kind)
    if not identifier and kind != PUSH:
        raise Malformed("identifier is missing: an email or SMS player needs its address or number")
    record = answered = _assigned_id(call, app.id, kind, identifier)
    if identifier:
        answered = call.services.addresses.record_of(app.id, kind, identifier)
    at = call.services.now_ms()
    draft = Draft(call.left_out)
    device.put_device(draft, body, identifier, app.nobody, call.left_out)
    made = updates_of(
        app.id,
        record,
        at=at,
        message_id=call.message_id(),
        kind=kind,
        draft=draft,
        links=device.links_in(body, kind, record, call.left_out),
    )
    if kind == SMS and body.get("device_player_id"):
        try:
            pusher = device.player_id(body["device_player_id"], "device_player_id")
        except Malformed as error:
            call.left_out.add(left_out.LINK, error)
        else:
            if call.services.deleted.is_known(app.id, pusher):
                # The link would create it again without its token. Its next own request registers it again.
                call.left_out.add(left_out.LINK, "device_player_id: this player was deleted")
            else:
                made.append(
                    update_of(
                        app.id, pusher, at=at, message_id=call.message_id(1), links={SMS: answered}
                    )
                )
    warnings = changes.send_all(call, app, who, made)
    return ok(Created(success=True, id=answered, **warnings))


def update(call: Call, player: str) -> HttpResponse:
    """PUT /players/{id}: changes the player. `parent_player_id` links the device to its email player."""
    return _accept(call, player, _described)


def on_session(call: Call, player: str) -> HttpResponse:
    """POST /players/{id}/on_session: as PUT, and counts a session, which starts now."""
    return _accept(call, player, _session, gone=REGISTER_AGAIN)


def on_focus(call: Call, player: str) -> HttpResponse:
    """POST /players/{id}/on_focus: adds `active_time` seconds in the foreground.

    Only a `ping` has a time; other states are accepted and not stored. `device_type` is that of the
    device even if this is an email or SMS player, so it does not change the kind.
    """
    return _accept(call, player, _focus)


def on_purchase(call: Call, player: str) -> HttpResponse:
    """POST /players/{id}/on_purchase: adds purchases and their amounts to the player's counters.

    With `existing: true` they were made before the SDK could see them, and each new installation reports
    them again. So they set the property `existing_purchases` and change no counter.
    """
    return _accept(call, player, _purchase)


def email_logout(call: Call, player: str) -> HttpResponse:
    """POST /players/{id}/email_logout: unlinks the device from its email player."""
    return _accept(call, player, _logout, gone=REGISTER_AGAIN)


def delete(call: Call, player: str) -> HttpResponse:
    """DELETE /players/{id}?app_id=, as customers' servers send it: deletes the subscription with this id.
    Succeeds also if there is none."""
    app, has_key = call.app_and_key(call.request.GET.get("app_id"))
    who = call.identity(app, has_key=has_key, absent=hash_unusable)
    record = player.lower()
    if not is_uuid(record) or ids.is_alias(record):
        raise Refused(404, NO_SUCH_PLAYER)
    at = call.services.now_ms()
    made = update_of(app.id, record, at=at, message_id=call.message_id(), op=DELETE)
    return ok(Success(success=True, **changes.send_all(call, app, who, [made])))


def show(call: Call, player: str) -> HttpResponse:
    """GET /players/{id}?app_id=: the player with all updates that have been applied.

    Without a key it shows only the tags of a device, which is all that the SDK reads. For an id that is
    derived from a name (of an address or a user) it shows nothing, whatever the record's kind.
    """
    app, has_key = call.app_and_key(call.request.GET.get("app_id"))
    record = player.lower()
    call.identity(app, has_key=has_key, absent=hash_unusable).must_reach(record)
    row = call.services.reads.record(app.id, record) if is_uuid(record) else None
    is_devices = (
        row is not None and row.kind in (None, PUSH) and not ids.follows_from_a_name(record)
    )
    if row is None or not (has_key or is_devices):
        raise Refused(404, NO_SUCH_PLAYER)
    shown = BoundedAnswer()
    if not has_key:
        return ok(PlayerState(id=record, tags=shown.tags(row), **shown.warnings))
    return ok(_shown(record, row, shown))


def _accept(
    call: Call,
    player: str,
    change: Callable[[Call, Body, KnownApp, str], tuple[str | None, Change] | None],
    *,
    gone: str = NO_SUCH_PLAYER,
) -> HttpResponse:
    """Sends the update that `change` makes from the body, if any. Raises Refused 400 with the text `gone` for
    a deleted player."""
    body = call.body()
    app, has_key = call.app_and_key(body.get("app_id"))
    who = call.identity(app, has_key=has_key, absent=hash_unusable)
    record = player.lower()
    if not is_uuid(record) or ids.is_alias(record):
        raise Refused(400, NO_SUCH_PLAYER)
    if call.services.deleted.is_known(app.id, record):
        raise Refused(400, gone)
    changed = change(call, body, app, record)
    warnings: Mapping[str, Any] = {}
    if changed is not None:
        kind, (draft, links) = changed
        made = updates_of(
            app.id,
            record,
            at=call.services.now_ms(),
            message_id=call.message_id(),
            kind=kind,
            draft=draft,
            links=links,
        )
        warnings = changes.send_all(call, app, who, made)
    return ok(Success(success=True, **warnings))


def _described(call: Call, body: Body, app: KnownApp, record: str) -> tuple[str | None, Change]:
    kind = device.kind_in(body)
    draft = Draft(call.left_out)
    identifier = device.identifier_or_none(body, kind, call.left_out)
    if identifier and kind is None and ids.is_named(record):
        # A change of address, if it is one: SDKs of version 4.x do not say its kind.
        identifier = device.identifier_or_none(body, kind_of_address(identifier), call.left_out)
    device.put_device(draft, body, identifier, app.nobody, call.left_out)
    return kind, (draft, device.links_in(body, kind, record, call.left_out))


def _session(call: Call, body: Body, app: KnownApp, record: str) -> tuple[str | None, Change]:
    kind, (draft, links) = _described(call, body, app, record)
    draft.put(f"{PROPERTIES}last_active", call.services.now_ms() // 1000)
    draft.add("session_count", 1)
    return kind, (draft, links)


def _focus(call: Call, body: Body, app: KnownApp, record: str) -> tuple[str | None, Change] | None:
    if body.get("state", "ping") != "ping":
        return None
    seconds = body.get("active_time")
    if type(seconds) is not int or not 0 <= seconds <= COUNTER_MAX:
        raise Malformed("active_time must be an integer of seconds")
    draft = Draft(call.left_out)
    draft.add("session_time_s", seconds)
    if "net_type" in body:
        draft.put(f"{PROPERTIES}net_type", body["net_type"])
    return None, (draft, {})


def _purchase(call: Call, body: Body, app: KnownApp, record: str) -> tuple[str | None, Change]:
    count, spent_micros = purchases.counted(body.get("purchases"), call.left_out)
    draft = Draft()
    if body.get("existing") is True:
        draft.put(f"{PROPERTIES}existing_purchases", count)
    else:
        draft.add("purchase_count", count)
        draft.add("spent_micros", spent_micros)
    return None, (draft, {})


def _logout(call: Call, body: Body, app: KnownApp, record: str) -> tuple[str | None, Change]:
    draft = Draft()
    draft.put(f"{PROPERTIES}email", None)
    return None, (draft, {EMAIL: None})


def _assigned_id(call: Call, app: str, kind: str, identifier: str | None) -> str:
    if identifier:
        return ids.record_id(app, kind, identifier)
    key = call.message_id()
    return ids.random_id() if key is None else ids.keyed_id(app, key)


def _shown(record: str, row: RecordRow, shown: BoundedAnswer) -> Struct:
    """The record as the players API shows it, without fields that it does not have."""
    return PlayerAnswer(
        id=record,
        tags=shown.tags(row),
        identifier=UNSET if row.identifier is None else row.identifier,
        session_count=row.session_count,
        playtime=row.session_time_s,
        amount_spent=float(row.spent_micros) / 1_000_000,
        created_at=row.created_at_s,
        **{key: row.properties[key] for key in _SHOWN if key in row.properties},
        **shown.warnings,
    )
