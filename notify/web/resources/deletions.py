"""Shares through Redis which deletions were accepted lately, between all processes of web.

This is only a hint. If Redis is unavailable or loses it, other processes learn of a deletion when they read
the list of deleted records again (`deleted`).
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import redis
from django.conf import settings

from notify.databases import redis_client

#: For how many seconds the last deletions are kept, longer than the time between two reads of the list, and
#: about how many. A process asks once a second if it has requests.
KEPT_S: Final = 600
KEPT_MAX: Final = 10_000

#: The ids of an app and of its record.
Deleted = tuple[str, str]


class DeletionsUnavailable(Exception):
    """Redis does not answer in time."""


class Deletions(Protocol):
    """The deletions that processes of web tell each other."""

    def tell(self, deleted: Sequence[Deleted]) -> None:
        """Shares that these deletions were accepted. Raises DeletionsUnavailable."""
        ...

    def heard(self) -> Sequence[Deleted]:
        """The deletions that were shared since the last call; at the first call, those that are kept.

        Raises DeletionsUnavailable.
        """
        ...


class RedisDeletions:
    """`Deletions` in a stream of Redis. Connects at its first use; one thread at a time calls `heard`."""

    def __init__(self, client: "redis.Redis", key: str) -> None:
        self._client = client
        self._key = key
        self._last = "0-0"

    def tell(self, deleted: Sequence[Deleted]) -> None:
        try:
            with self._client.pipeline(transaction=False) as commands:
                for app, record in deleted:
                    commands.xadd(self._key, {"app": app, "record": record}, maxlen=KEPT_MAX)
                commands.expire(self._key, KEPT_S)
                commands.execute()
        except redis.RedisError as error:
            raise DeletionsUnavailable(type(error).__name__) from error

    def heard(self) -> Sequence[Deleted]:
        try:
            found: Any = self._client.xread({self._key: self._last}, count=KEPT_MAX)
        except redis.RedisError as error:
            raise DeletionsUnavailable(type(error).__name__) from error
        # By the protocol's version, {key: [entries]} or [[key, entries]].
        parts = (
            found[self._key] if isinstance(found, dict) and found else [each[1] for each in found]
        )
        entries = parts[0] if parts else []
        if entries:
            self._last = entries[-1][0]
        return [(fields["app"], fields["record"]) for _, fields in entries]

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._client.close()


def of_settings() -> RedisDeletions:
    """The deletions in REDIS_URL, with the same timeout as rate limits."""
    timeout_s = settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS / 1000
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        **redis_client.options(settings.REDIS_URL, timeout_s=timeout_s),
    )
    return RedisDeletions(client, f"{settings.NOTIFY_NAMESPACE}.deleted")
