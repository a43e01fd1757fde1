"""An update in the making: from what clients send to the wire fields that `check` reads.

Everything goes through `update.check`, the parser that the bridge uses too, so web cannot write
what the bridge would refuse.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from notify.domain import update as updates
from notify.domain.errors import Malformed
from notify.domain.patch import ADD, PROPERTIES, REMOVE, SET, TAGS
from notify.domain.update import UPDATE, VERSION, Update
from notify.web.answers import Refused


class Draft:
    """A patch in wire form. Values are checked later, all in one place."""

    def __init__(self) -> None:
        self._set: dict[str, Any] = {}
        self._removed: list[str] = []
        self._added: dict[str, Any] = {}

    def put(self, key: str, value: object) -> None:
        """Set the key, or remove it for null (5.x) or an empty string (4.x). Once a key."""
        if value is None or value == "":
            self._removed.append(key)
        else:
            self._set[key] = value

    def put_tags(self, tags: object) -> None:
        """The object `tags` of a body; null is as if it were absent."""
        self._put_all(TAGS, tags, "tags")

    def put_properties(self, properties: object) -> None:
        """An object of properties; null is as if it were absent."""
        self._put_all(PROPERTIES, properties, "properties")

    def add(self, counter: str, n: object) -> None:
        """Add to a counter. Once a counter."""
        self._added[counter] = n

    @property
    def adds(self) -> bool:
        """Whether it adds to a counter."""
        return bool(self._added)

    def _put_all(self, prefix: str, values: object, name: str) -> None:
        if values is None:
            return
        if not isinstance(values, Mapping):
            raise Malformed(f"{name} must be an object")
        for key, value in values.items():
            self.put(prefix + key, value)

    def wire(self) -> dict[str, Any]:
        """The patch as `check` reads it."""
        parts = {SET: self._set, REMOVE: self._removed, ADD: self._added}
        return {op: part for op, part in parts.items() if part}


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
    """The checked update. A message id that is given is the client's own, which is counted once; one
    is made where none is given. Raises Malformed."""
    fields: dict[str, Any] = {
        "v": VERSION,
        "op": op,
        "message_id": message_id or str(uuid.uuid4()),
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


def encoded(update: Update) -> bytes:
    """The message value. Raises Refused 413 for one that the bridge would not read."""
    value = updates.encode(update)
    if len(value) > updates.UPDATE_BYTES_MAX:
        raise Refused(413, f"the update has more than {updates.UPDATE_BYTES_MAX} bytes as stored")
    return value
