"""Rate limits: of each app, in requests and in updates a second; of each record, if that is on.

Counting is `limits`' fixed window of one second in Redis, shared by all web processes. A request must
not wait for Redis, so a process leases a slice of an app's second at a time and counts that down in
memory: one trip for LEASES_A_WINDOW-th of the limit. While Redis is away each process counts for
itself, up to its share of the limit.

What may be admitted too much: two windows meet in any second, and a process may still hold a slice of
the window before. What may be admitted too little: slices that a process leased and did not use.
"""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import redis
from django.conf import settings
from limits import RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import FixedWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from notify import logs, metrics
from notify.web.answers import Refused
from notify.web.apps_cache import KnownApp

#: An app's second is leased in so many parts.
LEASES_A_WINDOW: Final = 20
#: A slice that was refused is not asked for again before this.
REFUSED_S: Final = 0.05
#: A Redis that failed is not asked before this.
REDIS_AGAIN_S: Final = 1.0
#: Keys that a process counts: past that it forgets them all, which admits a second's worth more.
KEYS_MAX: Final = 20_000
RETRY_AFTER_S: Final = 1
#: As clients know it.
_EXCEEDED: Final = "API rate limit exceeded."


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits a second, 0 being none. `local_percent` is what of an app's limit one process admits
    while it counts alone."""

    requests: int
    updates: int
    record_updates: int
    local_percent: int

    @classmethod
    def of_settings(cls) -> "Bounds":
        """As NOTIFY_LIMIT_... say."""
        return cls(
            requests=settings.NOTIFY_LIMIT_REQUESTS_PER_S,
            updates=settings.NOTIFY_LIMIT_UPDATES_PER_S,
            record_updates=settings.NOTIFY_LIMIT_RECORD_UPDATES_PER_S,
            local_percent=settings.NOTIFY_LIMIT_LOCAL_PERCENT,
        )


@dataclass(slots=True)
class _Lease:
    left: int = 0
    ends_s: float = 0.0
    refused_until_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class RateLimits:
    """The limits, as one process of web applies them. Thread-safe."""

    def __init__(
        self,
        bounds: Bounds,
        shared: Storage | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds = bounds
        self._clock = clock
        self._shared = None if shared is None else FixedWindowRateLimiter(shared)
        self._memory = MemoryStorage()
        self._alone = FixedWindowRateLimiter(self._memory)
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._making = threading.Lock()
        self._redis_again_s = 0.0
        self._said: dict[str, float] = {}

    def request(self, app: KnownApp) -> None:
        """Count one request of the app. Raises Refused 429."""
        limit = self._bounds.requests if app.requests_per_s is None else app.requests_per_s
        self._count("app_requests", app.id, limit, 1)

    def updates(self, app: KnownApp, records: Collection[str]) -> None:
        """Count one update of the app for each of `records`. Raises Refused 429."""
        self._count("app_updates", app.id, self._bounds.updates, len(records))
        if self._bounds.record_updates:
            for record in records:
                if not self._hit("record_updates", record, self._bounds.record_updates, 1):
                    raise self._refused("record_updates", app.id, self._bounds.record_updates)

    def __len__(self) -> int:
        """How many keys are counted in memory."""
        return len(self._leases) + len(self._memory.storage)

    def _count(self, name: str, app: str, limit: int, cost: int) -> None:
        if not limit or not cost:
            return
        lease = self._lease(name, app)
        with lease.lock:
            now = self._clock()
            if now >= lease.ends_s:
                lease.left = 0
            if lease.left < cost and now >= lease.refused_until_s:
                self._extend(lease, name, app, limit, cost, now)
            if lease.left >= cost:
                lease.left -= cost
                return
        raise self._refused(name, app, limit)

    def _extend(
        self, lease: _Lease, name: str, app: str, limit: int, cost: int, now: float
    ) -> None:
        """Lease a slice; where none is left, just what this request needs."""
        slice_ = max(1, limit // LEASES_A_WINDOW)
        wanted = max(cost, slice_)
        if self._hit(name, app, limit, wanted):
            lease.left, lease.ends_s = lease.left + wanted, now + 1.0
        else:
            lease.refused_until_s = now + REFUSED_S

    def _hit(self, name: str, key: str, limit: int, cost: int) -> bool:
        """Whether the window, wherever it is counted now, has room for so many more."""
        if self._shared is not None and self._clock() >= self._redis_again_s:
            try:
                return self._shared.hit(RateLimitItemPerSecond(limit), name, key, cost=cost)
            except (redis.RedisError, StorageError, OSError) as error:
                self._redis_again_s = self._clock() + REDIS_AGAIN_S
                metrics.WEB_LIMITS_ALONE.inc()
                logs.get().warning("limits_alone", error=type(error).__name__)
        if len(self._memory.storage) >= KEYS_MAX:
            self._memory.reset()
        share = max(1, limit * self._bounds.local_percent // 100)
        return self._alone.hit(RateLimitItemPerSecond(share), name, key, cost=cost)

    def _lease(self, name: str, app: str) -> _Lease:
        key = (name, app)
        lease = self._leases.get(key)
        if lease is None:
            with self._making:
                if len(self._leases) >= KEYS_MAX:
                    self._leases.clear()
                lease = self._leases.setdefault(key, _Lease())
        return lease

    def _refused(self, name: str, app: str, limit: int) -> Refused:
        metrics.WEB_LIMITED.labels(name).inc()
        now = self._clock()
        if now >= self._said.get(name, 0.0):
            # One line a second and limit: a storm must not become one of log lines.
            self._said[name] = now + 1.0
            logs.get().warning("rate_limited", app=app, reason=f"{name}: {limit} a second")
        return Refused(
            429,
            _EXCEEDED,
            headers={"Retry-After": str(RETRY_AFTER_S)},
            details={"limit": f"{name.replace('_', ' ')}: {limit} a second"},
        )


def of_settings() -> RateLimits:
    """As the settings say, on their Redis. It connects at its first use."""
    timeout_s = settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS / 1000
    shared = RedisStorage(
        settings.REDIS_URL,
        key_prefix=f"{settings.NOTIFY_NAMESPACE}.limits",
        wrap_exceptions=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # Its own retries sleep for seconds.
        retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type] # any option of the client is passed on
    )
    return RateLimits(Bounds.of_settings(), shared)


def none() -> RateLimits:
    """No limits."""
    return RateLimits(Bounds(0, 0, 0, 100))
