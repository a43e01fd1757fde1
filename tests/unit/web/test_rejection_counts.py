"""Requests refused at a rate limit are counted by app, and never at a request's cost."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from notify.kafka.producer import KafkaUnavailable, Overloaded
from notify.web import wiring
from notify.web.access.apps_cache import KnownApp
from notify.web.access.limits import RateBounds, RateLimits
from notify.web.access.rejection_counts import UNAVAILABLE, Counts, RefusedRequests
from notify.web.http.answers import Refused
from tests.fake_web import APP, PLAYER, STRICT_APP, Web
from tests.waiting import wait_for

A, B = KnownApp(APP), KnownApp(STRICT_APP)


class Written:
    """What was written, and what PostgreSQL does instead: it is away, or it hangs."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.times = 0
        self.away = False
        self.hangs = threading.Event()
        self.hangs.set()

    def __call__(self, counts: Counts) -> None:
        self.times += 1
        assert self.hangs.wait(30)
        if self.away:
            raise psycopg.OperationalError("away")
        self.counts.update(counts)


def test_each_refusal_is_counted_by_app_and_limit() -> None:
    written = Written()
    refused = RefusedRequests(written, every_s=0.01)
    bounds = RateBounds(requests=10, updates=20, record_updates=5, local_percent=100)
    limits = RateLimits(bounds, refused=refused, clock=lambda: 1_000.0)

    def is_refused(request: RateLimits, app: KnownApp, records: int) -> bool:
        try:
            request.updates(app, [PLAYER] * records) if records else request.request(app)
        except Refused:
            return True
        return False

    assert [is_refused(limits, A, 0) for _ in range(14)].count(True) == 4
    assert [is_refused(limits, B, 0) for _ in range(11)].count(True) == 1
    assert [is_refused(limits, A, 1) for _ in range(8)].count(True) == 3
    assert is_refused(limits, A, 20)
    refused.close()
    assert written.counts == {
        (APP, "app_requests"): 4,
        (STRICT_APP, "app_requests"): 1,
        (APP, "record_updates"): 3,
        (APP, "app_updates"): 1,
    }


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        (Overloaded("full"), "overloaded"),
        (KafkaUnavailable("away"), "kafka_away"),
        (ZeroDivisionError(), "bug"),
        (None, "postgres_away"),
    ],
)
def test_each_503_is_counted_by_its_reason(
    monkeypatch: pytest.MonkeyPatch, fails: Exception | None, reason: str
) -> None:
    written = Written()
    web = Web.with_fakes(monkeypatch)
    refused = RefusedRequests(written, every_s=1_000)
    services = replace(web.services, refused=refused)
    monkeypatch.setattr(wiring, "services", lambda: services)
    web.producer.fails, web.reads.away = fails, fails is None
    if fails is None:
        answer = web.call("GET", f"/players/{PLAYER}?app_id={APP}", key=web.secret)
    else:
        answer = web.call("PUT", f"/players/{PLAYER}", {"app_id": APP})
    assert answer.status == 503
    refused.close()
    assert written.counts == {(UNAVAILABLE, reason): 1}


def test_none_is_lost_between_threads() -> None:
    written = Written()
    refused = RefusedRequests(written, every_s=0.001)

    def count() -> None:
        for _ in range(2_000):
            refused.count(APP, "app_requests")

    with ThreadPoolExecutor(8) as threads:
        for _ in range(8):
            threads.submit(count)
    refused.close()
    assert written.counts == {(APP, "app_requests"): 16_000}


def test_without_a_refusal_nothing_is_written_and_no_thread_runs() -> None:
    written = Written()
    before = threading.active_count()
    refused = RefusedRequests(written, every_s=0.001)
    assert threading.active_count() == before
    refused.flush()
    refused.close()
    assert written.times == 0


def test_a_request_does_not_wait_for_postgresql() -> None:
    written = Written()
    written.hangs.clear()
    refused = RefusedRequests(written, every_s=0.001)
    refused.count(APP, "app_requests")
    wait_for(lambda: written.times == 1)
    for _ in range(100):
        refused.count(APP, "app_requests")
    written.hangs.set()
    refused.close()
    assert written.counts == {(APP, "app_requests"): 101}


def test_what_postgresql_did_not_take_is_not_said_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    class Log:
        def warning(self, event: str, **fields: object) -> None:
            events.append(event)

    monkeypatch.setattr("notify.telemetry.logs.get", Log)
    written = Written()
    written.away = True
    refused = RefusedRequests(written, every_s=1_000)
    for _ in range(3):
        refused.count(APP, "app_requests")
        refused.flush()
    assert events == ["refused_not_written"]
    written.away = False
    refused.count(APP, "app_requests")
    refused.close()
    assert written.counts == {(APP, "app_requests"): 1}


def test_it_ends_with_its_process() -> None:
    refused = RefusedRequests(Written(), every_s=1_000)
    refused.count(APP, "app_requests")
    refused.close()
    assert "refused" not in {thread.name for thread in threading.enumerate()}
