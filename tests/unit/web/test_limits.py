"""Rate limits: what is admitted, what is refused, and what a Redis that is away costs."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from limits.errors import StorageError
from limits.storage import MemoryStorage
from pytest_django import Settings
from structlog.testing import CapturingLogger

from notify.kafka.producer import KafkaUnavailable
from notify.telemetry import metrics
from notify.web.access.apps_cache import KnownApp
from notify.web.access.limits import (
    KEYS_MAX,
    LEASES_A_WINDOW,
    REDIS_AGAIN_S,
    RateBounds,
    RateLimits,
    of_settings,
)
from notify.web.http.answers import Refused
from notify.web.http.endpoint import REFUSED_LINES_PER_S, RefusalLog
from tests.fake_web import APP, PLAYER, STRICT_APP, Answer, Web

A, B = KnownApp(APP), KnownApp(STRICT_APP)
BOUNDS = RateBounds(requests=100, updates=0, record_updates=0, local_percent=50)
SLICE = BOUNDS.requests // LEASES_A_WINDOW


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

    monkeypatch.setattr("notify.telemetry.logs.get", Log)
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
    assert shared.asked == LEASES_A_WINDOW - 1
    assert admitted(limits, A, 1_000) == 0
    assert shared.asked == LEASES_A_WINDOW


def test_quiet_apps_are_not_counted_in_redis_at_all(clock: Clock, shared: Shared) -> None:
    """Very many apps with a request a second each would cost a trip for every one."""
    limits = RateLimits(replace(BOUNDS, updates=100), shared, clock=clock)
    for _ in range(3):
        for n in range(100):
            app = KnownApp(f"app {n}")
            for _ in range(SLICE):
                limits.request(app)
                limits.updates(app, [PLAYER])
        clock.now += 1.0
    assert shared.asked == 0


def test_what_was_used_on_credit_is_counted_with_the_next_slice(
    clock: Clock, shared: Shared
) -> None:
    processes = [RateLimits(BOUNDS, shared, clock=clock) for _ in range(4)]
    assert sum(admitted(limits, A, 2 * SLICE) for limits in processes) == 8 * SLICE
    assert sum(shared.storage.values()) == 8 * SLICE


def test_credit_comes_after_a_seconds_silence_only(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    assert admitted(limits, A, SLICE + 1) == SLICE + 1
    for _ in range(10):
        clock.now += 0.9
        asked = shared.asked
        admitted(limits, A, SLICE)
        assert shared.asked == asked + 1


def test_processes_share_the_limit(clock: Clock, shared: Shared) -> None:
    first, second = (RateLimits(BOUNDS, shared, clock=clock) for _ in range(2))
    got = [admitted(limits, A, 1) for _ in range(150) for limits in (first, second)]
    assert 100 - SLICE < sum(got) <= 100


def test_what_is_left_of_a_slice_ends_with_its_second(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    admitted(limits, A, SLICE + 1)
    assert shared.asked == 1
    clock.now += 1.0
    admitted(limits, A, SLICE)
    assert shared.asked == 1
    admitted(limits, A, 1)
    assert shared.asked == 2


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
    limits = RateLimits(RateBounds(0, 0, 0, 100), shared)
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


@pytest.mark.parametrize("alone", [False, True])
def test_a_batch_larger_than_the_limit_takes_a_whole_second(
    clock: Clock, shared: Shared, alone: bool
) -> None:
    """Otherwise its client would try for ever."""
    limits = RateLimits(replace(BOUNDS, updates=100), shared, clock=clock)
    shared.away = alone
    limits.updates(A, [PLAYER] * 500)
    with pytest.raises(Refused):
        limits.updates(A, [PLAYER])


def test_a_record_is_limited_where_that_is_on(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(replace(BOUNDS, record_updates=2), shared, clock=clock)
    limits.updates(A, [PLAYER, PLAYER, APP])
    with pytest.raises(Refused) as refused:
        limits.updates(A, [PLAYER])
    assert refused.value.details == {"limit": "record updates: 2 a second"}
    limits.updates(A, [APP])


@pytest.mark.parametrize("alone", [False, True])
def test_a_record_of_another_app_is_another_record(
    clock: Clock, shared: Shared, alone: bool
) -> None:
    limits = RateLimits(replace(BOUNDS, record_updates=1), None if alone else shared, clock=clock)
    limits.updates(A, [PLAYER])
    limits.updates(B, [PLAYER])
    with pytest.raises(Refused):
        limits.updates(A, [PLAYER])


# -- Redis away ------------------------------------------------------------------------------------


def test_alone_a_process_admits_its_share(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    shared.away = True
    assert admitted(limits, A, 250) == 50


def test_a_small_share_is_not_given_out_in_slices(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(replace(BOUNDS, local_percent=1), shared, clock=clock)
    shared.away = True
    assert admitted(limits, A, 100) == 1


def test_alone_each_second_counts_anew(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, clock=clock)
    for _ in range(3):
        assert admitted(limits, A, 100) == 50
        clock.now += 1.0


def test_an_outage_is_logged_once(clock: Clock, shared: Shared, lines: Lines) -> None:
    limits = RateLimits(replace(BOUNDS, local_percent=100), shared, clock=clock)
    for away in (True, True, True, False, True):
        shared.away = away
        admitted(limits, A, 10)
        clock.now += REDIS_AGAIN_S
    assert lines == [("limits_alone", None)] * 2


def test_a_slow_redis_counts_as_away(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, slow_s=0.05, clock=clock)
    answer = shared.incr

    def slowly(key: str, expiry: float, amount: int = 1) -> int:
        clock.now += 0.06
        return answer(key, expiry, amount)

    shared.incr = slowly  # type: ignore[method-assign]
    assert admitted(limits, A, 40) == 40
    assert shared.asked == 1


def test_of_many_requests_one_tries_whether_redis_is_back(clock: Clock, shared: Shared) -> None:
    """Else 24 threads would wait for it once a second."""
    # Too few to be given credit.
    limits = RateLimits(replace(BOUNDS, requests=10), shared, clock=clock)
    shared.away = True
    admitted(limits, A, 1)
    clock.now += REDIS_AGAIN_S
    shared.hangs_s = 0.05
    start = threading.Barrier(8)

    def ask(n: int) -> int:
        start.wait(10)
        return admitted(limits, KnownApp(f"app {n}"), 1)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) == 8
    assert shared.asked == 2


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
    for n in range(2 * KEYS_MAX + 1_000):
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


def test_a_request_that_is_given_back_makes_room_for_another(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    for _ in range(500):
        limits.request(A)
        limits.give_back(A)
    assert admitted(limits, A, 500) == 100
    limits.give_back(A)
    assert admitted(limits, A, 2) == 1


def test_what_is_given_back_ends_with_its_second(clock: Clock, shared: Shared) -> None:
    limits = RateLimits(BOUNDS, shared, clock=clock)
    limits.give_back(A)
    limits.request(A)
    clock.now += 1.0
    limits.give_back(A)
    assert admitted(limits, A, 500) == 100


# -- as it is answered -----------------------------------------------------------------------------


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it, and one request a second for each app."""
    web = Web.with_fakes(monkeypatch)
    bounds = RateBounds(requests=1, updates=2, record_updates=0, local_percent=100)
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


def test_junk_does_not_use_up_what_an_apps_devices_may_send(web: Web) -> None:
    path = f"/players/{PLAYER}"
    for _ in range(3):
        assert web.call("PUT", path, {"app_id": APP, "tags": 7}).status == 400
        good, wrong = {"app_id": APP, "tags": {"a": "1"}}, {"Idempotency-Key": "two words"}
        assert web.call("PUT", path, good, headers=wrong).status == 400
    web.reads.away = True
    assert web.call("PUT", path, {"app_id": APP, "tags": {"a": "1"}}).status == 200
    assert web.call("PUT", path, {"app_id": APP, "tags": 7}).status == 429


def test_what_is_refused_because_a_service_is_away_counts(web: Web) -> None:
    """Its clients send it again."""
    web.producer.fails = KafkaUnavailable("away")
    path, body = f"/players/{PLAYER}", {"app_id": APP, "tags": {"a": "1"}}
    assert [web.call("PUT", path, body).status for _ in range(2)] == [503, 429]


def test_refusals_are_logged_so_many_a_second_and_the_others_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger, clock = CapturingLogger(), Clock()
    monkeypatch.setattr("notify.telemetry.logs.get", lambda: logger)
    refusals = RefusalLog(clock=clock)
    for _ in range(REFUSED_LINES_PER_S + 7):
        refusals.log("player", "PUT", 400, "trace", 0.1)
    assert len(logger.calls) == REFUSED_LINES_PER_S
    clock.now += 1
    for _ in range(2):
        refusals.log("player", "PUT", 400, "trace", 0.1)
    assert [call.kwargs["left_out"] for call in logger.calls[-3:]] == [None, 7, None]


def test_a_batch_past_the_limit_sends_none_of_it(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = RateBounds(requests=0, updates=3, record_updates=0, local_percent=100)
    services = replace(web.services, limits=RateLimits(bounds, clock=Clock()))
    monkeypatch.setattr("notify.web.wiring.services", lambda: services)

    def batch(items: int) -> Answer:
        updates = [{"record": PLAYER, "tags": {"a": "1"}}] * items
        return web.call("POST", f"/apps/{APP}/batch", {"updates": updates}, key=web.secret)

    assert batch(2).status == 202
    answer = batch(2)
    assert (answer.status, answer.body["limit"]) == (429, "app updates: 3 a second")
    assert len(web.sent()) == 2


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
