"""Celery's consumer, which takes tasks from Redis. This one publishes many task events in one message.

Celery publishes almost every event alone, and there are three for each task. This took a third of a worker's
CPU time at 1,000 updates a second (decision 0055).
"""

import time
from typing import Final

from celery.worker.consumer import Consumer

#: Seconds that an event waits for others. When 24 wait, Celery publishes them without waiting for this.
EVENTS_EVERY_S: Final = 0.5


class BatchedEventsConsumer(Consumer):  # type: ignore[misc] # Celery has no types
    """A consumer that publishes the task events of EVENTS_EVERY_S together.

    A worker that stops, or connects to Redis again, loses those that wait. Only Flower reads them.
    """

    _flushes_at = 0.0

    def on_send_event_buffered(self) -> None:
        """Called after each event."""
        now = time.monotonic()
        if now >= self._flushes_at:
            # A time and not a flag, because Celery may cancel timers when it connects again.
            self._flushes_at = now + EVENTS_EVERY_S
            self.hub.call_later(EVENTS_EVERY_S, self._flush_events)
