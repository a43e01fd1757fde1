"""Whom a path of the user model names, and the update of it.

`onesignal_id` is the user's own id or the handle that creating it was answered with; any other label is
an alias, whose id is resolved in log order. An update that names a user by an alias gives the alias to
it too, so one of a user that is not known yet makes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from notify.domain import ids, nobody
from notify.domain.errors import Malformed
from notify.domain.lanes import is_uuid
from notify.domain.update import (
    ALIASES_MAX,
    KEY_CHARS_MAX,
    TOKEN,
    UPDATE,
    USER,
    VALUE_CHARS_MAX,
    Update,
)
from notify.web import left_out
from notify.web.answers import Refused
from notify.web.apps_cache import KnownApp
from notify.web.device import EMAIL
from notify.web.draft import Draft, update_of, updates_of
from notify.web.endpoint import Call
from notify.web.identity import NO_SUCH_USER
from notify.web.left_out import LeftOut

ONESIGNAL_ID: Final = "onesignal_id"
EXTERNAL_ID: Final = "external_id"

#: Why a name is not taken.
NOBODYS: Final = (
    'the name "{:.50}" is nobody\'s: every device that sends it would be one user. If it is a user of this '
    "app, delete it from the app's names that are nobody's, in the admin"
)

Names = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Subject:
    """A user: the id to send to, and the alias that it was named by. `owner`: the user that the
    record belongs to."""

    app: str
    record: str
    named: Mapping[str, str] = field(default_factory=dict)
    owner: bool = False

    @property
    def identity(self) -> dict[str, str]:
        """How clients may name it."""
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
    """A token in its one spelling: of addresses and numbers it is the one that ids are made from."""
    return ids.normalised(kind, token) if kind == EMAIL else token.strip()


def token_id(app: str, kind: str, token: str) -> str:
    """The id that stands for the subscription with this token."""
    return ids.alias_id(app, kind, TOKEN, token)


def somebody(app: KnownApp, label: str, name: str) -> Subject:
    """As `user`, for a call that makes a user that is not there yet. Raises Malformed also for a name
    that is nobody's."""
    if label != ONESIGNAL_ID and nobody.is_nobody(name, app.nobody):
        raise Malformed(f"{label:.50}: {NOBODYS.format(name)}")
    return user(app.id, label, name)


def identity_in(body: Mapping[str, Any], app: KnownApp, left: LeftOut) -> dict[str, str]:
    """The aliases in a body's `identity`; null is as if it were absent. A name that is nobody's or too
    long is left out, and so is what is past ALIASES_MAX. Raises Malformed."""
    identity = body.get("identity")
    if identity is None:
        return {}
    if not isinstance(identity, Mapping):
        raise Malformed("identity must be an object of label to alias")
    found = {label: name for label, name in identity.items() if name is not None}
    if len(found) > ALIASES_MAX:
        over = len(found) - ALIASES_MAX
        left.add(
            left_out.NAME, f"{over} aliases, since a request gives at most {ALIASES_MAX}", n=over
        )
        found = dict(list(found.items())[:ALIASES_MAX])
    for label, name in list(found.items()):
        if isinstance(name, str) and len(name) > VALUE_CHARS_MAX:
            left.add(left_out.NAME, f"{label:.50} has more than {VALUE_CHARS_MAX} characters")
            del found[label]
            continue
        check_name(label, name)
        if label != ONESIGNAL_ID and nobody.is_nobody(name, app.nobody):
            left.add(left_out.NAME, f"{label:.50}: {NOBODYS.format(name)}")
            del found[label]
    return found


def check_name(label: object, name: object) -> None:
    """Raises Malformed unless they may be an alias."""
    if not isinstance(label, str) or not 0 < len(label) <= KEY_CHARS_MAX:
        raise Malformed(f"an alias's label has 1 to {KEY_CHARS_MAX} characters")
    if not isinstance(name, str) or not 0 < len(name) <= VALUE_CHARS_MAX:
        raise Malformed(f"{label:.50} must be a string of 1 to {VALUE_CHARS_MAX} characters")
    if "/identity" in name or name.endswith("/subscriptions"):
        # A path is decoded before it is read: no call could name this user.
        raise Malformed(f"{label:.50} must not contain /identity or end in /subscriptions")
