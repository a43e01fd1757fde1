"""Recognises updates that a client sent twice, so that counters count them once.

A client that gets no answer sends its update again with the same message id. Setting values again is
harmless, but adding to a counter again is not. So the tick that decides an update that adds to counters
remembers its message id for some time.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from notify.domain.records.patch import ADD
from notify.domain.records.update import Unreadable, Update


class SeenKey(NamedTuple):
    """A client's message id in its app; `digest` is the id's hash of 128 bits, as a UUID."""

    app: str
    digest: str


def key_of(message: Update | Unreadable) -> SeenKey | None:
    """The key to remember the message by; None if repeating it does no harm."""
    if isinstance(message, Unreadable) or not message.once:
        return None
    if all(op != ADD for op, _ in message.patch.ops.values()):
        return None
    digest = blake2b(message.message_id.encode(), digest_size=16).digest()
    return SeenKey(message.app, str(UUID(bytes=digest)))


def keys_of(messages: Iterable[Update | Unreadable]) -> set[SeenKey]:
    """The keys of a chunk of messages, for which the tick must know whether they were seen before."""
    return {key for message in messages if (key := key_of(message)) is not None}
