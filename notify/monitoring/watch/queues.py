"""Measures the lanes' queues: how many tasks wait in Redis, and how many workers read each queue."""

import threading
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from celery import Celery

from notify.domain.engine.lanes import LANES_MAX, queue_of
from notify.monitoring.watch.worker_events import AWAY
from notify.telemetry import logs

#: How often workers are asked which queues they read. They may answer within a second. An answer is valid
#: for three rounds, so that a busy worker does not count as gone.
ASK_EVERY_S: Final = 5.0
ANSWER_S: Final = 1.0
ANSWER_GOOD_S: Final = 3 * ASK_EVERY_S
DEPTHS_EVERY_S: Final = 1.0
#: How many reads use one connection. After a failover, the Redis that was the primary before still answers
#: reads on old connections, with old depths and without an error.
READS_A_CONNECTION: Final = 15
_LANE_OF: Final = {queue_of(lane): lane for lane in range(LANES_MAX)}


class Depths(NamedTuple):
    """The number of waiting tasks by lane; `at_s` is in monotonic seconds."""

    at_s: float
    tasks: Mapping[int, int]


class Queues:
    """What was measured last. `lanes` is their number; set it before the first check."""

    def __init__(self) -> None:
        self.lanes = 0
        self.depths: Depths | None = None
        self.away_since_s: float | None = None
        self._answers: dict[str, tuple[float, frozenset[int]]] = {}

    def seen(self, tasks: Mapping[int, int], *, now_s: float) -> None:
        """Notes the depths that Redis returned."""
        self.depths = Depths(now_s, tasks)
        self.away_since_s = None

    def away(self, *, now_s: float) -> None:
        """Notes that Redis did not answer, and since when."""
        if self.away_since_s is None:
            self.away_since_s = now_s

    def answered(self, answers: Mapping[str, Any], *, now_s: float) -> None:
        """Notes the answers of `inspect active_queues`, by worker."""
        fresh = {
            name: (
                now_s,
                frozenset(_LANE_OF[each["name"]] for each in of if each["name"] in _LANE_OF),
            )
            for name, of in answers.items()
        }
        kept = {
            name: each for name, each in self._answers.items() if now_s - each[0] < ANSWER_GOOD_S
        }
        self._answers = kept | fresh

    def readers(self, *, now_s: float) -> list[int | None]:
        """How many workers read each lane, of those that answered lately; None if none answered."""
        answers = [each for at_s, each in self._answers.values() if now_s - at_s < ANSWER_GOOD_S]
        if not answers:
            return [None] * self.lanes
        return [sum(lane in each for each in answers) for lane in range(self.lanes)]


def measure(app: Celery, queues: Queues, stopped: threading.Event) -> None:
    """Reads the depths every second until stopped, over its own connection, which it renews regularly."""
    while not stopped.is_set():
        try:
            with app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1)
                channel = connection.default_channel
                for _ in range(READS_A_CONNECTION):
                    if stopped.wait(DEPTHS_EVERY_S):
                        return
                    # Not passive: see ingest.dispatch.queued.
                    tasks = {
                        lane: int(channel.queue_declare(queue_of(lane)).message_count)
                        for lane in range(queues.lanes)
                    }
                    queues.seen(tasks, now_s=time.monotonic())
        except AWAY as error:
            if queues.away_since_s is None:
                logs.get().warning("redis_away", error=str(error))
            queues.away(now_s=time.monotonic())
            stopped.wait(DEPTHS_EVERY_S)


def ask(app: Celery, queues: Queues, stopped: threading.Event) -> None:
    """Asks the workers which lanes they read, until stopped. That Redis is away is said by `measure`.

    It asks on the connection that waits for the answers, which fails at a Redis that a failover made a
    replica. By itself Celery asks on another one: the replica takes the question, and no worker hears it.
    """
    app.control.mailbox.producer_pool = None
    while not stopped.is_set():
        try:
            answers = app.control.inspect(timeout=ANSWER_S).active_queues()
            queues.answered(answers or {}, now_s=time.monotonic())
        except AWAY:
            pass
        stopped.wait(ASK_EVERY_S)
