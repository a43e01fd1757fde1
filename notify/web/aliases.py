"""The aliases of users: `identity` in the words of the clients.

An alias that another user has is not given; but an anonymous user that asks for one logs in as that
user (decision 0014). Either is decided in log order, so the answer is what was asked for.
"""

from django.http import HttpResponse

from notify.domain import ids
from notify.domain.errors import Malformed
from notify.domain.update import USER
from notify.web import changes, left_out, sdks, subjects, users
from notify.web.answers import Refused, ok
from notify.web.apps_cache import KnownApp
from notify.web.bounded import Shown
from notify.web.endpoint import Call
from notify.web.identity import NO_SUCH_USER, Identity
from notify.web.reads import UserRow
from notify.web.subjects import EXTERNAL_ID, ONESIGNAL_ID, Subject


def show(call: Call, app_id: str, label: str, name: str) -> HttpResponse:
    """GET /apps/{app}/users/by/{label}/{alias}/identity: as far as they have been applied."""
    app, who = changes.caller(call, app_id)
    who.must_not_be_open("reading the aliases of a user")
    subject = subjects.user(app.id, label, name)
    row, shown = users.read(call, who, subject), Shown()
    return ok({"identity": users.identity_of(row, who, subject, shown), **shown.warnings})


def give(call: Call, app_id: str, label: str, name: str) -> HttpResponse:
    """PATCH /apps/{app}/users/by/{label}/{alias}/identity: give the user the aliases in `identity`."""
    app, who = changes.caller(call, app_id)
    return _give(call, app, who, subjects.somebody(call, app, label, name))


def take(call: Call, app_id: str, label: str, name: str, alias: str) -> HttpResponse:
    """DELETE .../identity/{alias}: take the user's alias by this label away. Who comes by it next
    is another user."""
    app, who = changes.caller(call, app_id)
    if alias == ONESIGNAL_ID:
        raise Malformed(
            "onesignal_id is the user's id, not an alias: to remove it, delete the user"
        )
    subject = subjects.user(app.id, label, name)
    made = subject.update(call, at=call.services.now_ms(), aliases={alias: None})
    warnings = changes.send_all(call, app, who, [made])
    left = {key: value for key, value in subject.identity.items() if key != alias}
    return ok({"identity": left, **warnings})


def show_owners(call: Call, app_id: str, subscription: str) -> HttpResponse:
    """GET /apps/{app}/subscriptions/{id}/user/identity: the aliases of the user that has it.

    An SDK asks so once, when it was updated from version 4.x, and reads the onesignal_id alone. So
    an open app shows no more without a key. If the subscription has no user, that SDK loses the device
    for a 404: it is answered the user that it gets, by this.
    """
    app, who = changes.caller(call, app_id)
    subject = subjects.owner(app.id, subscription)
    who.must_reach(subject.record)
    if ids.follows_from_a_name(subject.record):
        who.must_not_be_open("reading the user of an email or SMS subscription")
    found = call.services.reads.user(app.id, subject.record, owner=True)
    if found is not None:
        who.must_see(found.aliases)
        shown = Shown()
        others = {} if who.is_open else shown.aliases(found)
        identity = {ONESIGNAL_ID: _handle(app.id, who, found), **others}
        return ok({"identity": identity, **shown.warnings})
    if not sdks.is_sdk(call.request.META):
        raise Refused(404, NO_SUCH_USER)
    generation = call.services.reads.generation(app.id, subject.record)
    made = subject.update(call, at=call.services.now_ms())
    changes.send_all(call, app, who, [made])
    record = ids.named_user(app.id, subject.record, generation)
    return ok({"identity": {ONESIGNAL_ID: record}})


def _handle(app: str, who: Identity, user: UserRow) -> str:
    """An id of the user by which the caller can read it: its own, unless that follows from a name;
    then a device needs the one that creating the user by its alias is answered with."""
    if who.has_key or not ids.follows_from_a_name(user.id) or not user.aliases:
        return user.id
    label = min(user.aliases, key=lambda label: (label != EXTERNAL_ID, label))
    return ids.alias_id(app, USER, label, user.aliases[label])


def give_owner(call: Call, app_id: str, subscription: str) -> HttpResponse:
    """PATCH /apps/{app}/subscriptions/{id}/user/identity: give that user the aliases in `identity`."""
    app, who = changes.caller(call, app_id)
    return _give(call, app, who, subjects.owner(app.id, subscription))


def _give(call: Call, app: KnownApp, who: Identity, subject: Subject) -> HttpResponse:
    names = _names(call, app)
    if ONESIGNAL_ID in names:
        raise Malformed("onesignal_id is the user's id: it cannot be set as an alias")
    made = subject.update(call, at=call.services.now_ms(), aliases=names)
    warnings = changes.send_all(call, app, who, [made])
    return ok({"identity": {**subject.identity, **names}, **warnings})


def _names(call: Call, app: KnownApp) -> dict[str, str]:
    """The aliases in the body. An SDK that sends a body which is too large, or another `identity` than an
    object, gives none: after any refusal of a login an iOS SDK sends nothing more for that person."""
    try:
        return subjects.identity_in(call, call.body(), app)
    except (Refused, Malformed) as error:
        is_too_large = isinstance(error, Refused) and error.status == 413
        if not sdks.is_sdk(call.request.META) or not (is_too_large or isinstance(error, Malformed)):
            raise
        call.left_out.add(left_out.NAME, error)
        return {}
