"""redis-py's connections, but a Redis that takes no more writes is left.

After a failover the address leads to another Redis, and connections that were made before stay with the
old one. That answers each write with an error and closes nothing, so redis-py, which keeps a connection
that answers, would stay there for good. Such a connection is closed when its command is over: the next one
opens another, to where the address leads now. Celery needs none of this: kombu opens a new connection after
any error of Redis.
"""

from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError, ReadOnlyError, ResponseError
from redis.retry import Retry

#: How answers begin that say that this is not, or no more, the Redis to write to; where redis-py has a
#: class for one it leaves the word out.
_LEFT: Final = ("READONLY", "MASTERDOWN", "NOREPLICAS")


class _LeavesReplicas(redis.Connection):
    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Reads a response. If Redis says that it accepts no writes, the connection is opened again."""
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as error:
            if isinstance(error, ReadOnlyError | MasterDownError) or str(error).startswith(_LEFT):
                self.mark_for_reconnect()  # type: ignore[no-untyped-call]
            raise


class Connection(_LeavesReplicas):
    """A TCP connection."""


class SSLConnection(_LeavesReplicas, redis.SSLConnection):
    """A connection with TLS."""


def connection_class(url: str) -> type[redis.Connection]:
    """The connection class for a client of this URL."""
    return SSLConnection if urlsplit(url).scheme == "rediss" else Connection


def options(url: str, *, timeout_s: float) -> dict[str, Any]:
    """The options of a client of this URL that a request waits for: it fails within `timeout_s`.

    redis-py's own retries sleep for seconds, so there are none.
    """
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "connection_class": connection_class(url),
    }
