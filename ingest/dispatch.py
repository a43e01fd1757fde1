"""The bridge's `Dispatcher` on Celery: it alone sends tasks, by name, to the queue of their lane."""

from collections.abc import Sequence
from typing import Final

from celery import Celery
from kombu import Producer
from kombu.exceptions import OperationalError
from kombu.transport.redis import BatchPublishError
from redis.exceptions import RedisError

from ingest import task_body
from ingest.ports import DispatcherAway, Task
from notify.celery import APPLY, ISOLATE
from notify.domain.engine.lanes import queue_of
from notify.domain.engine.task import MergedTask, encode

#: A Redis that is full (OOM) or read-only causes errors of redis-py, which kombu does not translate.
_AWAY: Final = (OperationalError, BatchPublishError, RedisError, OSError)
#: So many tasks go to Redis in one pipeline. One has at most NOTIFY_TASK_BYTES, plus its envelope.
TASKS_AT_ONCE: Final = 16


class CeleryDispatcher:
    """Sends tasks through the app's connection pool. Redis may lose, repeat and reorder them."""

    def __init__(self, app: Celery, *, dead_letters_max: int) -> None:
        self._app = app
        self._dead_letters_max: Final = dead_letters_max

    def send(self, tasks: Sequence[Task]) -> None:
        try:
            # In one round trip, which a round with 8 tasks and more needs.
            with (
                self._app.producer_or_acquire() as producer,
                producer.batch(max_size=TASKS_AT_ONCE),
            ):
                for task in tasks:
                    self._publish(producer, task)
        except _AWAY as error:
            # kombu's own text says no more than that a pipeline failed.
            raise DispatcherAway(str(error.__cause__ or error)) from error

    def _publish(self, producer: Producer, task: Task) -> None:
        body = task_body.of(task, dead_letters_max=self._dead_letters_max)
        self._app.send_task(
            APPLY if isinstance(body, MergedTask) else ISOLATE,
            kwargs=encode(body),
            queue=queue_of(task.lane),
            producer=producer,
            retry=False,
            ignore_result=True,
            argsrepr="()",
            kwargsrepr=task_body.describe(task),
        )

    def queued(self, lane: int) -> int:
        try:
            # Uses a new connection. On an old one, a Redis that was the primary before a failover would
            # return its old depth without an error, and a batch is not sent again while many tasks wait.
            with self._app.connection_for_write() as connection:
                # Not passive: then kombu 5.7 would look for the queue without its namespace and find none.
                declared = connection.default_channel.queue_declare(queue_of(lane))
                return int(declared.message_count)
        except _AWAY as error:
            raise DispatcherAway(str(error)) from error
