"""What a worker's parent knows of its tasks: since when each one is taken, and not ended.

The parent sees what no child can tell: one that is stopped, or hangs before its task begins.
"""

import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from celery.worker import state


class UnfinishedTasks:
    """The tasks that the worker took and has not finished. `oldest` may be called from any thread."""

    def __init__(self, *, after_s: float, clock: Callable[[], float] = time.time) -> None:
        self._after_s = after_s
        self._clock = clock
        self._since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def note(self, request: Any) -> None:
        """Notes that the parent took this task from Redis."""
        self._since[request] = self._clock()

    def oldest(self) -> float | None:
        """When the oldest task began, or was taken if no child has begun it; None without a task."""
        # The dict is copied in one go: the main thread changes it meanwhile.
        times = (self._began(request) for request in list(state.requests.values()))
        return min((each for each in times if each is not None), default=None)

    def _began(self, request: Any) -> float | None:
        began: float | None = request.time_start or self._since.get(request)
        return began

    def problem(self) -> str | None:
        """Why the worker counts as stuck: a task unfinished for longer than `after_s`; else None."""
        oldest = self.oldest()
        waited_s = 0.0 if oldest is None else self._clock() - oldest
        if waited_s <= self._after_s:
            return None
        return (
            f"a task has not finished for {waited_s:.0f} s: its child hangs or is stopped, or it waits "
            "for PostgreSQL"
        )
