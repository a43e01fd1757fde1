"""Finds out whether the record of an update was deleted on the server, although the app still uses it.

An SDK sends only what has changed. So an update of a deleted record would create it again almost empty,
without a push token and a user. With the right answer the SDK creates the whole record again
(docs/sdks.md). Besides `addresses`, this is the only lookup in PostgreSQL on the way of an update. It has a
deadline: if PostgreSQL does not answer in time, the record counts as existing and the update is accepted.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from notify.domain.records import ids
from notify.web.reads import Reads, ReadsAway
from notify.web.resources.deletions import Deletions, DeletionsUnavailable

#: After a failed lookup none is tried for this long, so that a hanging PostgreSQL does not delay each
#: request. The same holds for Redis.
PAUSE_S: Final = 5.0
#: A record that exists is not looked up again for this long, because an app sends several updates in a row
#: when it is opened; and how many such records are remembered.
REMEMBERED_S: Final = 30.0
REMEMBERED_MAX: Final = 50_000
#: How often a process asks whether other processes accepted deletions.
ASK_S: Final = 1.0
#: For this long after a deletion no record of its app is remembered, because the deleted record still
#: exists until the deletion is applied.
APPLIED_S: Final = 10.0


class DeletedRecords:
    """Looks up records with `reads`, and apps with recent deletions with `deletions`. Thread-safe."""

    def __init__(
        self,
        reads: Reads,
        deletions: Deletions | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reads = reads
        self._deletions = deletions
        self._clock = clock
        self._lock = threading.Lock()
        self._lookup_due = self._hints_due = float("-inf")
        self._remembered: set[tuple[str, str]] = set()
        self._remembered_until = float("-inf")
        #: The newest hint of each app, and until when its records are not remembered.
        self._newest_hints: dict[str, str] = {}
        self._forgetful: dict[str, float] = {}

    def note(self, app: str) -> None:
        """Tells all processes that a deletion in the app was accepted here."""
        with self._lock:
            self._forget(app, self._clock())
        if self._deletions is None:
            return
        try:
            self._deletions.tell(app)
        except DeletionsUnavailable:
            with self._lock:
                self._hints_due = self._clock() + PAUSE_S

    def is_known(self, app: str, record: str) -> bool:
        """Whether the record was deleted (and the deletion applied) and not created again since.

        Always False for an id that is derived from a name: whoever knows the name can compute the id, and
        must not learn anything from the answer.
        """
        now = self._clock()
        if ids.follows_from_a_name(record) or now < self._lookup_due:
            return False
        self._read_hints(now)
        if self._is_remembered(app, record, now):
            return False
        try:
            is_deleted = self._reads.is_deleted(app, record)
        except ReadsAway:
            with self._lock:
                self._lookup_due = self._clock() + PAUSE_S
            return False
        if not is_deleted:
            with self._lock:
                if len(self._remembered) < REMEMBERED_MAX and not self._forgets(app, now):
                    self._remembered.add((app, record))
        return is_deleted

    def _is_remembered(self, app: str, record: str, now: float) -> bool:
        with self._lock:
            if now >= self._remembered_until:
                self._remembered.clear()
                self._remembered_until = now + REMEMBERED_S
            return (app, record) in self._remembered

    def _read_hints(self, now: float) -> None:
        """Learns of deletions in other processes. One request does so for all, every ASK_S."""
        with self._lock:
            if self._deletions is None or now < self._hints_due:
                return
            self._hints_due = now + ASK_S
        try:
            hints = self._deletions.heard()
        except DeletionsUnavailable:
            with self._lock:
                self._hints_due = self._clock() + PAUSE_S
            return
        with self._lock:
            for app in [app for app in self._forgetful if not self._forgets(app, now)]:
                del self._forgetful[app]
            for app, hint in hints.items():
                if self._newest_hints.get(app) != hint:
                    self._forget(app, now)
            self._newest_hints = dict(hints)

    def _forget(self, app: str, now: float) -> None:
        if not self._forgets(app, now):
            self._remembered = {each for each in self._remembered if each[0] != app}
        self._forgetful[app] = now + APPLIED_S

    def _forgets(self, app: str, now: float) -> bool:
        """Whether records of the app must not be remembered now."""
        return now < self._forgetful.get(app, now)
