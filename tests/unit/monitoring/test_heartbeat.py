"""The heartbeat beats while the watcher completes checks, and only then."""

import pytest

from notify.monitoring.watch.heartbeat import Heartbeat
from tests.receivers import Hook, webhook


class Watcher:
    """Its last complete check."""

    def __init__(self, hook: Hook) -> None:
        self.checked_at_s: float | None = 0.0
        self.heartbeat = Heartbeat(hook.url, lambda: self.checked_at_s, every_s=60, timeout_s=5)

    def second(self, second: float) -> None:
        self.heartbeat.round(now_s=second)


def test_it_beats_every_so_often_while_looks_go_on() -> None:
    with webhook() as hook:
        watcher = Watcher(hook)
        for second in range(121):
            watcher.checked_at_s = second
            watcher.second(second)
        assert len(hook.bodies) == 3


@pytest.mark.parametrize("checked_at_s", [None, 39.0], ids=["stands by", "hangs"])
def test_it_stops_when_checks_stop(checked_at_s: float | None) -> None:
    with webhook() as hook:
        watcher = Watcher(hook)
        watcher.checked_at_s = checked_at_s
        watcher.second(100)
        assert hook.bodies == []
        watcher.checked_at_s = 40.0
        watcher.second(100)
        assert len(hook.bodies) == 1


def test_a_receiver_that_fails_is_said_once_and_beaten_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    class Log:
        def warning(self, event: str, **fields: object) -> None:
            events.append(event)

    monkeypatch.setattr("notify.telemetry.logs.get", Log)
    with webhook(500, 500) as hook:
        watcher = Watcher(hook)
        for second in (0, 1, 60, 120):
            watcher.checked_at_s = second
            watcher.second(second)
        assert (hook.refused, len(hook.bodies)) == (2, 1)
    assert events == ["heartbeat_failed"]
