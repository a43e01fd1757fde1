"""Whether what an SDK speaks of was deleted on the server, while the app lives on.

An SDK sends differences to what it sent before. So an update of a deleted record would bring it back
with next to nothing: no push token, no user. SDKs make it again, whole, for the right answer
(docs/sdks.md). Nothing else that is accepted asks PostgreSQL: a look-up has a deadline, and while
PostgreSQL does not answer in time every record counts as there and updates are taken.
"""

import threading
import time
from collections.abc import Callable

from notify.domain import ids
from notify.web.reads import Reads, ReadsAway

#: After a look-up that failed, so long none is tried: a PostgreSQL that hangs must hold no request twice.
PAUSE_S = 5.0


class Deleted:
    """Asks `reads`. Thread-safe."""

    def __init__(self, reads: Reads, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reads = reads
        self._clock = clock
        self._lock = threading.Lock()
        self._due = float("-inf")

    def is_known(self, app: str, record: str) -> bool:
        """Whether the record was deleted, as far as that is applied, and did not come again since.

        Who knows a name can work out an id that follows from it, and must learn nothing by it: of such
        an id it is never known.
        """
        if ids.follows_from_a_name(record) or self._clock() < self._due:
            return False
        try:
            return self._reads.is_deleted(app, record)
        except ReadsAway:
            with self._lock:
                self._due = self._clock() + PAUSE_S
            return False
