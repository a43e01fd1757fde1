"""The sender of tasks on a real Redis, with a namespace."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Queue

from ingest.dispatch import CeleryDispatcher
from notify.domain.lanes import queue_of


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
