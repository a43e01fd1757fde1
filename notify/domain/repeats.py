"""Updates that a client sent twice: counters must not count the second.

A client that got no answer sends its update again, under the same message id of its own. Values are
set to the same again, which is harmless; counters are the exception. So the ids of updates that add
to counters are remembered for some time, in the tick that decides them.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from notify.domain.patch import ADD
from notify.domain.update import Unreadable, Update


class SeenKey(NamedTuple):
    """A client's message id in its app; `digest` is the id's hash of 128 bits, as a UUID."""

    app: str
    digest: str


def key_of(message: Update | Unreadable) -> SeenKey | None:
    """What to remember of the message; None where its repetition would do no harm."""
    if isinstance(message, Unreadable) or not message.once:
        return None
    if all(op != ADD for op, _ in message.patch.ops.values()):
        return None
    digest = blake2b(message.message_id.encode(), digest_size=16).digest()
    return SeenKey(message.app, str(UUID(bytes=digest)))


def keys_of(messages: Iterable[Update | Unreadable]) -> set[SeenKey]:
    """What a chunk of messages must know whether it was seen before."""
    return {key for message in messages if (key := key_of(message)) is not None}
