"""Of which apps something was deleted lately: a word of one process of web to all, by way of Redis.

It is a hint. Redis being away, or a word that is lost, means only that others hear of a deletion when
what they remember of the app's records is too old anyway (`deleted`).
"""

import secrets
from collections.abc import Mapping
from typing import Final, Protocol

import redis
from django.conf import settings

from notify import redis_client

#: A word is kept for so long; each process asks far more often.
KEPT_S: Final = 60


class Away(Exception):
    """Redis does not answer in time."""


class Deletions(Protocol):
    """What processes of web tell each other."""

    def tell(self, app: str) -> None:
        """A deletion in the app was accepted. Raises Away."""
        ...

    def heard(self) -> Mapping[str, str]:
        """The newest word of each app of the last KEPT_S: another one for each deletion. Raises Away."""
        ...


class RedisDeletions:
    """`Deletions` in one hash of Redis. Connects at its first use."""

    def __init__(self, client: "redis.Redis", key: str) -> None:
        self._client = client
        self._key = key

    def tell(self, app: str) -> None:
        """Deletions.tell."""
        try:
            with self._client.pipeline(transaction=False) as both:
                both.hset(self._key, app, secrets.token_hex(8))
                both.expire(self._key, KEPT_S)
                both.execute()
        except redis.RedisError as error:
            raise Away(type(error).__name__) from error

    def heard(self) -> Mapping[str, str]:
        """Deletions.heard."""
        try:
            found = self._client.hgetall(self._key)
        except redis.RedisError as error:
            raise Away(type(error).__name__) from error
        return {str(app): str(word) for app, word in found.items()}

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._client.close()


def of_settings() -> RedisDeletions:
    """On REDIS_URL, with the patience that limits have with it."""
    timeout_s = settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS / 1000
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        **redis_client.options(settings.REDIS_URL, timeout_s=timeout_s),
    )
    return RedisDeletions(client, f"{settings.NOTIFY_NAMESPACE}.deletions")
