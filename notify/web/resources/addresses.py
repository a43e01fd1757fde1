"""Finds the record that has an address, for the id in the answer to a registration.

To which record the registration is applied is decided later, in Kafka's order. Here only the links that
are already applied are read. If PostgreSQL does not answer in time, the answer has the id that is made from
the address.
"""

import time
from collections.abc import Callable

from notify.domain.records import ids
from notify.web.reads import Reads, ReadsAway
from notify.web.resources.deleted import PAUSE_S


class Addresses:
    """Asks `reads`. Thread-safe: two threads may at most both find out that PostgreSQL is away."""

    def __init__(self, reads: Reads, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reads = reads
        self._clock = clock
        self._due = float("-inf")

    def record_of(self, app: str, kind: str, token: str) -> str:
        """The id of the record of this kind that `token` identifies now."""
        home = ids.record_id(app, kind, token)
        if kind not in ids.ADDRESSES or self._clock() < self._due:
            return home
        try:
            return self._reads.holder(app, kind, token)
        except ReadsAway:
            self._due = self._clock() + PAUSE_S
            return home
