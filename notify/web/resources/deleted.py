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
THERE_S: Final = 30.0
THERE_MAX: Final = 50_000
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
        self._due = self._ask_due = float("-inf")
        self._there: set[tuple[str, str]] = set()
        self._there_until = float("-inf")
        #: The newest word of each app, and until when its records are not remembered.
        self._words: dict[str, str] = {}
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
                self._ask_due = self._clock() + PAUSE_S

    def is_known(self, app: str, record: str) -> bool:
        """Whether the record was deleted (and the deletion applied) and not created again since.

        Always False for an id that is derived from a name: whoever knows the name can compute the id, and
        must not learn anything from the answer.
        """
        now = self._clock()
        if ids.follows_from_a_name(record) or now < self._due:
            return False
        self._ask(now)
        if self._was_there(app, record, now):
            return False
        try:
            is_deleted = self._reads.is_deleted(app, record)
        except ReadsAway:
            with self._lock:
                self._due = self._clock() + PAUSE_S
            return False
        if not is_deleted:
            with self._lock:
                if len(self._there) < THERE_MAX and not self._forgets(app, now):
                    self._there.add((app, record))
        return is_deleted

    def _was_there(self, app: str, record: str, now: float) -> bool:
        with self._lock:
            if now >= self._there_until:
                self._there.clear()
                self._there_until = now + THERE_S
            return (app, record) in self._there

    def _ask(self, now: float) -> None:
        """Learns of deletions in other processes. One request does so for all, every ASK_S."""
        with self._lock:
            if self._deletions is None or now < self._ask_due:
                return
            self._ask_due = now + ASK_S
        try:
            words = self._deletions.heard()
        except DeletionsUnavailable:
            with self._lock:
                self._ask_due = self._clock() + PAUSE_S
            return
        with self._lock:
            for app in [app for app in self._forgetful if not self._forgets(app, now)]:
                del self._forgetful[app]
            for app, word in words.items():
                if self._words.get(app) != word:
                    self._forget(app, now)
            self._words = dict(words)

    def _forget(self, app: str, now: float) -> None:
        if not self._forgets(app, now):
            self._there = {each for each in self._there if each[0] != app}
        self._forgetful[app] = now + APPLIED_S

    def _forgets(self, app: str, now: float) -> bool:
        """Whether records of the app must not be remembered now."""
        return now < self._forgetful.get(app, now)
