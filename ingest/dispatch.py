"""The bridge's `Dispatcher` on Celery: it alone sends tasks, by name, to the queue of their lane."""

from collections.abc import Sequence
from typing import Any, Final

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from ingest.ports import DispatcherAway, Part
from notify.celery import APPLY, ISOLATE
from notify.domain import rows
from notify.domain.lanes import queue_of

#: A Redis that is full (OOM) or read-only causes errors of redis-py, which kombu does not translate.
_AWAY: Final = (OperationalError, RedisError, OSError)


class CeleryDispatcher:
    """Sends tasks through the app's connection pool. Redis may lose, repeat and reorder them."""

    def __init__(self, app: Celery, *, dead_letters_max: int) -> None:
        self._app = app
        self._dead_letters_max: Final = dead_letters_max

    def send(self, lane: int, parts: Sequence[Part], *, attempt: int) -> None:
        body: dict[str, Any] = {
            "v": rows.WIRE_VERSION,
            "lane": lane,
            "attempt": attempt,
            "segments": [
                [
                    part.batch.stream,
                    part.partition,
                    part.token,
                    part.batch.prev,
                    part.batch.last,
                ]
                for part in parts
            ],
        }
        isolated = parts[0].batch.isolated
        if isolated:
            name = ISOLATE
            body["originals"] = [
                (offset, rows.row(parts[0].batch.stream, write), message.decode())
                for offset, write, message in isolated
            ]
            body["dead_letters_max"] = self._dead_letters_max
        else:
            name = APPLY
            merged = [
                rows.row(part.batch.stream, write) for part in parts for write in part.batch.merged
            ]
            body["rows"] = rows.as_text(merged)
            body["fields"] = rows.fields(merged)
        try:
            self._app.send_task(
                name,
                kwargs=body,
                queue=queue_of(lane),
                retry=False,
                ignore_result=True,
                argsrepr="()",
                kwargsrepr=describe(lane, parts, attempt=attempt),
            )
        except _AWAY as error:
            raise DispatcherAway(str(error)) from error

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


def describe(lane: int, parts: Sequence[Part], *, attempt: int) -> str:
    """A description of a task for Flower and logs: its lane, offsets and number of rows, but no content."""
    ranges = " ".join(f"p{part.partition}({part.batch.prev}..{part.batch.last}]" for part in parts)
    count = sum(part.batch.rows for part in parts)
    again = "" if attempt == 1 else f" send {attempt}"
    alone = " isolated" if parts[0].batch.isolated else ""
    return f"lane {lane:02d} {ranges} {count} rows{alone}{again}"
