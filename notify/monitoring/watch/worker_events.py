"""Listens to the events of Celery workers, to know which of them run and make progress."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from notify.telemetry import logs

AWAY: Final = (OperationalError, RedisError, OSError)
#: A worker sends an event every two seconds. After this long without any event we connect again.
SILENCE_S: Final = 15.0
RETRY_S: Final = 1.0
#: A worker that has not sent an event so soon after we connected is not counted as down.
SETTLE_S: Final = 5.0


class LastEvent(NamedTuple):
    """A worker's last event; `at_s` is in monotonic seconds."""

    at_s: float
    active: int
    processed: int
    offline: bool


class WorkerEvents:
    """The last event of each worker. A thread keeps it up to date; it may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, LastEvent] = {}
        self._open_since_s: float | None = None

    def note(self, event: Mapping[str, Any], *, now_s: float) -> None:
        """Takes an event; ignores it if it is not about the state of a worker."""
        kind, name = event.get("type"), event.get("hostname")
        if kind not in ("worker-online", "worker-heartbeat", "worker-offline") or not name:
            return
        heard = LastEvent(
            now_s,
            int(event.get("active") or 0),
            int(event.get("processed") or 0),
            kind == "worker-offline",
        )
        with self._lock:
            self._last[str(name)] = heard

    def last(self, *, now_s: float, forget_after_s: float) -> dict[str, LastEvent]:
        """The last event of each worker. Forgets workers without one for `forget_after_s`."""
        with self._lock:
            self._last = {
                name: each
                for name, each in self._last.items()
                if now_s - each.at_s < forget_after_s
            }
            return dict(self._last)

    def opened(self, *, now_s: float) -> None:
        """Notes that the connection to Redis is open."""
        if self._open_since_s is None:
            self._open_since_s = now_s

    def closed(self) -> None:
        """Notes that the connection to Redis is closed."""
        self._open_since_s = None

    def is_sure(self, *, now_s: float) -> bool:
        """Whether we have listened long enough that a running worker must have sent an event."""
        since_s = self._open_since_s
        return since_s is not None and now_s - since_s >= SETTLE_S


def listen(app: Celery, worker_events: WorkerEvents, stopped: threading.Event) -> None:
    """Listens until stopped. While Redis is unavailable it tries again every second."""
    was_away = False
    while not stopped.is_set():
        try:
            with app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1)
                # Only events about workers: those about tasks are hundreds of times as frequent.
                receiver = app.events.Receiver(
                    connection,
                    handlers={"*": lambda event: worker_events.note(event, now_s=time.monotonic())},
                    routing_key="worker.#",
                )
                worker_events.opened(now_s=time.monotonic())
                was_away = False
                with suppress(TimeoutError):
                    receiver.capture(limit=None, timeout=SILENCE_S, wakeup=False)
        except AWAY as error:
            worker_events.closed()
            if not was_away:
                logs.get().warning("redis_away", error=str(error))
            was_away = True
            stopped.wait(RETRY_S)
