"""The calls for the aliases of users, which clients call `identity`.

An alias that belongs to another user is refused, unless an anonymous user asks for it: that one logs in as
the other user (decision 0014). Both are decided later, in the order of the log, so the answer repeats what
was asked for.
"""

from django.http import HttpResponse

from notify.domain.errors import Malformed
from notify.domain.records import ids
from notify.domain.records.update import USER
from notify.web.access.apps_cache import KnownApp
from notify.web.access.identity import NO_SUCH_USER, Identity
from notify.web.http.answer_bodies import IdentityAnswer
from notify.web.http.answers import Refused, ok
from notify.web.http.bounded_answer import BoundedAnswer
from notify.web.http.endpoint import Call
from notify.web.reads import UserRow
from notify.web.resources import changes, left_out, sdks, user_reference, users
from notify.web.resources.user_reference import EXTERNAL_ID, ONESIGNAL_ID, Subject


def show(call: Call, app_id: str, label: str, name: str) -> HttpResponse:
    """GET /apps/{app}/users/by/{label}/{alias}/identity: the aliases that have been applied."""
    app, who = changes.caller(call, app_id)
    who.must_not_be_open("reading the aliases of a user")
    subject = user_reference.user(app.id, label, name)
    row, shown = users.read(call, who, subject), BoundedAnswer()
    identity = users.identity_of(row, who, subject, shown)
    return ok(IdentityAnswer(identity=identity, **shown.warnings))


def give(call: Call, app_id: str, label: str, name: str) -> HttpResponse:
    """PATCH /apps/{app}/users/by/{label}/{alias}/identity: adds the aliases in `identity` to the user."""
    app, who = changes.caller(call, app_id)
    return _give(call, app, who, user_reference.somebody(call, app, label, name))


def take(call: Call, app_id: str, label: str, name: str, alias: str) -> HttpResponse:
    """DELETE .../identity/{alias}: removes the user's alias by this label. Whoever uses the alias after
    that is another user."""
    app, who = changes.caller(call, app_id)
    if alias == ONESIGNAL_ID:
        raise Malformed(
            "onesignal_id is the user's id, not an alias: to remove it, delete the user"
        )
    subject = user_reference.user(app.id, label, name)
    made = subject.update(call, at=call.services.now_ms(), aliases={alias: None})
    warnings = changes.send_all(call, app, who, [made])
    left = {key: value for key, value in subject.identity.items() if key != alias}
    return ok(IdentityAnswer(identity=left, **warnings))


def show_owners(call: Call, app_id: str, subscription: str) -> HttpResponse:
    """GET /apps/{app}/subscriptions/{id}/user/identity: the aliases of the user that has it.

    An SDK calls this once, after its update from version 4.x, and reads only the onesignal_id. So an open
    app shows no more than that without a key. A 404 would make this SDK lose the device. So if the
    subscription has no user, this call gives it one and answers that.
    """
    app, who = changes.caller(call, app_id)
    subject = user_reference.owner(app.id, subscription)
    who.must_reach(subject.record)
    if ids.follows_from_a_name(subject.record):
        who.must_not_be_open("reading the user of an email or SMS subscription")
    found = call.services.reads.user(app.id, subject.record, owner=True)
    if found is not None:
        who.must_see(found.aliases)
        shown = BoundedAnswer()
        others = {} if who.is_open else shown.aliases(found)
        identity = {ONESIGNAL_ID: _handle(app.id, who, found), **others}
        return ok(IdentityAnswer(identity=identity, **shown.warnings))
    if not sdks.is_sdk(call.request.META):
        raise Refused(404, NO_SUCH_USER)
    generation = call.services.reads.generation(app.id, subject.record)
    made = subject.update(call, at=call.services.now_ms())
    changes.send_all(call, app, who, [made])
    record = ids.named_user(app.id, subject.record, generation)
    return ok(IdentityAnswer(identity={ONESIGNAL_ID: record}))


def _handle(app: str, who: Identity, user: UserRow) -> str:
    """An id by which the caller can read the user: its own, unless that is derived from a name. Then a
    device needs the id that it gets when it creates the user by its alias."""
    if who.has_key or not ids.follows_from_a_name(user.id) or not user.aliases:
        return user.id
    label = min(user.aliases, key=lambda label: (label != EXTERNAL_ID, label))
    return ids.alias_id(app, USER, label, user.aliases[label])


def give_owner(call: Call, app_id: str, subscription: str) -> HttpResponse:
    """PATCH /apps/{app}/subscriptions/{id}/user/identity: give that user the aliases in `identity`."""
    app, who = changes.caller(call, app_id)
    return _give(call, app, who, user_reference.owner(app.id, subscription))


def _give(call: Call, app: KnownApp, who: Identity, subject: Subject) -> HttpResponse:
    names = _names(call, app)
    if ONESIGNAL_ID in names:
        raise Malformed("onesignal_id is the user's id: it cannot be set as an alias")
    made = subject.update(call, at=call.services.now_ms(), aliases=names)
    warnings = changes.send_all(call, app, who, [made])
    return ok(IdentityAnswer(identity={**subject.identity, **names}, **warnings))


def _names(call: Call, app: KnownApp) -> dict[str, str]:
    """The aliases in the body; none if an SDK sends a body that is too large or an `identity` that is not an
    object, because an iOS SDK sends nothing more for a person whose login was refused."""
    try:
        return user_reference.identity_in(call, call.body(), app)
    except (Refused, Malformed) as error:
        is_too_large = isinstance(error, Refused) and error.status == 413
        if not sdks.is_sdk(call.request.META) or not (is_too_large or isinstance(error, Malformed)):
            raise
        call.left_out.add(left_out.NAME, error)
        return {}
