"""Rate limits on a real Redis: what several processes admit together, and what its failures cost.

Each `RateLimits` here is what one process of web has: nothing but Redis is shared between them.
"""

import contextlib
import itertools
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import redis
from pytest_django import Settings

from notify.telemetry import metrics
from notify.web.access.apps_cache import KnownApp
from notify.web.access.limits import LEASES_A_WINDOW, REDIS_AGAIN_S, RateLimits, of_settings
from notify.web.http.answers import Refused
from tests.fake_web import APP, STRICT_APP
from tests.qa.faults.wire import Wire
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(900)
PROCESSES = 3
LIMIT = 200
SLICE = LIMIT // LEASES_A_WINDOW
APP_OF_200 = KnownApp(APP, requests_per_s=LIMIT)
#: A test must not fail because the machine was slow to answer.
PATIENT_MS = 60_000


@pytest.fixture
def namespace(redis_url: str, settings: Settings) -> Iterator[str]:
    """The settings of a process of web, on keys of this test's own."""
    settings.REDIS_URL = redis_url
    settings.NOTIFY_NAMESPACE = f"t{uuid.uuid4().hex[:10]}"
    settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS = PATIENT_MS
    yield settings.NOTIFY_NAMESPACE
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(f"{settings.NOTIFY_NAMESPACE}*"):
            client.delete(key)


def admitted(limits: RateLimits, app: KnownApp) -> bool:
    """Whether one request is."""
    try:
        limits.request(app)
    except Refused:
        return False
    return True


def storm(limits: RateLimits, app: KnownApp, seconds: float, *, least: int = 0) -> list[float]:
    """When each of a storm's requests was admitted. On a busy machine it goes on until `least` were."""
    times: list[float] = []
    ends_s = time.monotonic() + seconds
    while (now := time.monotonic()) < ends_s or len(times) < least:
        if admitted(limits, app):
            times.append(now)
        else:
            time.sleep(0.001)
    return times


def test_what_processes_admit_together_is_bounded(namespace: str) -> None:
    """docs/limits.md: in any one second two windows and two slices of each process; of whole seconds
    one window each, and what each process has on credit."""
    processes = [of_settings() for _ in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as threads:
        began = time.monotonic()
        found = threads.map(lambda each: storm(each, APP_OF_200, 3.0, least=LIMIT), processes)
        times = sorted(itertools.chain.from_iterable(found))
        took_s = time.monotonic() - began
    in_a_second = max(sum(at <= each < at + 1.0 for each in times) for at in times[::10])
    assert in_a_second <= 2 * LIMIT + 2 * PROCESSES * SLICE
    assert len(times) <= LIMIT * (int(took_s) + 2) + PROCESSES * SLICE
    assert len(times) > LIMIT


def test_another_app_is_not_touched(namespace: str) -> None:
    first, second = of_settings(), of_settings()
    assert sum(admitted(first, replace(APP_OF_200, requests_per_s=1)) for _ in range(50)) < 50
    assert all(admitted(second, KnownApp(STRICT_APP)) for _ in range(50))


def test_keys_are_of_the_namespace_and_end_by_themselves(namespace: str, redis_url: str) -> None:
    limits = of_settings()
    with redis.Redis.from_url(redis_url) as client:

        def ends_ms() -> list[int]:
            admitted(limits, APP_OF_200)
            keys = client.scan_iter(f"{namespace}.limits*{APP}*")
            # -2: it has ended since the scan. -1 would be one that never ends.
            return [ms for key in keys if (ms := client.pttl(key)) != -2]

        wait_for(lambda: bool(found := ends_ms()) and all(0 <= ms <= 1_000 for ms in found))
        wait_for(lambda: not list(client.scan_iter(f"{namespace}*")))


def test_a_redis_that_forgot_its_scripts_is_told_them_again(namespace: str, redis_url: str) -> None:
    limits = of_settings()
    before = metrics.WEB_LIMITS_ALONE._value.get()
    assert sum(admitted(limits, APP_OF_200) for _ in range(SLICE * 2)) == SLICE * 2
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    assert sum(admitted(limits, APP_OF_200) for _ in range(SLICE * 2)) == SLICE * 2
    assert metrics.WEB_LIMITS_ALONE._value.get() == before


def test_a_redis_that_falls_silent_holds_up_few_requests_and_is_found_again(
    namespace: str, redis_url: str, settings: Settings
) -> None:
    """Only those wait that were the first to notice, and one a second that tries again."""
    settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS = 100
    apps = [KnownApp(f"app {n}", requests_per_s=LIMIT) for n in range(8)]
    at = urlsplit(redis_url)
    wire = Wire(at.port or 6379)
    netloc = at.netloc.removesuffix(f":{at.port}") + f":{wire.port}"
    settings.REDIS_URL = at._replace(netloc=netloc).geturl()
    with contextlib.closing(wire), ThreadPoolExecutor(len(apps)) as threads:
        limits = of_settings()
        for app in apps:
            assert all(admitted(limits, app) for _ in range(2 * SLICE))
        wire.cut()
        before, began = metrics.WEB_LIMITS_ALONE._value.get(), time.monotonic()
        times = list(threads.map(lambda app: storm(limits, app, 2.5, least=100), apps))
        seconds = time.monotonic() - began
        waited = metrics.WEB_LIMITS_ALONE._value.get() - before
        assert sum(map(len, times)) > 500
        assert 1 <= waited <= len(apps) + seconds / REDIS_AGAIN_S
        wire.heal()
        deadline_s = time.monotonic() + 300
        with redis.Redis.from_url(redis_url) as client:
            client.delete(*client.keys(f"{namespace}*") or ["none"])
            while not client.keys(f"{namespace}*"):
                assert time.monotonic() < deadline_s, "Redis is not asked again"
                storm(limits, apps[0], 0.1)
