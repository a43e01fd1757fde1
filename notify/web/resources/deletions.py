"""Shares through Redis in which apps something was deleted lately, between all processes of web.

This is only a hint. If Redis is unavailable or loses it, other processes notice a deletion when their
remembered records expire (`deleted`).
"""

import secrets
from collections.abc import Mapping
from typing import Final, Protocol

import redis
from django.conf import settings

from notify.databases import redis_client

#: How long a hint is kept; each process asks far more often.
KEPT_S: Final = 60


class DeletionsUnavailable(Exception):
    """Redis does not answer in time."""


class Deletions(Protocol):
    """The hints that processes of web share."""

    def tell(self, app: str) -> None:
        """Shares that a deletion in the app was accepted. Raises DeletionsUnavailable."""
        ...

    def heard(self) -> Mapping[str, str]:
        """The newest hint of each app in the last KEPT_S; it changes with each deletion.

        Raises DeletionsUnavailable.
        """
        ...


class RedisDeletions:
    """`Deletions` in a hash of Redis. Connects at its first use."""

    def __init__(self, client: "redis.Redis", key: str) -> None:
        self._client = client
        self._key = key

    def tell(self, app: str) -> None:
        try:
            with self._client.pipeline(transaction=False) as both:
                both.hset(self._key, app, secrets.token_hex(8))
                both.expire(self._key, KEPT_S)
                both.execute()
        except redis.RedisError as error:
            raise DeletionsUnavailable(type(error).__name__) from error

    def heard(self) -> Mapping[str, str]:
        try:
            found = self._client.hgetall(self._key)
        except redis.RedisError as error:
            raise DeletionsUnavailable(type(error).__name__) from error
        return {str(app): str(hint) for app, hint in found.items()}

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
    return RedisDeletions(client, f"{settings.NOTIFY_NAMESPACE}.deletions")
