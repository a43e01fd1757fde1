"""How the children of a worker, which run its tasks, end."""

from types import SimpleNamespace

import billiard
import billiard.pool
import pytest
from celery.signals import worker_process_init

from notify.celery import LAST_RESULTS_S


def test_a_child_waits_for_its_parent_no_longer_than_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """billiard's own 30 s are longer than many a supervisor waits. If this fails after an upgrade, look
    at `_ensure_messages_consumed` in billiard/pool.py."""
    slept: list[float] = []
    monkeypatch.setattr(billiard.pool, "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT", 300)
    # Not `sleep` of the time module itself: other threads sleep too.
    monkeypatch.setattr(billiard.pool, "time", SimpleNamespace(sleep=slept.append))
    worker_process_init.send(sender=None)
    pipes = billiard.get_context()
    unheard = pipes.Value("i", 0)
    child = billiard.pool.Worker(pipes.SimpleQueue(), pipes.SimpleQueue(), on_ready_counter=unheard)
    child._ensure_messages_consumed(completed=1)
    assert sum(slept) == pytest.approx(LAST_RESULTS_S)
