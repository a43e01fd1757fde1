"""Celery workers by their events: who lives, and who gets something done."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from notify import logs

AWAY: Final = (OperationalError, RedisError, OSError)
#: Workers say something every two seconds; a line that is silent for so long is opened anew.
SILENCE_S: Final = 15.0
RETRY_S: Final = 1.0
#: What is heard so soon after the line opened tells nothing of those that were not heard.
SETTLE_S: Final = 5.0


class Heard(NamedTuple):
    """What a worker said last; `at_s` is monotonic."""

    at_s: float
    active: int
    processed: int
    offline: bool


class Ears:
    """What workers say, kept up to date by a thread. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, Heard] = {}
        self._open_since_s: float | None = None

    def note(self, event: Mapping[str, Any], *, now_s: float) -> None:
        """A worker's event; those of another kind are passed over."""
        kind, name = event.get("type"), event.get("hostname")
        if kind not in ("worker-online", "worker-heartbeat", "worker-offline") or not name:
            return
        heard = Heard(
            now_s,
            int(event.get("active") or 0),
            int(event.get("processed") or 0),
            kind == "worker-offline",
        )
        with self._lock:
            self._heard[str(name)] = heard

    def heard(self, *, now_s: float, forget_after_s: float) -> dict[str, Heard]:
        """By worker; those not heard for so long are forgotten."""
        with self._lock:
            self._heard = {
                name: each
                for name, each in self._heard.items()
                if now_s - each.at_s < forget_after_s
            }
            return dict(self._heard)

    def opened(self, *, now_s: float) -> None:
        """The line to Redis is open, from now on if it was not before."""
        if self._open_since_s is None:
            self._open_since_s = now_s

    def closed(self) -> None:
        """It is not."""
        self._open_since_s = None

    def is_sure(self, *, now_s: float) -> bool:
        """Whether a worker that is not heard would have been, if it lived."""
        since_s = self._open_since_s
        return since_s is not None and now_s - since_s >= SETTLE_S


def listen(app: Celery, ears: Ears, stopped: threading.Event) -> None:
    """Returns when stopped; while Redis is away it tries again every second."""
    was_away = False
    while not stopped.is_set():
        try:
            with app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1)
                # Workers' events only: those of tasks come hundreds of times as often.
                receiver = app.events.Receiver(
                    connection,
                    handlers={"*": lambda event: ears.note(event, now_s=time.monotonic())},
                    routing_key="worker.#",
                )
                ears.opened(now_s=time.monotonic())
                was_away = False
                with suppress(TimeoutError):
                    receiver.capture(limit=None, timeout=SILENCE_S, wakeup=False)
        except AWAY as error:
            ears.closed()
            if not was_away:
                logs.get().warning("redis_away", error=str(error))
            was_away = True
            stopped.wait(RETRY_S)
