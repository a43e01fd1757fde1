"""Rate limits: for each app in requests and in updates a second, and for each record if configured.

Redis counts in fixed windows of one second (by the library `limits`), shared by all web processes. So
that not every request waits for Redis, a process leases a slice of an app's limit, which is one
LEASES_A_WINDOW-th, and counts it down in memory. The first slice after a second without requests is taken
on credit: it is counted in Redis together with the next slice, so a quiet app never asks Redis. Example
for a limit of 1,000 requests a second, which makes slices of 50:

    request 1          a slice of 50 on credit, without Redis; 49 are left
    requests 2-50      counted in memory
    request 51         one trip to Redis: it counts 50 for the credit and 50 for a new slice
    request 101, ...   one trip for every 50 requests
    Redis is at 1,000  429; this process asks again after REFUSED_S

While Redis is unavailable or slow, each process counts on its own, up to its share of the limit, and one
request a second tries Redis again.

The limits are not exact. Too much may be admitted, because any second overlaps two windows, and a process
may still have a slice of the last window and one on credit. Too little may be admitted, because a process
may not use all of a slice that it leased.
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
from limits.storage import RedisStorage, Storage
from limits.strategies import FixedWindowRateLimiter

from notify.databases import redis_client
from notify.telemetry import logs, metrics
from notify.web.access.apps_cache import KnownApp
from notify.web.access.rejection_counts import RefusedRequests
from notify.web.http.answers import Refused

#: Into how many slices an app's limit for one second is divided.
LEASES_A_WINDOW: Final = 20
#: After Redis refuses a slice, the process does not ask for another one before this.
REFUSED_S: Final = 0.05
#: After Redis failed or was slow, it is not asked before this, and then by one request only.
REDIS_AGAIN_S: Final = 1.0
#: How many keys a process counts, and of how many apps it keeps slices. With more it forgets them all,
#: which admits up to one more second's worth of requests.
KEYS_MAX: Final = 20_000
RETRY_AFTER_S: Final = 1
#: The text that OneSignal's API uses, which clients may compare.
_EXCEEDED: Final = "API rate limit exceeded."


@dataclass(frozen=True, slots=True)
class RateBounds:
    """The limits a second; 0 means no limit. `local_percent`: the share of an app's limit that one process
    admits while it counts without Redis."""

    requests: int
    updates: int
    record_updates: int
    local_percent: int

    @classmethod
    def of_settings(cls) -> "RateBounds":
        """The limits of the settings NOTIFY_LIMIT_..."""
        return cls(
            requests=settings.NOTIFY_LIMIT_REQUESTS_PER_S,
            updates=settings.NOTIFY_LIMIT_UPDATES_PER_S,
            record_updates=settings.NOTIFY_LIMIT_RECORD_UPDATES_PER_S,
            local_percent=settings.NOTIFY_LIMIT_LOCAL_PERCENT,
        )


class _LocalCounts:
    """Counts in windows of one second in this process's memory, for at most KEYS_MAX keys. Thread-safe.

    It replaces the library's MemoryStorage, whose own thread now and then dies because other threads
    removed keys.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._second = 0
        self._lock = threading.Lock()

    def hit(self, key: tuple[str, str], limit: int, *, cost: int, now: float) -> bool:
        """Counts `cost` if the present second has room for it, and returns whether it has."""
        with self._lock:
            if int(now) != self._second or len(self._counts) >= KEYS_MAX:
                self._second, self._counts = int(now), {}
            count = self._counts.get(key, 0) + cost
            if count > limit:
                return False
            self._counts[key] = count
            return True

    def __len__(self) -> int:
        return len(self._counts)


@dataclass(slots=True)
class _Lease:
    left: int = 0
    #: The size of a slice that is not counted in Redis yet.
    credit: int = 0
    ends_s: float = 0.0
    refused_until_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class RateLimits:
    """Applies the rate limits in one process of web. Thread-safe."""

    def __init__(
        self,
        bounds: RateBounds,
        shared: Storage | None = None,
        *,
        slow_s: float = 1.0,
        refused: RefusedRequests | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds = bounds
        self._counter = refused
        self._clock = clock
        self._slow_s = slow_s
        self._shared = None if shared is None else FixedWindowRateLimiter(shared)
        self._alone = _LocalCounts()
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._making = threading.Lock()
        #: When Redis may be asked again; 0 while it answers.
        self._redis_again_s = 0.0
        self._asking = threading.Lock()
        self._said: dict[str, float] = {}

    def request(self, app: KnownApp) -> None:
        """Counts one request of the app. Raises Refused 429."""
        limit = self._bounds.requests if app.requests_per_s is None else app.requests_per_s
        self._count("app_requests", app.id, limit, 1)

    def give_back(self, app: KnownApp) -> None:
        """Uncounts a request that was refused because it is invalid: requests that anybody can send in the
        app's name must not use up the limit of its devices."""
        lease = self._leases.get(("app_requests", app.id))
        if lease is not None:
            with lease.lock:
                lease.left += 1

    def updates(self, app: KnownApp, records: Collection[str]) -> None:
        """Counts one update of the app for each of `records`. Raises Refused 429."""
        self._count("app_updates", app.id, self._bounds.updates, len(records))
        if self._bounds.record_updates:
            for record in records:
                # Two apps may name the same id.
                key = f"{app.id}/{record}"
                if not self._grant("record_updates", key, self._bounds.record_updates, 1):
                    raise self._refused("record_updates", app.id, self._bounds.record_updates)

    def __len__(self) -> int:
        """How many keys are counted in memory."""
        return len(self._leases) + len(self._alone)

    def _count(self, name: str, app: str, limit: int, cost: int) -> None:
        if not limit or not cost:
            return
        # A batch that is larger than the limit uses up a whole second; otherwise it would never be admitted.
        cost = min(cost, limit)
        lease = self._lease(name, app)
        with lease.lock:
            now = self._clock()
            if now >= lease.ends_s:
                lease.left = lease.credit = min(limit // LEASES_A_WINDOW, self._share(limit))
                lease.ends_s = now + 1.0
            if lease.left < cost and now >= lease.refused_until_s:
                self._extend(lease, name, app, limit, cost, now)
            if lease.left >= cost:
                lease.left -= cost
                return
        raise self._refused(name, app, limit)

    def _extend(
        self, lease: _Lease, name: str, app: str, limit: int, cost: int, now: float
    ) -> None:
        used = lease.credit - lease.left if lease.credit else 0
        kept = 0 if lease.credit else lease.left
        granted = self._grant(
            name, app, limit, cost, slice_=limit // LEASES_A_WINDOW, owed=max(0, used)
        )
        if granted:
            lease.left, lease.credit, lease.ends_s = kept + granted, 0, now + 1.0
        else:
            lease.refused_until_s = now + REFUSED_S

    def _grant(
        self, name: str, key: str, limit: int, cost: int, *, slice_: int = 0, owed: int = 0
    ) -> int:
        """Takes `cost` or more from the present window, in Redis or in memory. Returns how much; 0 if it is
        full. `owed`, which was used on credit, is counted too.

        Redis grants whole slices only: the library also counts what it refuses, so the rest of a window
        that is smaller than a slice is not used.
        """
        if self._shared is not None and self._may_ask():
            wanted = max(cost, slice_)
            window = RateLimitItemPerSecond(limit)
            asked_s = self._clock()
            try:
                has_room = self._shared.hit(window, name, key, cost=wanted + owed)
            except (redis.RedisError, StorageError, OSError) as error:
                self._away(type(error).__name__)
            else:
                self._answered(self._clock() - asked_s)
                return wanted if has_room else 0
        share = self._share(limit)
        counted = min(cost, share) + owed
        has_room = self._alone.hit((name, key), share, cost=counted, now=self._clock())
        return cost if has_room else 0

    def _share(self, limit: int) -> int:
        """How much of a limit this process may admit without Redis."""
        return max(1, limit * self._bounds.local_percent // 100)

    def _may_ask(self) -> bool:
        """Whether to ask Redis: always while it answers, else by one request every REDIS_AGAIN_S."""
        if not self._redis_again_s:
            return True
        with self._asking:
            now = self._clock()
            if now < self._redis_again_s:
                return False
            self._redis_again_s = now + REDIS_AGAIN_S
            return True

    def _answered(self, took_s: float) -> None:
        if took_s > self._slow_s:
            self._away("slow")
        else:
            self._redis_again_s = 0.0

    def _away(self, error: str) -> None:
        with self._asking:
            has_answered = not self._redis_again_s
            self._redis_again_s = self._clock() + REDIS_AGAIN_S
        metrics.WEB_LIMITS_ALONE.inc()
        if has_answered:
            logs.get().warning("limits_alone", error=error)

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
        if self._counter is not None:
            self._counter.count(app, name)
        now = self._clock()
        if now >= self._said.get(name, 0.0):
            # At most one line a second for each limit, so that a flood of requests does not flood the log.
            self._said[name] = now + 1.0
            logs.get().warning("rate_limited", app=app, reason=f"{name}: {limit} a second")
        return Refused(
            429,
            _EXCEEDED,
            headers={"Retry-After": str(RETRY_AFTER_S)},
            details={"limit": f"{name.replace('_', ' ')}: {limit} a second"},
        )


def of_settings(refused: RefusedRequests | None = None) -> RateLimits:
    """The limits of the settings, counted in the Redis of the settings. `refused` counts refusals. Connects
    at its first use."""
    timeout_s = settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS / 1000
    shared = RedisStorage(
        settings.REDIS_URL,
        key_prefix=f"{settings.NOTIFY_NAMESPACE}.limits",
        wrap_exceptions=True,
        **redis_client.options(settings.REDIS_URL, timeout_s=timeout_s),
    )
    return RateLimits(RateBounds.of_settings(), shared, slow_s=timeout_s, refused=refused)


def none() -> RateLimits:
    """Rate limits that admit everything."""
    return RateLimits(RateBounds(0, 0, 0, 100))
