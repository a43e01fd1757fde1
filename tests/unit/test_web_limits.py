"""Rate limits: what is admitted, what is refused, and what a Redis that is away costs."""

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis
from limits.errors import StorageError
from limits.storage import MemoryStorage
from pytest_django import Settings

from notify import metrics
from notify.web.answers import Refused
from notify.web.apps_cache import KnownApp
from notify.web.limits import (
    KEYS_MAX,
    LEASES_A_WINDOW,
    REDIS_AGAIN_S,
    Bounds,
    RateLimits,
    of_settings,
)
from tests.fake_web import APP, PLAYER, STRICT_APP, Web

A, B = KnownApp(APP), KnownApp(STRICT_APP)
BOUNDS = Bounds(requests=100, updates=0, record_updates=0, local_percent=50)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Shared(MemoryStorage):
    """Redis, counted in memory: how often it was asked, and whether it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.away = False
        self.hangs_s = 0.0

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        self.asked += 1
        time.sleep(self.hangs_s)
        if self.away:
            raise StorageError(ConnectionError("away"))
        return super().incr(key, expiry, amount)


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def shared() -> Iterator[Shared]:
    """An empty Redis."""
    return Shared()  # type: ignore[return-value]


Lines = list[tuple[str, str | None]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Every line that is logged: its event and app."""
    found: Lines = []

    class Log:
        def log(self, event: str, **fields: object) -> None:
            found.append((event, str(fields["app"]) if "app" in fields else None))

        info = warning = error = log

    monkeypatch.setattr("notify.logs.get", Log)
    return found


def admitted(limits: RateLimits, app: KnownApp, tries: int) -> int:
    """How many of so many requests were."""
    count = 0
    for _ in range(tries):
        try:
            limits.request(app)
        except Refused as refused:
            if refused.status != 429:
                raise
        else:
            count += 1
    return count


def test_an_apps_requests_are_limited_and_others_are_not(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    assert admitted(limits, A, 250) == 100
    assert admitted(limits, B, 50) == 50
    with pytest.raises(Refused) as refused:
        limits.request(A)
    assert refused.value.headers == {"Retry-After": "1"}
    assert refused.value.details == {"limit": "app requests: 100 a second"}


def test_a_request_is_counted_in_memory_and_a_slice_in_redis(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    assert admitted(limits, A, 100) == 100
    assert shared.asked == LEASES_A_WINDOW
    assert admitted(limits, A, 1_000) == 0
    assert shared.asked == LEASES_A_WINDOW + 1


def test_processes_share_the_limit(clock: Clock, shared: Shared) -> None:
    first, second = (RateLimits(BOUNDS, shared, clock=clock) for _ in range(2))
    got = [admitted(limits, A, 1) for _ in range(150) for limits in (first, second)]
    slice_ = BOUNDS.requests // LEASES_A_WINDOW
    assert 100 - slice_ < sum(got) <= 100


def test_what_is_left_of_a_slice_ends_with_its_second(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    admitted(limits, A, 1)
    clock.now += 1.0
    shared.away = True
    clock_before = shared.asked
    admitted(limits, A, 1)
    assert shared.asked == clock_before + 1


def test_refused_processes_ask_again_soon(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    admitted(limits, A, 101)
    shared.reset()
    assert admitted(limits, A, 1) == 0
    clock.now += 0.06
    assert admitted(limits, A, 1) == 1


def test_an_app_may_have_its_own_limit(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    few = replace(A, requests_per_s=3)
    assert admitted(limits, few, 10) == 3
    assert admitted(limits, replace(B, requests_per_s=0), 500) == 500


def test_without_limits_nothing_is_counted(shared: Shared) -> None:
    limits = RateLimits(Bounds(0, 0, 0, 100), shared)
    assert admitted(limits, A, 1_000) == 1_000
    limits.updates(A, [PLAYER] * 1_000)
    assert (shared.asked, len(limits)) == (0, 0)


# -- updates ---------------------------------------------------------------------------------------


def test_updates_are_limited_whatever_requests_they_come_in(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(replace(BOUNDS, updates=1_000), shared, clock=clock)
    limits.updates(A, [PLAYER] * 400)
    limits.updates(A, [PLAYER] * 600)
    with pytest.raises(Refused) as refused:
        limits.updates(A, [PLAYER])
    assert refused.value.details == {"limit": "app updates: 1000 a second"}
    limits.updates(B, [PLAYER])


def test_a_record_is_limited_where_that_is_on(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(replace(BOUNDS, record_updates=2), shared, clock=clock)
    limits.updates(A, [PLAYER, PLAYER, APP])
    with pytest.raises(Refused) as refused:
        limits.updates(A, [PLAYER])
    assert refused.value.details == {"limit": "record updates: 2 a second"}
    limits.updates(A, [APP])


# -- Redis away ------------------------------------------------------------------------------------


def test_alone_a_process_admits_its_share(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    shared.away = True
    assert admitted(limits, A, 250) == 50


def test_a_redis_that_is_away_is_asked_once_a_second(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    shared.away = True
    admitted(limits, A, 40)
    admitted(limits, B, 40)
    assert shared.asked == 1
    clock.now += REDIS_AGAIN_S
    shared.away = False
    admitted(limits, A, 40)
    assert shared.asked > 1


def test_a_redis_that_hangs_holds_up_one_request_of_many(shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared)
    shared.away, shared.hangs_s = True, 0.05
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: admitted(limits, A, 20), range(8)))
    assert shared.asked == 1


# -- bounded ---------------------------------------------------------------------------------------


def test_a_storm_of_many_apps_and_records_is_kept_in_bounded_memory(clock: Clock) -> None:
    limits = RateLimits(replace(BOUNDS, record_updates=5), clock=clock)
    most = 0
    for n in range(KEYS_MAX + 5_000):
        app = KnownApp(f"app {n}")
        limits.request(app)
        limits.updates(app, [f"record {n}"])
        most = max(most, len(limits))
    assert KEYS_MAX <= most <= 2 * KEYS_MAX


def test_a_storm_is_logged_once_a_second(clock: Clock, shared: Shared, lines: Lines) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    admitted(limits, A, 500)
    clock.now += 0.5
    admitted(limits, A, 500)
    assert lines == [("rate_limited", APP)]


def test_many_threads_get_no_more_than_the_limit(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    start = threading.Barrier(16)

    def storm(_: int) -> int:
        start.wait(10)
        return admitted(limits, A, 50)

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(storm, range(16))) == 100


# -- as it is answered -----------------------------------------------------------------------------


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it, and one request a second for each app."""
    web = Web.with_fakes(monkeypatch)
    bounds = Bounds(requests=1, updates=2, record_updates=0, local_percent=100)
    services = replace(web.services, limits=RateLimits(bounds, clock=Clock()))
    monkeypatch.setattr("notify.web.wiring.services", lambda: services)
    return web


def test_a_call_past_the_limit_is_answered_429_and_sends_nothing(web: Web, lines: Lines) -> None:
    path, body = f"/players/{PLAYER}", {"app_id": APP, "tags": {"a": "1"}}
    assert web.call("PUT", path, body).status == 200
    answer = web.call("PUT", path, body)
    assert answer.status == 429
    assert answer.headers["Retry-After"] == "1"
    assert answer.body["errors"] == ["API rate limit exceeded."]
    assert answer.body["limit"] == "app requests: 1 a second"
    assert answer.body["request_id"]
    # The refusal is logged where it is counted, and not again by the endpoint.
    assert [line for line in lines if line[0] != "apps_read"] == [("rate_limited", APP)]
    assert len(web.sent()) == 1


def test_a_batch_past_the_limit_sends_none_of_it(web: Web) -> None:
    items = [{"record": PLAYER, "tags": {"a": "1"}}] * 3
    answer = web.call("POST", f"/apps/{APP}/batch", {"updates": items}, key=web.secret)
    assert (answer.status, answer.body["limit"]) == (429, "app updates: 2 a second")
    assert web.sent() == []


# -- on a real client of Redis ---------------------------------------------------------------------


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.timeout(20)
def test_a_redis_that_is_not_there_or_says_nothing_is_done_without(
    silent: bool, settings: Settings
) -> None:
    """The client's own retries and waits would take seconds a request."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not silent:
            server.close()
        settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
        limits = of_settings()
        before = metrics.WEB_LIMITS_ALONE._value.get()
        assert admitted(limits, A, 300) == 300
        assert metrics.WEB_LIMITS_ALONE._value.get() == before + 1


def test_processes_count_in_one_redis(redis_url: str, settings: Settings) -> None:
    settings.REDIS_URL = redis_url
    settings.NOTIFY_NAMESPACE = f"t{uuid.uuid4().hex[:10]}"
    settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS = 5_000
    processes = [of_settings(), of_settings()]
    few = replace(A, requests_per_s=20)
    starts_s = time.monotonic()
    count = sum(admitted(limits, few, 30) for limits in processes)
    if time.monotonic() - starts_s < 0.8:  # else a second window has begun
        assert count == 20
    with redis.Redis.from_url(redis_url) as client:
        keys = [key.decode() for key in client.scan_iter(f"{settings.NOTIFY_NAMESPACE}*")]
    assert all(key.startswith(f"{settings.NOTIFY_NAMESPACE}.limits") for key in keys)
