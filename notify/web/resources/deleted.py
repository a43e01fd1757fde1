"""Finds out whether the record of an update was deleted on the server, although the app still uses it.

An SDK sends only what has changed. So an update of a deleted record would create it again almost empty,
without a push token and a user. With the right answer the SDK creates the whole record again
(docs/sdks.md).

Whether a record is deleted now, PostgreSQL says. It is asked only for records that may be: those in the
list of deleted records, which each process reads again and again (`PostgresReads.known`), and those whose
deletion some web process accepted in the last ten minutes. So nearly no update waits for PostgreSQL. A
lookup has a deadline: if PostgreSQL does not answer in time, the record counts as existing and the update is
accepted.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from notify.domain.records import ids
from notify.web.reads import Reads, ReadsAway
from notify.web.resources.deleted_list import DeletedList
from notify.web.resources.deletions import Deleted, Deletions, DeletionsUnavailable

#: After a failed lookup none is tried for this long, so that a hanging PostgreSQL does not delay each
#: request. The same holds for Redis.
PAUSE_S: Final = 5.0
#: How often a process asks which deletions other processes accepted.
ASK_S: Final = 1.0
#: For this long after its deletion was accepted a record is looked up, listed or not. That is longer than
#: the time between two reads of the list; and how many such records are kept.
ACCEPTED_S: Final = 600.0
ACCEPTED_MAX: Final = 50_000


class DeletedRecords:
    """Looks up records with `reads`. `listed` returns the list of deleted records, or None if there is none:
    then each record is looked up. `deletions` tells of those that other processes accepted. Thread-safe."""

    def __init__(
        self,
        reads: Reads,
        deletions: Deletions | None = None,
        *,
        listed: Callable[[], DeletedList | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reads = reads
        self._deletions = deletions
        self._listed = listed
        self._clock = clock
        self._lock = threading.Lock()
        self._lookup_due = self._ask_due = float("-inf")
        #: When we learned that the deletion of (app, record) was accepted, the oldest first.
        self._accepted: dict[Deleted, float] = {}

    def note(self, app: str, records: Iterable[str]) -> None:
        """Tells all processes that the deletion of these records was accepted here."""
        deleted = [(app, record) for record in records]
        with self._lock:
            self._keep(deleted, self._clock())
        if self._deletions is None:
            return
        try:
            self._deletions.tell(deleted)
        except DeletionsUnavailable:
            self._ask_due = self._clock() + PAUSE_S

    def is_known(self, app: str, record: str) -> bool:
        """Whether the record was deleted (and the deletion applied) and not created again since.

        Always False for an id that is derived from a name: whoever knows the name can compute the id, and
        must not learn anything from the answer.
        """
        now = self._clock()
        if ids.follows_from_a_name(record) or now < self._lookup_due:
            return False
        self._hear(now)
        if not self._may_be_deleted(app, record):
            return False
        try:
            return self._reads.is_deleted(app, record)
        except ReadsAway:
            self._lookup_due = self._clock() + PAUSE_S
            return False

    def _may_be_deleted(self, app: str, record: str) -> bool:
        listed = self._listed()
        return listed is None or (app, record) in self._accepted or listed.may_have(record)

    def _hear(self, now: float) -> None:
        """Learns of deletions in other processes. One request does so for all, every ASK_S."""
        if self._deletions is None or now < self._ask_due:
            return
        with self._lock:
            if now < self._ask_due:
                return
            self._ask_due = now + ASK_S
        try:
            deleted = self._deletions.heard()
        except DeletionsUnavailable:
            self._ask_due = self._clock() + PAUSE_S
            return
        with self._lock:
            self._keep(deleted, now)

    def _keep(self, deleted: Iterable[Deleted], now: float) -> None:
        for each in deleted:
            self._accepted.pop(each, None)
            self._accepted[each] = now
        while self._accepted:
            oldest = next(iter(self._accepted))
            is_old = self._accepted[oldest] <= now - ACCEPTED_S
            if not is_old and len(self._accepted) <= ACCEPTED_MAX:
                return
            del self._accepted[oldest]
