"""Orders are carried out while the watcher is_leader, whatever a step does."""

import threading

import pytest

from notify.monitoring.watch import orders
from notify.monitoring.watch.orders import carry_out


def test_a_step_that_fails_is_tried_again_and_the_end_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orders, "EVERY_S", 0.001)
    is_leader, stopped, steps = threading.Event(), threading.Event(), []
    is_leader.set()

    def step() -> None:
        steps.append(1)
        if len(steps) == 5:
            stopped.set()
        if len(steps) % 2:
            raise ValueError("Kafka is away")

    carry_out(step, is_leader, stopped)
    assert len(steps) == 5


def test_one_that_stands_by_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "EVERY_S", 0.001)
    stopped, steps = threading.Event(), []
    threading.Timer(0.05, stopped.set).start()
    carry_out(lambda: steps.append(1), threading.Event(), stopped)
    assert steps == []
