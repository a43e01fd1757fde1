"""Connections to Redis leave one that takes no writes, and end every wait by a deadline of their own."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from kombu import Connection, Queue
from kombu.simple import SimpleQueue
from pytest_django import Settings

from devstack.services import find_redis, free_port, wait_ready
from ingest.dispatch import CeleryDispatcher
from ingest.ports import DispatcherAway, Part, Task
from notify import celery
from notify.databases import redis_client
from notify.domain.engine.lanes import queue_of
from notify.domain.engine.window import Batch
from notify.monitoring.watch.queues import Queues, ask, measure
from notify.telemetry import metrics
from notify.web.access.apps_cache import KnownApp
from notify.web.access.limits import of_settings
from tests.fake_web import APP
from tests.qa.faults.wire import Wire
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


@contextmanager
def own_redis(directory: Path) -> Iterator[str]:
    """The URL of an empty one."""
    directory.mkdir()
    found = {name: text for name, text in os.environ.items() if name != "REDIS_URL"}
    service = find_redis(directory, found)
    assert service.launch is not None
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(service.launch.argv, stdout=log, stderr=log)
        try:
            assert wait_ready(service, lambda: process.poll() is None)
            yield service.url
        finally:
            process.terminate()
            process.wait()


class Failover:
    """Two of them, and a wire at `url` that leads to the first, and after `happen` to the second."""

    def __init__(self, first: str, second: str) -> None:
        self._first, self._second = first, second
        self.wire = Wire(urlsplit(first).port or 0)
        self.url = f"redis://127.0.0.1:{self.wire.port}/0"

    def lead(self) -> None:
        """New connections go to the second one."""
        self.wire.lead_to(urlsplit(self._second).port or 0)

    def happen(self) -> None:
        """The first one is a replica from now on, and keeps its connections."""
        self.lead()
        with redis.Redis.from_url(self._first) as client:
            client.replicaof("127.0.0.1", free_port())


@pytest.fixture
def failover(tmp_path: Path) -> Iterator[Failover]:
    """Not happened yet."""
    with ExitStack() as stack:
        made = Failover(*(stack.enter_context(own_redis(tmp_path / name)) for name in "ab"))
        stack.enter_context(closing(made.wire))
        yield made


def _client(failover: Failover) -> "redis.Redis":
    return redis.Redis.from_url(
        failover.url, connection_class=redis_client.connection_class(failover.url)
    )


@pytest.mark.parametrize("how", ["a command", "a pipeline", "a script"])
def test_a_redis_that_became_a_replica_is_left(failover: Failover, how: str) -> None:
    def write(client: Any) -> None:
        if how == "a command":
            client.set("k", "v")
        elif how == "a pipeline":
            client.pipeline().set("k", "v").get("k").execute()
        else:
            client.eval("return redis.call('set', KEYS[1], 'v')", 1, "k")

    with _client(failover) as client:
        write(client)
        failover.happen()
        with pytest.raises(redis.ReadOnlyError):
            write(client)
        write(client)
        wait_for(lambda: not failover.wire.stayed())


def test_one_that_lost_its_replicas_is_left(failover: Failover) -> None:
    with _client(failover) as client, redis.Redis.from_url(failover.url) as other:
        client.set("k", "v")
        other.config_set("min-replicas-to-write", 1)
        failover.lead()
        with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            client.set("k", "v")
        client.set("k", "v")


def test_one_that_knows_no_primary_is_left(failover: Failover) -> None:
    with _client(failover) as client, redis.Redis.from_url(failover.url) as other:
        client.set("k", "v")
        other.config_set("replica-serve-stale-data", "no")
        failover.happen()
        with pytest.raises(redis.exceptions.MasterDownError):
            client.get("k")
        assert client.get("k") is None


def test_other_errors_close_nothing(failover: Failover) -> None:
    with _client(failover) as client:
        client.set("k", "v")
        failover.wire.lead_to(free_port())
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            client.lpush("k", "v")
        assert client.get("k") == b"v"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://a:1/0", redis_client.Connection),
        ("rediss://a:1/0", redis_client.SSLConnection),
    ],
)
def test_the_class_is_that_of_the_url(url: str, kind: type) -> None:
    assert redis_client.connection_class(url) is kind


@contextmanager
def _celerys(url: str, **options: Any) -> Iterator[Any]:
    """A queue on a connection that is made as bridge and workers make theirs."""
    with Connection(  # type: ignore[no-untyped-call]
        url, transport_options=celery.app.conf.broker_transport_options | options
    ) as connection:
        # Of no exchange: kombu keeps what is bound to one in Redis, and the other Redis is empty.
        yield connection.SimpleQueue(Queue("q", routing_key="q"))  # type: ignore[no-untyped-call]


def test_workers_connect_anew_after_the_error_of_one_that_became_a_replica(
    failover: Failover,
) -> None:
    with _celerys(failover.url) as reader:
        assert isinstance(reader, SimpleQueue)
        with pytest.raises(reader.Empty):
            reader.get(timeout=0.1)  # type: ignore[no-untyped-call]
        failover.happen()
        # One of those after which Celery's consumer starts again (broker_channel_error_retry).
        with pytest.raises(reader.channel.connection.client.channel_errors):
            reader.get(timeout=180)  # type: ignore[no-untyped-call]
    assert celery.app.conf.broker_channel_error_retry


def test_a_bridge_leaves_one_that_became_a_replica(failover: Failover) -> None:
    app = Celery("test", broker=failover.url)
    dispatcher = CeleryDispatcher(app, dead_letters_max=20)
    part = Part(0, 1, Batch(stream=1, lane=1, prev=-1, last=0, first=0, held_bytes=0))
    first, second, third = (Task(1, [part], attempt) for attempt in (1, 2, 3))
    with closing(app):
        dispatcher.send([first])
        assert dispatcher.queued(1) == 1
        failover.happen()
        assert dispatcher.queued(1) == 0
        with pytest.raises(DispatcherAway):
            dispatcher.send([second])
        dispatcher.send([third])
        assert dispatcher.queued(1) == 1


def test_web_leaves_one_that_became_a_replica(failover: Failover, settings: Settings) -> None:
    settings.REDIS_URL = failover.url
    settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS = 60_000
    limits = of_settings()
    # A limit below 20 is leased in no slices: each request is counted in Redis.
    app = KnownApp(APP, requests_per_s=19)
    limits.request(app)
    limits.request(app)
    failover.happen()
    before = metrics.WEB_LIMITS_ALONE._value.get()
    limits.request(app)
    assert metrics.WEB_LIMITS_ALONE._value.get() > before
    wait_for(lambda: not failover.wire.stayed())


@contextmanager
def _thread(target: Callable[[threading.Event], None]) -> Iterator[None]:
    stopped = threading.Event()
    thread = threading.Thread(target=target, args=(stopped,))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_the_watcher_reads_no_depths_of_one_that_became_a_replica(
    failover: Failover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notify.monitoring.watch.queues.DEPTHS_EVERY_S", 0.01)
    app = Celery("test", broker=failover.url)
    queues = Queues()
    queues.lanes = 1
    with redis.Redis.from_url(failover.url) as client:
        client.lpush(queue_of(0), "a", "b", "c")

    def seen() -> int:
        return queues.depths.tasks[0] if queues.depths else -1

    with closing(app), _thread(lambda stopped: measure(app, queues, stopped)):
        wait_for(lambda: seen() == 3)
        failover.happen()
        wait_for(lambda: seen() == 0)


def test_the_watcher_asks_workers_through_no_redis_that_became_a_replica(
    failover: Failover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes the question, and has no workers any more."""
    monkeypatch.setattr("notify.monitoring.watch.queues.ASK_EVERY_S", 0.01)
    monkeypatch.setattr("notify.monitoring.watch.queues.ANSWER_S", 0.1)
    app = Celery("test", broker=failover.url)
    with closing(app), _thread(lambda stopped: ask(app, Queues(), stopped)):
        wait_for(lambda: failover.wire.connections() > 0)
        failover.happen()
        wait_for(lambda: failover.wire.connections() > 0 and not failover.wire.stayed())


def test_an_ack_needs_no_redis(failover: Failover) -> None:
    """One that failed would leave a worker that takes no further task."""
    with _celerys(failover.url) as queue, redis.Redis.from_url(failover.url) as client:
        queue.put("a")
        message = queue.get(timeout=180)
        assert list(client.scan_iter("*unacked*")) == []
        failover.wire.kill_quietly()
        message.ack()


def test_a_dead_connection_that_lives_on_is_given_up(failover: Failover) -> None:
    with _celerys(failover.url, socket_timeout=5) as queue:
        queue.put("a")
        failover.wire.kill_quietly()
        with suppress(redis.TimeoutError):
            queue.put("b")
        queue.put("c")
    assert celery.app.conf.broker_transport_options["socket_timeout"] == celery.REDIS_DEADLINE_S


def test_a_wait_for_tasks_is_given_up(failover: Failover) -> None:
    options = celery.app.conf.broker_transport_options
    assert 0 < options["health_check_interval"] < celery.REDIS_DEADLINE_S
    with _celerys(failover.url, health_check_interval=1) as reader:

        def reads() -> bool:
            with suppress(redis.ConnectionError, reader.Empty):
                reader.get(timeout=1)
            return True

        assert reads()
        killed = failover.wire.kill_quietly()
        wait_for(lambda: reads() and failover.wire.quiet() < killed)
