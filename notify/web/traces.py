"""The trace of a request: the client's W3C traceparent or a new one.

Its trace id is in our logs, in the error answers as `request_id`, and, as the message's header, in
Kafka.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Trace(NamedTuple):
    """`id` is the 32 hexadecimal digits inside `traceparent`."""

    id: str
    traceparent: str


def trace_of(meta: Mapping[str, Any]) -> Trace:
    """The trace that the request came with, or a new one for a missing or malformed header."""
    given = meta.get("HTTP_TRACEPARENT")
    if given is not None and (found := _TRACEPARENT.fullmatch(given)):
        return Trace(found[1], given)
    digits = secrets.token_hex(24)
    return Trace(digits[:32], f"00-{digits[:32]}-{digits[32:]}-01")
