"""Finds the user that a path of the user model names, and builds its updates.

`onesignal_id` is the user's own id, or the id that creating the user returned. Any other label is an alias,
which is resolved in the order of the log. An update that names a user by an alias also gives it this alias,
so an update of an unknown user creates the user.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from notify.domain.engine.lanes import is_uuid
from notify.domain.errors import Malformed
from notify.domain.records import ids, nobody
from notify.domain.records.update import (
    ALIASES_MAX,
    KEY_CHARS_MAX,
    TOKEN,
    UPDATE,
    USER,
    VALUE_CHARS_MAX,
    Update,
    check_value,
)
from notify.web.access.apps_cache import KnownApp
from notify.web.access.identity import NO_SUCH_USER
from notify.web.http.answers import Refused
from notify.web.http.endpoint import Call
from notify.web.resources import left_out, sdks
from notify.web.resources.device import EMAIL
from notify.web.resources.draft import Draft, update_of, updates_of

ONESIGNAL_ID: Final = "onesignal_id"
EXTERNAL_ID: Final = "external_id"

#: The warning or error for a name that is nobody's.
NOBODYS: Final = (
    "the name \"{:.50}\" is on the app's list of names that are nobody's: all devices that send it would "
    "become one user. If it is a real user of this app, delete it from that list in the admin"
)


class UnusableName(Malformed):
    """A name that is well-formed, but that no user may have."""


Names = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Subject:
    """A user: the id to send updates to, and the alias in the path. `owner`: the user is the one that this
    record belongs to."""

    app: str
    record: str
    named: Mapping[str, str] = field(default_factory=dict)
    owner: bool = False

    @property
    def identity(self) -> dict[str, str]:
        """The user's id or alias, as clients may use it to name the user."""
        return dict(self.named) if self.owner else {ONESIGNAL_ID: self.record, **self.named}

    def update(
        self,
        call: Call,
        *,
        at: int,
        place: int = 0,
        op: str = UPDATE,
        aliases: Names | None = None,
    ) -> Update:
        """An update of the user, number `place` of the request. Raises Malformed."""
        is_update = op == UPDATE
        return update_of(
            self.app,
            self.record,
            at=at,
            message_id=call.message_id(place),
            op=op,
            kind=USER if is_update else None,
            aliases={**self.named, **(aliases or {})} if is_update else None,
            owner=self.owner and is_update,
        )

    def updates(
        self, call: Call, draft: Draft, *, at: int, aliases: Names | None = None
    ) -> list[Update]:
        """The updates of the user that the draft is. Raises Malformed."""
        return updates_of(
            self.app,
            self.record,
            at=at,
            message_id=call.message_id(),
            kind=USER,
            draft=draft,
            aliases={**self.named, **(aliases or {})},
            owner=self.owner,
        )


def user(app: str, label: str, name: str) -> Subject:
    """The user of `/users/by/{label}/{name}`. Raises Malformed, and Refused 404 for an id that is
    none."""
    if label == ONESIGNAL_ID:
        record = name.lower()
        if not is_uuid(record):
            raise Refused(404, NO_SUCH_USER)
        return Subject(app, record)
    check_name(label, name)
    return Subject(app, ids.alias_id(app, USER, label, name), {label: name})


def owner(app: str, subscription: str) -> Subject:
    """The user that a subscription belongs to."""
    return Subject(app, subscription_id(subscription), owner=True)


def subscription_id(subscription: str) -> str:
    """The id in a path. Raises Refused 404 for one that no subscription has."""
    record = subscription.lower()
    if not is_uuid(record) or ids.is_alias(record):
        raise Refused(404, "there is no subscription with this id")
    return record


def token_of(kind: str, token: str) -> str:
    """A token in its normalised spelling, from which ids are made."""
    return ids.normalised(kind, token) if kind == EMAIL else token.strip()


def token_id(app: str, kind: str, token: str) -> str:
    """The id that stands for the subscription with this token."""
    return ids.alias_id(app, kind, TOKEN, token)


def somebody(call: Call, app: KnownApp, label: str, name: str) -> Subject:
    """As `user`, for a call that makes a user that is not there yet. Raises Malformed also for a name
    that is nobody's. SDKs drop what is refused so: it is counted as left out."""
    found = somebody_or_none(call, app, label, name)
    if found is None:
        call.services.left_out(app.id, call.left_out)
        raise Malformed(call.left_out.sentences[-1])
    return found


def somebody_or_none(call: Call, app: KnownApp, label: str, name: str) -> Subject | None:
    """The same, but None where an SDK sends a name that no user can have: it is noted as left out."""
    try:
        if label != ONESIGNAL_ID:
            _check_usable(label, name, app)
        return user(app.id, label, name)
    except Malformed as error:
        if not sdks.is_sdk(call.request.META):
            raise
        call.left_out.add(left_out.NAME, error)
        return None


def identity_in(call: Call, body: Mapping[str, Any], app: KnownApp) -> dict[str, str]:
    """The aliases in a body's `identity`; null is as if it were absent. A name that is nobody's or too
    long is left out, and so is what is past ALIASES_MAX. Of an SDK every name that no user can have is;
    for servers, which can correct it, that raises Malformed."""
    left = call.left_out
    identity = body.get("identity")
    if identity is None:
        return {}
    if not isinstance(identity, Mapping):
        raise Malformed("identity must be an object of label to alias")
    found = {label: name for label, name in identity.items() if name is not None}
    if len(found) > ALIASES_MAX:
        over = len(found) - ALIASES_MAX
        left.add(
            left_out.NAME,
            f"{over} aliases, because a request may set at most {ALIASES_MAX}",
            n=over,
        )
        found = dict(list(found.items())[:ALIASES_MAX])
    for label, name in list(found.items()):
        try:
            _check_usable(label, name, app)
        except UnusableName as error:
            left.add(left_out.NAME, error)
            del found[label]
        except Malformed as error:
            if not sdks.is_sdk(call.request.META):
                raise
            left.add(left_out.NAME, error)
            del found[label]
    return found


def _check_usable(label: str, name: object, app: KnownApp) -> None:
    """Raises Malformed unless a user of the app may get this name."""
    check_name(label, name)
    assert isinstance(name, str)
    if label == ONESIGNAL_ID:
        if not is_uuid(name.lower()):
            raise Malformed("identity.onesignal_id must be a UUID")
    elif nobody.is_nobody(name, app.nobody):
        raise UnusableName(f"{label:.50}: {NOBODYS.format(name)}")


def check_name(label: object, name: object) -> None:
    """Raises Malformed unless they may be an alias, UnusableName for a name that is only too long."""
    if not isinstance(label, str) or not 0 < len(label) <= KEY_CHARS_MAX:
        raise Malformed(f"an alias's label must have 1 to {KEY_CHARS_MAX} characters")
    if isinstance(name, str) and len(name) > VALUE_CHARS_MAX:
        raise UnusableName(
            f"{label:.50} has {len(name):,} characters: a name may have at most {VALUE_CHARS_MAX:,}"
        )
    if not isinstance(name, str) or not name:
        raise Malformed(f"{label:.50} must be a string of 1 to {VALUE_CHARS_MAX} characters")
    check_value(label, "an alias's label")
    check_value(name, f"{label:.50}")
    if "/identity" in name or name.endswith("/subscriptions"):
        # A path is decoded before it is read: no call could name this user.
        raise Malformed(f"{label:.50} must not contain /identity or end in /subscriptions")
