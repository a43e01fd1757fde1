"""The watcher's dead-man's switch: a POST now and then for as long as it looks; who misses it tells.

What listens is another system (healthchecks.io and the like), so it works when this host is gone.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from notify import logs
from notify.watch.ways import NotTold, post

#: How often it is asked whether a beat is due.
ROUND_S: Final = 0.5


class Heartbeat:
    """Beats every `every_s` while the last whole look of the watcher that acts is not older.

    `looked_at_s` says when that was, in monotonic seconds; None if this watcher does not act.
    """

    def __init__(
        self,
        url: str,
        looked_at_s: Callable[[], float | None],
        *,
        every_s: float,
        timeout_s: float,
    ) -> None:
        self._url = url
        self._looked_at_s = looked_at_s
        self._every_s: Final = every_s
        self._timeout_s: Final = timeout_s
        self._beat_at_s = -every_s
        self._fails = False

    def run(self, stopped: threading.Event) -> None:
        """Returns when stopped, whatever the receiver does."""
        while not stopped.wait(ROUND_S):
            self.round(now_s=time.monotonic())

    def round(self, *, now_s: float) -> None:
        """Beats if one is due. One that fails is not repeated before the next is due."""
        looked_at_s = self._looked_at_s()
        if looked_at_s is None or now_s - looked_at_s > self._every_s:
            return
        if now_s - self._beat_at_s < self._every_s:
            return
        self._beat_at_s = now_s
        try:
            post(self._url, b"", {}, timeout_s=self._timeout_s)
            self._fails = False
        except NotTold as why:
            if not self._fails:
                logs.get().warning("heartbeat_failed", error=str(why))
            self._fails = True
