"""The sender of tasks on a real Redis, with a namespace."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest
import redis
from celery import Celery
from kombu import Queue

from devstack.services import free_port
from ingest.dispatch import TASKS_AT_ONCE, CeleryDispatcher
from ingest.ports import DispatcherAway, Part, Task
from notify import celery
from notify.celery import APPLY
from notify.domain.engine.lanes import queue_of
from notify.domain.engine.window import Batch
from notify.domain.records.decide import Write
from notify.domain.records.patch import ADD, Patch

APP: Final = "11111111-1111-4111-8111-111111111111"
RECORD: Final = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """An application with a namespace of its own, as notify.celery has it."""
    prefix = f"t{uuid.uuid4().hex[:10]}."
    app = Celery("test", broker=redis_url)
    app.conf.update(
        task_queues=[Queue(queue_of(lane)) for lane in range(4)],  # type: ignore[no-untyped-call]
        broker_transport_options={"global_keyprefix": prefix, "priority_steps": [0]},
        task_ignore_result=True,
    )
    yield app
    app.close()
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


def test_the_tasks_that_wait_in_a_lanes_queue_are_counted(app: Celery) -> None:
    dispatcher = CeleryDispatcher(app, dead_letters_max=20)
    assert dispatcher.queued(1) == 0
    for _ in range(3):
        app.send_task("workers.apply", kwargs={"v": 1}, queue=queue_of(1))
    found: list[Any] = [dispatcher.queued(lane) for lane in range(3)]
    assert found == [0, 3, 0]


def _task(lane: int, last: int) -> Task:
    write = Write(APP, RECORD, Patch(False, {"session_count": (ADD, last)}))
    batch = Batch(1, lane, last - 1, last, last, 1, merged=(write,))
    return Task(lane, [Part(0, 11, batch)], attempt=1)


def test_the_tasks_of_one_send_wait_in_the_order_of_their_lane(app: Celery) -> None:
    dispatcher = CeleryDispatcher(app, dead_letters_max=20)
    many = TASKS_AT_ONCE + 1  # more than one pipeline
    dispatcher.send([_task(0, 7), *(_task(1, last) for last in range(many))])
    assert [dispatcher.queued(lane) for lane in range(3)] == [1, many, 0]
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(queue_of(1), no_ack=True)
        for last in range(many):
            received = queue.get(timeout=180)
            _, body, _ = received.payload
            assert received.headers["task"] == APPLY
            assert body["segments"] == [[1, 0, 11, last - 1, last]]
            assert json.loads(body["rows"])[0]["session_count"] == last


def test_redis_that_cannot_be_reached_is_away() -> None:
    app = Celery("test", broker=f"redis://127.0.0.1:{free_port()}/0")
    with closing(app), pytest.raises(DispatcherAway, match="refused"):
        CeleryDispatcher(app, dead_letters_max=20).send([_task(0, 1)])


def test_tasks_go_to_redis_in_one_pipeline(redis_url: str) -> None:
    """kombu does so unless an option lets redis-py repeat commands; then each task is a round trip."""
    options = celery.app.conf.broker_transport_options
    with closing(Celery("test", broker=redis_url)) as app:
        app.conf.broker_transport_options = options
        with app.producer_or_acquire() as producer:
            assert producer.channel  # connects
            assert producer.supports_batch_publish
