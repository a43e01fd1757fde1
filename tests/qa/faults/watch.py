"""Looks at the stack four times a second while a row runs: positions, queues, memory."""

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil
import psycopg
import redis

from devstack.stack import Stack
from notify.domain.engine.lanes import LANES_MAX, queue_of
from notify.domain.engine.window import WINDOW_OFFSETS

EVERY_S: Final = 0.25
_STREAMS: Final = """
    SELECT partition, frontier, planned, array_agg(lane.last ORDER BY lane)
    FROM stream JOIN lane ON lane.stream = stream.id GROUP BY 1, 2, 3 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may never be exceeded, in whatever row. `rss_bytes` is one process with its children."""

    window_offsets: int = WINDOW_OFFSETS
    queued_tasks: int = 4_000
    rss_bytes: int = 500 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StreamLook:
    """A stream and its lanes, of one snapshot."""

    partition: int
    frontier: int
    planned: int
    lasts: Sequence[int]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one time (monotonic); what did not answer is empty."""

    at: float
    streams: Sequence[StreamLook]
    queued: int
    rss: Mapping[str, int]

    def beyond(self, bounds: Bounds) -> list[str]:
        """What exceeds the bounds."""
        found = [
            f"partition {stream.partition} holds {stream.planned - stream.frontier} offsets"
            for stream in self.streams
            if stream.planned - stream.frontier > bounds.window_offsets
        ]
        if self.queued > bounds.queued_tasks:
            found.append(f"{self.queued} tasks are queued")
        found += [
            f"{name} takes {size >> 20} MB"
            for name, size in self.rss.items()
            if size > bounds.rss_bytes
        ]
        return found


class Watch:
    """The looks of a row, from `start` to `stop`; on its own connections, past any cut wire."""

    def __init__(self, stack: Stack, *, dsn: str, redis_url: str, namespace: str) -> None:
        self._stack = stack
        self._dsn = dsn
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=1, socket_connect_timeout=1)
        self._queues = [f"{namespace}.{queue_of(lane)}" for lane in range(LANES_MAX)]
        self._sql: psycopg.Connection | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.looks: list[Look] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Returns after the last look."""
        self._stopping.set()
        self._thread.join(30)
        if self._sql is not None:
            self._sql.close()
        self._redis.close()

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            self.looks.append(Look(time.monotonic(), self._streams(), self._queued(), self._rss()))

    def _streams(self) -> list[StreamLook]:
        try:
            if self._sql is None:
                self._sql = psycopg.connect(
                    self._dsn,
                    autocommit=True,
                    connect_timeout=2,
                    options="-c statement_timeout=2000",
                    keepalives_idle=2,
                    tcp_user_timeout=3000,
                )
            return [StreamLook(*row) for row in self._sql.execute(_STREAMS)]
        except psycopg.Error:
            if self._sql is not None:
                self._sql.close()
                self._sql = None
            return []

    def _queued(self) -> int:
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for queue in self._queues:
                    pipe.llen(queue)
                return sum(pipe.execute())
        except (redis.RedisError, OSError):
            return 0

    def _rss(self) -> dict[str, int]:
        found = {}
        for name, identity in list(self._stack.identities().items()):
            if name.startswith(("web", "bridge", "worker")):
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(identity.pid)
                    family = [process, *process.children(recursive=True)]
                    found[name] = sum(each.memory_info().rss for each in family)
        return found
