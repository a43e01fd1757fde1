"""The trace of a request: the client's W3C traceparent or a new one.

Its trace id is in our logs, in the error answers as `request_id`, and, as the message's header, in
Kafka.
"""

import random
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.conf import settings

if TYPE_CHECKING:
    from notify.telemetry.spans import CallSpan

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Trace(NamedTuple):
    """`id` is the 32 hexadecimal digits inside `traceparent`; `span` is of OpenTelemetry."""

    id: str
    traceparent: str
    span: "CallSpan | None" = None

    def answered(self, status: int) -> None:
        """Ends the span, if there is one, with the status of the answer."""
        if self.span is not None:
            self.span.answered(status)


def trace_of(meta: Mapping[str, Any]) -> Trace:
    """The trace that the request came with, or a new one for a missing or malformed header."""
    given = meta.get("HTTP_TRACEPARENT")
    if given is not None and (found := _TRACEPARENT.fullmatch(given)):
        return Trace(found[1], given)
    # Unlike `secrets` without a system call a request: nobody may be let in by an id of ours.
    digits = f"{random.getrandbits(192):048x}"
    return Trace(digits[:32], f"00-{digits[:32]}-{digits[32:]}-01")


def begin_trace(meta: Mapping[str, Any], route: str, method: str) -> Trace:
    """The trace of a new request. With NOTIFY_OTEL it is a new span in the request's trace, if it has one."""
    if not settings.NOTIFY_OTEL:
        return trace_of(meta)
    from notify.telemetry.spans import CallSpan  # noqa: PLC0415 - only where it is on

    given = meta.get("HTTP_TRACEPARENT")
    is_good = given is not None and _TRACEPARENT.fullmatch(given) is not None
    span = CallSpan(route, method, given if is_good else None)
    return Trace(span.traceparent[3:35], span.traceparent, span)
