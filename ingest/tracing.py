"""A span for each sampled message: from the poll that brought it to the commit of its tick."""

import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from django.conf import settings

#: Kafka lets a header be null, and anyone who may write to the topic choose it.
Headers = Iterable[tuple[str, bytes | None]]
_SAMPLED: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf]")
#: The traceparent, when the span began and ended (nanoseconds since 1970), and its attributes.
Tell = Callable[[str, int, int, dict[str, Any]], None]


class Ticks:
    """Remembers sampled messages until they are decided: NOTIFY_OTEL_MESSAGES of them at most, others
    have no span. It knows nothing that matters: whatever it forgets costs a span."""

    def __init__(self, tell: Tell, *, messages_max: int) -> None:
        self._tell = tell
        self._messages_max = messages_max
        self._waiting: dict[int, deque[tuple[int, str, int]]] = {}
        self._count = 0

    def polled(self, partition: int, offset: int, headers: Headers) -> None:
        """A poll brought the message. One that was brought before begins anew, with all after it."""
        waiting = self._waiting.setdefault(partition, deque())
        while waiting and waiting[-1][0] >= offset:
            waiting.pop()
            self._count -= 1
        given = next((value for key, value in headers if key == "traceparent"), None) or b""
        if self._count < self._messages_max and _SAMPLED.fullmatch(given):
            waiting.append((offset, given.decode("ascii"), time.time_ns()))
            self._count += 1

    def forget(self, partition: int) -> None:
        """The partition left, or is loaded anew: what waits of it makes room."""
        self._count -= len(self._waiting.pop(partition, ()))

    def committed(self, partition: int, first: int, end: int) -> None:
        """The tick that decided offsets first..end-1 has committed: their spans end now."""
        now = time.time_ns()
        waiting = self._waiting.get(partition, ())
        while waiting and waiting[0][0] < end:
            offset, traceparent, polled_at = waiting.popleft()
            self._count -= 1
            if offset < first:
                continue
            attributes: dict[str, Any] = {
                "messaging.system": "kafka",
                "messaging.destination.partition.id": str(partition),
                "messaging.kafka.offset": offset,
                "notify.chunk.first": first,
                "notify.chunk.next": end,
            }
            self._tell(traceparent, polled_at, now, attributes)


def of_settings() -> Ticks | None:
    """As the settings say; None where tracing is off."""
    if not settings.NOTIFY_OTEL:
        return None
    from notify.telemetry import spans  # noqa: PLC0415 - only where it is on

    return Ticks(spans.tick, messages_max=settings.NOTIFY_OTEL_MESSAGES)
