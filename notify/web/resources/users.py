"""Users of the user model (SDKs of version 5.x and server clients).

The answer to a change is made from the request only: 202 (or the status that a client needs) once it is in
Kafka. To which user an alias belongs is decided later, in the order of the log, so a change never gets 404 or
409: a change of an unknown user creates the user, and an alias of another user is refused later, with a
warning in the answers to the app's next requests. Reads show what has been applied so far.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.http import HttpResponse

from notify.domain.errors import Malformed
from notify.domain.records import ids
from notify.domain.records.patch import PROPERTIES
from notify.domain.records.update import COUNTER_MAX, DELETE, USER
from notify.web.access.identity import NO_SUCH_USER, Identity
from notify.web.http.answer_bodies import (
    IdentityAnswer,
    StoredUserProperties,
    Subscription,
    Success,
    UserAnswer,
    UserChanged,
    UserProperties,
)
from notify.web.http.answers import Refused, ok
from notify.web.http.bounded_answer import BoundedAnswer
from notify.web.http.endpoint import Call
from notify.web.reads import SubscriptionRow, UserRow
from notify.web.resources import changes, left_out, purchases, sdks, subscriptions, user_reference
from notify.web.resources.draft import Draft
from notify.web.resources.left_out import LeftOut
from notify.web.resources.readable import readable
from notify.web.resources.user_reference import EXTERNAL_ID, ONESIGNAL_ID, Subject

#: Stored under their own names.
PROPERTY_KEYS: Final = StoredUserProperties.__struct_fields__
_SECONDS: Final = ("first_active", "last_active")
SUBSCRIPTIONS_MAX: Final = 20


def create(call: Call, app_id: str) -> HttpResponse:
    """POST /apps/{app}/users: a user and its subscriptions.

    Its `onesignal_id` is made from `external_id`, or else from another alias, so creating it again gives the
    same id. Without an alias the user is anonymous, with a random id or one made from the Idempotency-Key.
    """
    body = call.body()
    app, who = changes.caller(call, app_id)
    identity = user_reference.identity_in(call, body, app)
    subject = _new(call, app.id, identity)
    names = {label: name for label, name in identity.items() if label != ONESIGNAL_ID}
    at = call.services.now_ms()
    draft = _described(call, body.get("properties"))
    made = subject.updates(call, draft, at=at, aliases=names)
    owned = []
    for place, fields in enumerate(_subscriptions(body, call.left_out), start=1):
        shown = subscriptions.without_address(fields, call.left_out)
        shown = shown or subscriptions.shown_deleted(call, app.id, fields)
        if shown is not None:
            owned.append(shown)
            continue
        new = subscriptions.new(call, who, fields, owner=subject, at=at, place=place)
        made.append(new.update)
        owned.append(new.shown)
    warnings = changes.send_all(call, app, who, made)
    identity = {ONESIGNAL_ID: subject.record, **names}
    answer = UserAnswer(
        identity=identity,
        properties=readable(UserProperties, draft.shown),
        subscriptions=owned,
        **warnings,
    )
    return ok(answer, status=202)


def show(call: Call, app_id: str, label: str, name: str) -> HttpResponse:
    """GET /apps/{app}/users/by/{label}/{alias}: the user with all updates that have been applied."""
    app, who = changes.caller(call, app_id)
    subject = user_reference.user(app.id, label, name)
    if subject.named:
        who.must_not_be_open("reading a user by an alias")
    row, shown = read(call, who, subject), BoundedAnswer()
    return ok(
        {
            "identity": identity_of(row, who, subject, shown),
            "properties": _properties_of(row, shown),
            "subscriptions": [_shown(each) for each in shown.subscriptions(row)],
            **shown.warnings,
        }
    )


def update(call: Call, app_id: str, label: str, name: str) -> HttpResponse:
    """PATCH /apps/{app}/users/by/{label}/{alias}: `properties` to set, `deltas` to add."""
    body = call.body()
    app, who = changes.caller(call, app_id)
    subject = user_reference.somebody(call, app, label, name)
    draft = _described(call, body.get("properties"))
    _add(draft, body.get("deltas"), call.left_out)
    made = subject.updates(call, draft, at=call.services.now_ms())
    warnings = changes.send_all(call, app, who, made)
    answer = UserChanged(properties=readable(UserProperties, draft.shown), **warnings)
    return ok(answer, status=202)


def tag(call: Call, app_id: str, external_id: str) -> HttpResponse:
    """PUT /apps/{app}/users/{external_id} with `{"tags": {...}}`, as customers' servers send it: tags of
    the user with this external id."""
    body = call.body()
    app, who = changes.caller(call, app_id)
    if "tags" not in body:
        raise Malformed("tags is missing: this call changes only the tags of a user")
    subject = user_reference.somebody(call, app, EXTERNAL_ID, external_id)
    draft = Draft(call.left_out)
    draft.put_tags(body["tags"])
    made = subject.updates(call, draft, at=call.services.now_ms())
    return ok(Success(success=True, **changes.send_all(call, app, who, made)))


def delete(call: Call, app_id: str, label: str, name: str) -> HttpResponse:
    """DELETE /apps/{app}/users/by/{label}/{alias}: deletes the user. Its aliases are free again, and its
    subscriptions belong to nobody."""
    app, who = changes.caller(call, app_id)
    who.must_not_be_open("deleting a user")
    subject = user_reference.user(app.id, label, name)
    who.must_own(subject.record)
    made = subject.update(call, at=call.services.now_ms(), op=DELETE)
    warnings = changes.send_all(call, app, who, [made])
    return ok(IdentityAnswer(identity=subject.identity, **warnings))


def read(call: Call, who: Identity, subject: Subject) -> UserRow:
    """The user with all applied updates. Raises Refused 404 if none was applied. For callers of an open app,
    also for an id derived from a name, except for the id that creating the user returned."""
    who.must_reach(subject.record)
    is_handle = ids.is_alias(subject.record)
    if who.is_open and ids.follows_from_a_name(subject.record) and not is_handle:
        raise Refused(404, NO_SUCH_USER)
    row = call.services.reads.user(subject.app, subject.record, owner=subject.owner)
    if row is None:
        raise sdks.NothingApplied(404, NO_SUCH_USER)
    if row.record.kind not in (None, USER):
        raise Refused(404, NO_SUCH_USER)
    who.must_see(row.aliases)
    return row


def identity_of(
    row: UserRow, who: Identity, subject: Subject, shown: BoundedAnswer
) -> dict[str, str]:
    """The aliases of a user, with its id; without a key with the id that the caller asked for.

    The user's own id may be derived from a name, and then such a caller cannot use it.
    """
    return {ONESIGNAL_ID: row.id if who.has_key else subject.record, **shown.aliases(row)}


def _new(call: Call, app: str, identity: Mapping[str, str]) -> Subject:
    given = identity.get(ONESIGNAL_ID)
    if given is not None:
        return Subject(app, given.lower())
    labels = sorted(identity, key=lambda label: (label != EXTERNAL_ID, label))
    if labels:
        return Subject(app, ids.alias_id(app, USER, labels[0], identity[labels[0]]))
    key = call.message_id()
    return Subject(app, ids.random_id() if key is None else ids.keyed_id(app, f"{USER}:{key}"))


def _described(call: Call, properties: object) -> Draft:
    """Puts an object of properties into a draft. Null counts as absent, except for a tag, which it
    removes."""
    draft = Draft(call.left_out)
    if properties is None:
        return draft
    if not isinstance(properties, Mapping):
        raise Malformed("properties must be an object")
    for key in PROPERTY_KEYS:
        value = properties.get(key)
        if value is None:
            continue
        if key in _SECONDS and not _is_count(value):
            call.left_out.add(left_out.PROPERTY, f"{key} must be an integer of seconds since 1970")
        else:
            draft.put(PROPERTIES + key, value)
    draft.put_tags(properties.get("tags"))
    return draft


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= COUNTER_MAX


def _add(draft: Draft, deltas: object, left: LeftOut) -> None:
    """Adds the deltas to the draft. If both are present, `amount_spent` is the sum of `purchases`."""
    if deltas is None:
        return
    if not isinstance(deltas, Mapping):
        raise Malformed("deltas must be an object")
    for key, counter in (("session_count", "session_count"), ("session_time", "session_time_s")):
        n = deltas.get(key)
        if n is None:
            continue
        if _is_count(n):
            draft.add(counter, n)
        else:
            left.add(left_out.PROPERTY, f"{key} must be an integer from 0 to {COUNTER_MAX}")
    spent = None
    if deltas.get("purchases") is not None:
        count, spent = purchases.counted(deltas["purchases"], left)
        draft.add("purchase_count", count)
    if deltas.get("amount_spent") is not None:
        amount = purchases.micros(deltas["amount_spent"])
        if amount is None:
            left.add(left_out.PURCHASE, "amount_spent must be an amount of money such as 12.99")
        spent = amount or spent
    if spent:
        draft.add("spent_micros", spent)


def _subscriptions(body: Mapping[str, Any], left: LeftOut) -> Sequence[Mapping[str, Any]]:
    found = body.get("subscriptions")
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise Malformed("subscriptions must be a list of objects")
    over = len(found) - SUBSCRIPTIONS_MAX
    if over > 0:
        why = f"{over} subscriptions, because a request may have at most {SUBSCRIPTIONS_MAX}"
        left.add(left_out.SUBSCRIPTION, why, n=over)
    return found[:SUBSCRIPTIONS_MAX]


def _properties_of(row: UserRow, shown: BoundedAnswer) -> UserProperties:
    record = row.record
    found: dict[str, Any] = {"tags": shown.tags(record), "first_active": record.created_at_s}
    found |= {key: record.properties[key] for key in PROPERTY_KEYS if key in record.properties}
    if record.spent_micros:
        found["amount_spent"] = float(record.spent_micros) / 1_000_000
    return readable(UserProperties, found)


def _shown(row: SubscriptionRow) -> Subscription:
    shown = {
        key: row.properties[key] for key in subscriptions.PROPERTY_KEYS if key in row.properties
    }
    known: dict[str, Any] = {"id": row.id, "type": subscriptions.type_of(row)}
    if row.identifier is not None:
        known["token"] = row.identifier
    return readable(Subscription, known | shown)
