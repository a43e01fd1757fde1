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
#: A record that was there is not looked up again for up to so long: an app that is opened sends several
#: updates in a row. So many are remembered.
THERE_S = 30.0
THERE_MAX = 50_000


class Deleted:
    """Asks `reads`. Thread-safe."""

    def __init__(self, reads: Reads, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reads = reads
        self._clock = clock
        self._lock = threading.Lock()
        self._due = float("-inf")
        self._there: set[tuple[str, str]] = set()
        self._there_until = float("-inf")

    def is_known(self, app: str, record: str) -> bool:
        """Whether the record was deleted, as far as that is applied, and did not come again since.

        Who knows a name can work out an id that follows from it, and must learn nothing by it: of such
        an id it is never known.
        """
        now = self._clock()
        if ids.follows_from_a_name(record) or now < self._due or self._was_there(app, record, now):
            return False
        try:
            is_deleted = self._reads.is_deleted(app, record)
        except ReadsAway:
            with self._lock:
                self._due = self._clock() + PAUSE_S
            return False
        if not is_deleted:
            with self._lock:
                if len(self._there) < THERE_MAX:
                    self._there.add((app, record))
        return is_deleted

    def _was_there(self, app: str, record: str, now: float) -> bool:
        with self._lock:
            if now >= self._there_until:
                self._there.clear()
                self._there_until = now + THERE_S
            return (app, record) in self._there
