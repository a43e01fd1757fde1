"""Builds updates from what clients send.

Each update goes through `update.check`, which the bridge uses too, so web cannot write what the bridge would
refuse. For calls of SDKs, a draft first leaves out values because of which `check` would refuse the whole
update.
"""

import random
from collections.abc import Mapping
from typing import Any, Final

from notify.domain.errors import Malformed
from notify.domain.records import update as updates
from notify.domain.records.patch import ADD, IDENTIFIER, PROPERTIES, REMOVE, SET, TAGS
from notify.domain.records.update import TAGS_MAX, UPDATE, VERSION, Update
from notify.web.http.answers import Refused
from notify.web.resources import left_out
from notify.web.resources.left_out import LeftOut

#: Tags that one request may remove. An old SDK sends every tag that it ever removed with each request.
TAG_REMOVALS_MAX: Final = 1_000


class Draft:
    """A patch that is being built. With `left_out`, values that cannot be stored are left out and noted
    there; without, they are checked later.

    A message changes at most TAGS_MAX tags. Removed tags do not count against this limit: those that do
    not fit into the first message go into further messages (`rest`).
    """

    def __init__(self, left_out: LeftOut | None = None) -> None:
        self._left_out = left_out
        self._set: dict[str, Any] = {}
        self._removed: list[str] = []
        self._added: dict[str, Any] = {}
        self._tags: dict[str, Any] = {}
        self._removed_tags: list[str] = []

    def put(self, key: str, value: object) -> None:
        """Sets the key, or removes it for null (5.x) or an empty string (4.x). Call it once for each key."""
        if key != IDENTIFIER and self._refuses(left_out.PROPERTY, key, value):
            return
        if value is None or value == "":
            self._removed.append(key)
        else:
            self._set[key] = value

    def put_tags(self, tags: object) -> None:
        """Puts the object `tags` of a body; null counts as absent."""
        over = removals_over = 0
        for name, value in _object(tags, "tags").items():
            if self._refuses(left_out.TAG, TAGS + name, value):
                continue
            if value is None or value == "":
                if self._left_out is not None and len(self._removed_tags) >= TAG_REMOVALS_MAX:
                    removals_over += 1
                else:
                    self._removed_tags.append(TAGS + name)
            elif self._left_out is not None and len(self._tags) >= TAGS_MAX:
                over += 1
            else:
                self._tags[name] = value
        for n, words in (
            (over, f"a request may set at most {TAGS_MAX} tags"),
            (removals_over, f"a request may remove at most {TAG_REMOVALS_MAX:,} tags"),
        ):
            if n and self._left_out is not None:
                self._left_out.add(left_out.TAG, f"{n} tags, because {words}", n=n)

    def put_properties(self, properties: object) -> None:
        """Puts an object of properties; null counts as absent."""
        for key, value in _object(properties, "properties").items():
            self.put(PROPERTIES + key, value)

    def add(self, counter: str, n: object) -> None:
        """Adds to a counter. Call it once for each counter."""
        self._added[counter] = n

    @property
    def adds(self) -> bool:
        """Whether the draft adds to a counter."""
        return bool(self._added)

    @property
    def shown(self) -> dict[str, Any]:
        """The properties that the draft sets, and `tags` if it sets any."""
        found = {key.removeprefix(PROPERTIES): value for key, value in self._set.items()}
        return found | ({"tags": dict(self._tags)} if self._tags else {})

    def wire(self) -> dict[str, Any]:
        """The patch of the first message as `check` reads it."""
        set_ = self._set | {TAGS + name: value for name, value in self._tags.items()}
        parts = {
            SET: set_,
            REMOVE: self._removed + self._removed_tags[: self._room],
            ADD: self._added,
        }
        return {op: part for op, part in parts.items() if part}

    def rest(self) -> list["Draft"]:
        """Drafts of the removed tags that do not fit into the first message."""
        found = []
        for first in range(self._room, len(self._removed_tags), TAGS_MAX):
            part = Draft()
            part._removed_tags = self._removed_tags[first : first + TAGS_MAX]
            found.append(part)
        return found

    @property
    def _room(self) -> int:
        return max(0, TAGS_MAX - len(self._tags))

    def _refuses(self, what: str, key: str, value: object) -> bool:
        """Leaves the key out if its value cannot be stored, and returns whether it did."""
        if self._left_out is None:
            return False
        try:
            updates.check_key(key)
            updates.check_value("" if value is None else value, key)
        except Malformed as error:
            self._left_out.add(what, error)
            return True
        return False


def _object(value: object, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Malformed(f"{name} must be an object")
    return value


def update_of(
    app: str,
    record: str,
    *,
    at: int,
    message_id: str | None = None,
    op: str = UPDATE,
    kind: str | None = None,
    draft: Draft | None = None,
    links: Mapping[str, Any] | None = None,
    aliases: Mapping[str, Any] | None = None,
    owner: bool = False,
) -> Update:
    """The checked update. A given message id is the client's own, so the update is counted once; without
    one, a new id is made. Raises Malformed."""
    fields: dict[str, Any] = {
        "v": VERSION,
        "op": op,
        "message_id": message_id or _message_id(),
        "app": app,
        "record": record,
        "at": at,
    }
    if kind is not None:
        fields["kind"] = kind
    if draft is not None and (wire := draft.wire()):
        fields["patch"] = wire
    if links:
        fields["links"] = links
    if aliases:
        fields["aliases"] = aliases
    if owner:
        fields["owner"] = True
    if message_id and draft is not None and draft.adds:
        fields["once"] = True
    return updates.check(fields)


def _message_id() -> str:
    """A unique message id, a UUID of version 4. It need not be secret, so it is made without the system
    call of `uuid4`, and without the `UUID` object, which takes four times as long."""
    digits = f"{random.getrandbits(120):030x}"
    variant = "89ab"[random.getrandbits(2)]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-{variant}{digits[15:18]}-{digits[18:30]}"


def updates_of(
    app: str,
    record: str,
    *,
    at: int,
    kind: str | None,
    draft: Draft,
    owner: bool = False,
    **first: Any,
) -> list[Update]:
    """The update of the draft, with the other arguments of `update_of`, and more for the tags that find
    no place in it. Raises Malformed."""
    return [
        update_of(app, record, at=at, kind=kind, draft=draft, owner=owner, **first),
        *(
            update_of(app, record, at=at, kind=kind, draft=part, owner=owner)
            for part in draft.rest()
        ),
    ]


def encoded(update: Update) -> bytes:
    """The message value. Raises Refused 413 if it is longer than the bridge accepts."""
    value = updates.encode(update)
    if len(value) > updates.UPDATE_BYTES_MAX:
        raise Refused(
            413,
            f"the update is stored in more than {updates.UPDATE_BYTES_MAX} bytes: send it in parts",
        )
    return value
