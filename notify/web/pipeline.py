"""Whether updates move from Kafka to rows, judged by what the `stream` table shows over time."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from notify.web.reads import StreamRow


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A frontier with planned updates after it, and when it was first seen so."""

    frontier: int
    since_s: float


class Pipeline:
    """Remembers frontiers between looks. Thread-safe.

    A frontier only grows. So one that is seen twice, with planned updates after it both times, has
    not moved in between: no worker has landed the lane that holds it.
    """

    def __init__(self, *, stalled_after_s: float, unheard_after_s: float) -> None:
        self._stalled_after_s = stalled_after_s
        self._unheard_after_s = unheard_after_s
        self._lock = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}

    def problems(self, streams: Sequence[StreamRow], now_s: float) -> list[str]:
        """What is wrong now, a sentence each; `now_s` is monotonic."""
        if not streams:
            return ["no topic is active: run `manage.py topic create`"]
        with self._lock:
            return [
                f"partition {stream.partition} {problem}"
                for stream in streams
                if (problem := self._problem(stream, now_s))
            ]

    def _problem(self, stream: StreamRow, now_s: float) -> str | None:
        waited_s = self._waited_s(stream, now_s)
        if stream.halted is not None:
            return f"is halted: {stream.halted}"
        if stream.ticked_s is None:
            return "was never ticked: no bridge holds it"
        if stream.ticked_s > self._stalled_after_s:
            return (
                f"was last ticked {stream.ticked_s:.0f} s ago: no bridge holds it, or it is loading"
            )
        if stream.unheard_s > self._unheard_after_s:
            return (
                f"is not known: Kafka has not answered its bridge for {stream.unheard_s:.0f} s, so nobody "
                "knows what waits"
            )
        if stream.unread_s > self._stalled_after_s:
            return (
                f"is not read: Kafka has sent its bridge nothing for {stream.unread_s:.0f} s although "
                "messages wait"
            )
        if waited_s > self._stalled_after_s:
            return (
                f"has not moved from offset {stream.frontier} for {waited_s:.0f} s: "
                "no worker applies its batches"
            )
        return None

    def _waited_s(self, stream: StreamRow, now_s: float) -> float:
        if stream.frontier >= stream.planned:
            self._waiting.pop(stream.partition, None)
            return 0.0
        waiting = self._waiting.get(stream.partition)
        if waiting is None or waiting.frontier != stream.frontier:
            waiting = _Waiting(stream.frontier, now_s)
            self._waiting[stream.partition] = waiting
        return now_s - waiting.since_s
