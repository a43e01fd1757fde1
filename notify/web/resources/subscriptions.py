"""Subscriptions of the user model (SDKs of version 5.x and server clients).

A subscription's id is the player's id of version 4.x: they are the same record.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from django.http import HttpResponse

from notify.domain.errors import Malformed
from notify.domain.records import ids, nobody
from notify.domain.records.patch import PROPERTIES
from notify.domain.records.update import DELETE, TOKEN, USER, Update, check_value
from notify.web.access.identity import Identity
from notify.web.http.answer_bodies import (
    Answer,
    IdentityAnswer,
    StoredSubscriptionProperties,
    Subscription,
    SubscriptionAnswer,
)
from notify.web.http.answers import Refused, ok
from notify.web.http.endpoint import Call
from notify.web.reads import SubscriptionRow
from notify.web.resources import changes, device, left_out, sdks, user_reference
from notify.web.resources.device import EMAIL, PUSH, SMS
from notify.web.resources.draft import Draft, update_of
from notify.web.resources.left_out import LeftOut
from notify.web.resources.readable import readable
from notify.web.resources.user_reference import Subject

#: The types in the clients' spelling, which is stored. Upper and lower case do not matter in requests.
TYPES: Final = (
    "iOSPush", "AndroidPush", "FireOSPush", "ChromeExtensionPush", "ChromePush", "WindowsPush",
    "SafariLegacyPush", "FirefoxPush", "macOSPush", "HuaweiPush", "SafariPush", "Email", "SMS",
)  # fmt: skip
_BY_LOWER: Final = {name.lower(): name for name in TYPES}
_KINDS: Final = {"Email": EMAIL, "SMS": SMS}
#: By the device type of a player that an SDK of version 4.x made.
_OF_DEVICE: Final = {
    0: "iOSPush", 1: "AndroidPush", 2: "FireOSPush", 4: "ChromeExtensionPush", 5: "ChromePush",
    6: "WindowsPush", 7: "SafariLegacyPush", 8: "FirefoxPush", 9: "macOSPush", 13: "HuaweiPush",
    17: "SafariPush",
}  # fmt: skip
_OF_KIND: Final = {EMAIL: "Email", SMS: "SMS"}

#: Stored under their own names. The counts and times of sessions come as deltas of the user.
PROPERTY_KEYS: Final = StoredSubscriptionProperties.__struct_fields__


class New(NamedTuple):
    """A new subscription: its update, and how the answer shows it."""

    update: Update
    shown: Subscription


def new(
    call: Call,
    who: Identity,
    fields: Mapping[str, Any],
    *,
    owner: Subject | None,
    at: int,
    place: int,
) -> New:
    """The subscription of a body, update number `place` of the request, of nobody without an `owner`. Its
    id is the one it has, or follows from its token, or from the Idempotency-Key; or it is random.
    Raises Malformed."""
    app = who.app
    known = _known(fields, call.left_out)
    kind, draft = _described(known, call.left_out)
    if kind is None and "id" in known:
        return _moved(call, who, known, draft, owner=owner, at=at, place=place)
    if kind is None:
        raise Malformed(f"a subscription's type is missing: give one of {', '.join(TYPES)}")
    if kind != PUSH and fields.get("token"):
        _check_token(fields["token"])
        _check_address(kind, known)
    record = _new_id(call, app, kind, known, place)
    made = update_of(
        app,
        record,
        at=at,
        message_id=call.message_id(place),
        kind=kind,
        draft=draft,
        links=_owned_by(owner),
        aliases=_token(kind, known),
    )
    answered = record
    if known.get("token") and "id" not in known:
        answered = call.services.addresses.record_of(app, kind, known["token"])
    shown = {"id": answered, "type": _type(known["type"])}
    shown |= {key: known[key] for key in ("token", *PROPERTY_KEYS) if key in known}
    return New(made, readable(Subscription, shown))


def _moved(
    call: Call,
    who: Identity,
    fields: Mapping[str, Any],
    draft: Draft,
    *,
    owner: Subject | None,
    at: int,
    place: int,
) -> New:
    """One that there is already, of which only the id is said: it moves to the user. SDKs do not
    read an answer with a subscription without type, so the caller's own is shown."""
    record = device.player_id(fields["id"], "id")
    kind = _kind_of_token(who, record, None, fields)
    made = update_of(
        who.app,
        record,
        at=at,
        message_id=call.message_id(place),
        kind=kind,
        draft=draft,
        links=_owned_by(owner),
        aliases=None if kind is None else _token(kind, fields),
    )
    return New(made, Subscription(id=record, type=_type_of_sdk(call)))


def _owned_by(owner: Subject | None) -> dict[str, str | None]:
    return {USER: None if owner is None else owner.record}


def type_of(row: SubscriptionRow) -> str:
    """The type that is shown of a subscription: SDKs do not read one without."""
    if row.kind in _OF_KIND:
        return _OF_KIND[row.kind]
    said = row.properties.get("subscription_type")
    if said in TYPES:
        return str(said)
    return _OF_DEVICE.get(row.properties.get("device_type", 1), "AndroidPush")


def create(call: Call, app_id: str, label: str, name: str) -> HttpResponse:
    """POST /apps/{app}/users/by/{label}/{alias}/subscriptions with `{"subscription": {...}}`. An SDK that
    names its user by what is no name gets it all the same, without a user."""
    body = call.body()
    app, who = changes.caller(call, app_id)
    subject = user_reference.somebody_or_none(call, app, label, name)
    at = call.services.now_ms()
    made = new(call, who, _fields(body), owner=subject, at=at, place=1)
    owners = [] if subject is None else [subject.update(call, at=at)]
    warnings = changes.send_all(call, app, who, [*owners, made.update])
    return ok(SubscriptionAnswer(subscription=made.shown, **warnings), status=202)


def transfer(call: Call, app_id: str, subscription: str) -> HttpResponse:
    """PATCH /apps/{app}/subscriptions/{id}/owner: the subscription is from now on of the user that
    `identity` names by one alias. An SDK that names it by what is no name takes it from its user: the
    device must not stay with the person before."""
    body = call.body()
    app, who = changes.caller(call, app_id)
    identity = user_reference.identity_in(call, body, app)
    is_nobodys = not identity and call.left_out.counts[left_out.NAME] == 1
    if len(identity) != 1 and not (is_nobodys and sdks.is_sdk(call.request.META)):
        said = "; ".join(call.left_out.sentences)
        raise Malformed(said or "identity must name the new owner by one alias")
    record = _there(call, app.id, subscription)
    subject = None
    for label, name in identity.items():
        subject = user_reference.user(app.id, label, name)
    at = call.services.now_ms()
    moved = update_of(
        app.id, record, at=at, message_id=call.message_id(1), links=_owned_by(subject)
    )
    owners = [] if subject is None else [subject.update(call, at=at)]
    warnings = changes.send_all(call, app, who, [*owners, moved])
    owner = {} if subject is None else subject.identity
    return ok(IdentityAnswer(identity=owner, **warnings))


def update_by_token(call: Call, app_id: str, type_: str, token: str) -> HttpResponse:
    """PATCH /apps/{app}/subscriptions_by_token/{type}/{token} with `{"subscription": {...}}`: of the
    subscription that has this token; answers 202 `{}`.

    A new token is a second update, so that the first finds the subscription by the old one.
    """
    body = call.body()
    app, who = changes.caller(call, app_id)
    fields = _known(_fields(body), call.left_out)
    name = _type(type_)
    kind = _KINDS.get(name, PUSH)
    if kind != PUSH and fields.get("token"):
        who.must_not_be_open("changing an address")
        _check_address(kind, fields)
    if not nobody.is_address(kind, token):
        raise Malformed(device.NO_ADDRESS[kind].format("token", token))
    now = user_reference.token_of(kind, token)
    described, draft = _described(fields, call.left_out)
    if described not in (None, kind):
        raise Malformed(f"type: this subscription is {name}, and its type cannot be changed")
    at = call.services.now_ms()
    steps: list[tuple[Draft | None, Mapping[str, str | None]]] = [(draft, {TOKEN: now})]
    if fields.get("token"):
        steps = [(None, {TOKEN: now}), (draft, _token(kind, fields))]
    found = [
        update_of(
            app.id,
            user_reference.token_id(app.id, kind, now),
            at=at,
            message_id=call.message_id(place),
            kind=kind,
            draft=patch,
            aliases=names,
        )
        for place, (patch, names) in enumerate(steps)
    ]
    return ok(Answer(**changes.send_all(call, app, who, found)), status=202)


def update(call: Call, app_id: str, subscription: str) -> HttpResponse:
    """PATCH /apps/{app}/subscriptions/{id} with `{"subscription": {...}}`; answers `{}`.

    Fields that are null are as if absent (one client sends every unset field so); other unknown
    fields are ignored.
    """
    body = call.body()
    app, who = changes.caller(call, app_id)
    record = _there(call, app.id, subscription)
    fields = _known(_fields(body), call.left_out)
    if without_address(fields, call.left_out) is not None:
        del fields["token"]
    kind, draft = _described(fields, call.left_out)
    kind = _kind_of_token(who, record, kind, fields)
    made = update_of(
        app.id,
        record,
        at=call.services.now_ms(),
        message_id=call.message_id(),
        kind=kind,
        draft=draft,
        aliases=None if kind is None else _token(kind, fields),
    )
    return ok(Answer(**changes.send_all(call, app, who, [made])))


def delete(call: Call, app_id: str, subscription: str) -> HttpResponse:
    """DELETE /apps/{app}/subscriptions/{id}; answers 202 `{}`, also for one that is not there."""
    app, who = changes.caller(call, app_id)
    record = user_reference.subscription_id(subscription)
    at = call.services.now_ms()
    made = update_of(app.id, record, at=at, message_id=call.message_id(), op=DELETE)
    return ok(Answer(**changes.send_all(call, app, who, [made])), status=202)


def _there(call: Call, app: str, subscription: str) -> str:
    """The id of a subscription that was not deleted. Raises Refused 404: SDKs make it again."""
    record = user_reference.subscription_id(subscription)
    if call.services.deleted.is_known(app, record):
        raise Refused(404, "this subscription was deleted: create it again")
    return record


def _fields(body: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = body.get("subscription")
    if not isinstance(fields, Mapping):
        raise Malformed("subscription must be an object")
    return fields


def without_address(fields: Mapping[str, Any], left: LeftOut) -> Subscription | None:
    """What is shown of an email or SMS subscription that has no address, and is left out of POST users;
    None for any other. It stands in the answer because SDKs match by place, or by type."""
    name = _BY_LOWER.get(str(fields.get("type")).lower())
    if name not in _KINDS or not fields.get("token"):
        return None
    try:
        _check_token(fields["token"])
        _check_address(_KINDS[name], fields)
    except Malformed as error:
        left.add(left_out.SUBSCRIPTION, error)
        return Subscription(id=ids.random_id(), type=name)
    return None


def shown_deleted(call: Call, app: str, fields: Mapping[str, Any]) -> Subscription | None:
    """What is shown of a subscription of which only the id is said and that was deleted; None for any other.
    It is left out of POST users: moved, it would come back without its token. Its next change is answered
    404, for which its SDK makes it again."""
    if fields.get("type") is not None or fields.get("id") is None:
        return None
    record = device.player_id(fields["id"], "id")
    if not call.services.deleted.is_known(app, record):
        return None
    call.left_out.add(left_out.SUBSCRIPTION, "id: this subscription was deleted")
    return Subscription(id=record, type=_type_of_sdk(call))


def _type_of_sdk(call: Call) -> str:
    return "AndroidPush" if sdks.is_android(call.request.META) else "ChromePush"


def _known(fields: Mapping[str, Any], left: LeftOut) -> dict[str, Any]:
    """The fields that are not null, without a token that cannot be stored or is none."""
    known = {key: value for key, value in fields.items() if value is not None}
    if "token" in known:
        try:
            _check_token(known["token"])
            if not known["token"].strip():
                known["token"] = ""
            if _BY_LOWER.get(str(known.get("type")).lower()) not in _KINDS:
                _check_address(PUSH, known)
        except Malformed as error:
            left.add(left_out.IDENTIFIER, error)
            del known["token"]
    return known


def _check_token(token: object) -> None:
    if not isinstance(token, str):
        raise Malformed("token must be a string")
    check_value(token, "token")


def _check_address(kind: str, fields: Mapping[str, Any]) -> None:
    token = fields.get("token", "")
    if token.strip() and not nobody.is_address(kind, token):
        raise Malformed(device.NO_ADDRESS[kind].format("token", token))


def _new_id(call: Call, app: str, kind: str, fields: Mapping[str, Any], place: int) -> str:
    if "id" in fields:
        return device.player_id(fields["id"], "id")
    token = fields.get("token")
    if token:
        return ids.record_id(app, kind, token)
    key = call.message_id(place)
    return ids.random_id() if key is None else ids.keyed_id(app, key)


def _token(kind: str, fields: Mapping[str, Any]) -> dict[str, str | None]:
    """The alias for a token; an empty token removes the alias."""
    if "token" not in fields:
        return {}
    return {TOKEN: user_reference.token_of(kind, fields["token"]) or None}


def _kind_of_token(
    who: Identity, record: str, kind: str | None, fields: Mapping[str, Any]
) -> str | None:
    """The kind of what has this token: a device's, if the caller does not say a type and has no key.

    Whether the record is a device is decided where its row is known: an address stays what it is.
    Raises Malformed for an id that is made of an address.
    """
    if kind is not None or "token" not in fields or who.has_key:
        return kind
    if ids.follows_from_a_name(record):
        raise Malformed("type is missing: a new address or number needs it, Email or SMS")
    return PUSH


def _described(fields: Mapping[str, Any], left: LeftOut) -> tuple[str | None, Draft]:
    """The kind, None where no type says it, and the patch. Raises Malformed for a type that is none."""
    draft = Draft(left)
    for key in PROPERTY_KEYS:
        if key in fields:
            draft.put(PROPERTIES + key, fields[key])
    kind = None
    if "type" in fields:
        name = _type(fields["type"])
        draft.put(f"{PROPERTIES}subscription_type", name)
        kind = _KINDS.get(name, PUSH)
    if "token" in fields:
        # As it was given: SDKs compare what they read with it.
        draft.put("identifier", fields["token"].strip())
    return kind, draft


def _type(type_: object) -> str:
    """The type in the clients' spelling. Raises Malformed for an unknown type."""
    name = _BY_LOWER.get(type_.lower()) if isinstance(type_, str) else None
    if name is None:
        raise Malformed(f"type must be one of {', '.join(TYPES)}")
    return name


def typed(type_: object) -> tuple[str, str]:
    """The type in the clients' spelling, and the kind of its record. Raises Malformed for an unknown type."""
    name = _type(type_)
    return name, _KINDS.get(name, PUSH)
