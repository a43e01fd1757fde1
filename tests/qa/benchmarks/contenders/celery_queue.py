"""A Celery queue in Redis that holds a cell's updates before the workers start."""

import base64
import json
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import redis
from celery import Celery

#: Apart from Notify's own keys.
DATABASE: Final = 1
_CHUNK: Final = 1_000
#: Where kombu keeps what was delivered and not acknowledged.
_UNACKED: Final = "unacked"


class CeleryQueue:
    """The queue `name` of tasks that take one message."""

    def __init__(self, redis_url: str, name: str) -> None:
        base, _, _ = redis_url.rpartition("/")
        self.url = f"{base}/{DATABASE}"
        self._name = name
        self._client = redis.Redis.from_url(self.url)
        self._template: dict[str, object] = {}

    def fill(self, task: str, messages: Iterable[bytes]) -> None:
        """Empties the queue, and puts in a task a message."""
        self._client.flushdb()
        with Celery(broker=self.url) as app:
            app.send_task(task, args=("",), queue=self._name)
        self._template = json.loads(self._client.lpop(self._name))  # type: ignore[arg-type]
        rest = iter(messages)
        while chunk := list(islice(rest, _CHUNK)):
            self.put(*chunk)

    def put(self, *messages: bytes) -> None:
        """Puts in a task a message, like those that the queue was filled with."""
        tasks = [_task(self._template, message.decode()) for message in messages]
        self._client.lpush(self._name, *tasks)

    def left(self) -> int:
        """How many tasks are waiting, or are not acknowledged."""
        pipeline = self._client.pipeline()
        pipeline.llen(self._name)
        pipeline.hlen(_UNACKED)
        waiting, unacked = pipeline.execute()
        return int(waiting) + int(unacked)

    def consumers(self) -> Iterator[str]:
        """The arguments of a worker of this queue."""
        yield from ("-Q", self._name)


def _task(template: dict[str, object], message: str) -> str:
    """A task as `send_task` writes it: the same task, with its own ids and argument."""
    properties, headers = template["properties"], template["headers"]
    assert isinstance(properties, dict)
    assert isinstance(headers, dict)
    task_id = str(uuid.uuid4())
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = json.dumps([[message], {}, embed]).encode()
    return json.dumps(
        {
            **template,
            "body": base64.b64encode(body).decode(),
            "headers": {**headers, "id": task_id, "root_id": task_id, "argsrepr": "('...',)"},
            "properties": {
                **properties,
                "correlation_id": task_id,
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )
