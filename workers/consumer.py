"""Celery's consumer, which takes tasks from Redis, with one message to Flower for many task events.

Celery publishes each event alone, at least three for each task. This took a third of a worker's CPU time
at 1,000 updates a second (docs/performance.md).
"""

import time
from typing import Any, Final

from celery.worker.consumer import Consumer

#: Seconds that an event waits for others. Celery publishes 24 that wait at once.
EVENTS_EVERY_S: Final = 0.5


class BatchedEventsConsumer(Consumer):  # type: ignore[misc] # Celery has no types
    """A consumer that publishes the task events of EVENTS_EVERY_S together.

    A worker that is killed loses those that wait; Flower alone reads them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._flushes_at = 0.0

    def on_send_event_buffered(self) -> None:
        """Called after each event."""
        now = time.monotonic()
        if self.hub and now >= self._flushes_at:
            # By time and not by a flag: a lost connection to Redis drops the hub's timers.
            self._flushes_at = now + EVENTS_EVERY_S
            self.hub.call_later(EVENTS_EVERY_S, self._flush_events)
