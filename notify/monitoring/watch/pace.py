"""Retries with backoff, and a limit on the number of messages, for a receiver of alerts. Pure."""

from collections import deque
from collections.abc import Collection
from typing import Final

RETRY_MAX_S: Final = 60.0
_HOUR_S: Final = 3_600.0


class Pace:
    """The backoff of one receiver: a failed alert waits 1, 2, 4, … s, at most a minute. `per_hour` is how
    many messages it gets in an hour."""

    def __init__(self, *, per_hour: int) -> None:
        self._per_hour: Final = per_hour
        self._sent: deque[float] = deque()
        self._failed: dict[int, tuple[int, float]] = {}

    def tries(self, alert: int) -> int:
        """How often this alert has failed."""
        return self._failed.get(alert, (0, 0.0))[0]

    def is_ready(self, alert: int, *, now_s: float) -> bool:
        """Whether the alert's wait is over."""
        return now_s >= self._failed.get(alert, (0, now_s))[1]

    def has_room(self, *, now_s: float) -> bool:
        """Whether one more message may be sent in this hour."""
        while self._sent and now_s - self._sent[0] >= _HOUR_S:
            self._sent.popleft()
        return len(self._sent) < self._per_hour

    def sent(self, *, now_s: float) -> None:
        """Notes that a message was accepted."""
        self._sent.append(now_s)

    def failed(self, alert: int, *, now_s: float) -> None:
        """Notes that the alert failed; its next wait is twice as long."""
        tries = self.tries(alert) + 1
        self._failed[alert] = (tries, now_s + min(RETRY_MAX_S, 2.0 ** min(tries - 1, 10)))

    def keep(self, alerts: Collection[int]) -> None:
        """Forgets all alerts except these, which are still to be sent."""
        self._failed = {alert: each for alert, each in self._failed.items() if alert in alerts}
