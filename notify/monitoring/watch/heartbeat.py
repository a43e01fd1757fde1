"""The watcher's dead man's switch: it sends a POST regularly, and the receiver alerts when none comes.

The receiver is another system, such as healthchecks.io, so this works even if this host is gone.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from notify.monitoring.watch.alert_channels import NotSent, post
from notify.telemetry import logs

#: How often to check whether a heartbeat is due.
ROUND_S: Final = 0.5


class Heartbeat:
    """Sends a heartbeat every `every_s`, as long as the leader's last complete check is not older than that.

    `checked_at_s` returns when that was, in monotonic seconds; None if this watcher is not the leader.
    """

    def __init__(
        self,
        url: str,
        checked_at_s: Callable[[], float | None],
        *,
        every_s: float,
        timeout_s: float,
    ) -> None:
        self._url = url
        self._checked_at_s = checked_at_s
        self._every_s: Final = every_s
        self._timeout_s: Final = timeout_s
        self._beat_at_s = -every_s
        self._fails = False

    def run(self, stopped: threading.Event) -> None:
        """Sends heartbeats until stopped, whatever the receiver answers."""
        while not stopped.wait(ROUND_S):
            self.round(now_s=time.monotonic())

    def round(self, *, now_s: float) -> None:
        """Sends a heartbeat if one is due. A failed one is not repeated before the next is due."""
        checked_at_s = self._checked_at_s()
        if checked_at_s is None or now_s - checked_at_s > self._every_s:
            return
        if now_s - self._beat_at_s < self._every_s:
            return
        self._beat_at_s = now_s
        try:
            post(self._url, b"", {}, timeout_s=self._timeout_s)
            self._fails = False
        except NotSent as why:
            if not self._fails:
                logs.get().warning("heartbeat_failed", error=str(why))
            self._fails = True
