"""Task events for Flower are published together."""

from collections.abc import Callable

import pytest

from notify.celery import app
from workers.consumer import EVENTS_EVERY_S, BatchedEventsConsumer


class _Hub:
    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.timers.append((delay, callback))


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> BatchedEventsConsumer:
    """As far as events go; the time stands still."""
    made = BatchedEventsConsumer.__new__(BatchedEventsConsumer)
    made.hub = _Hub()
    monkeypatch.setattr("workers.consumer.time.monotonic", lambda: 100.0)
    return made


def test_workers_use_it() -> None:
    assert app.conf.worker_consumer == "workers.consumer:BatchedEventsConsumer"


def test_events_of_the_same_time_are_published_once(consumer: BatchedEventsConsumer) -> None:
    for _ in range(3):
        consumer.on_send_event_buffered()
    assert consumer.hub.timers == [(EVENTS_EVERY_S, consumer._flush_events)]


def test_a_lost_timer_does_not_stop_events(
    consumer: BatchedEventsConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery may cancel timers when it connects to Redis again."""
    consumer.on_send_event_buffered()
    consumer.hub.timers.clear()
    monkeypatch.setattr("workers.consumer.time.monotonic", lambda: 100.0 + EVENTS_EVERY_S)
    consumer.on_send_event_buffered()
    assert len(consumer.hub.timers) == 1
