"""Whether what an SDK speaks of was deleted on the server, while the app lives on.

An SDK sends differences to what it sent before. So an update of a deleted record would bring it back
with next to nothing: no push token, no user. SDKs make it again, whole, for the right answer
(docs/sdks.md). Nothing else that is accepted asks PostgreSQL: a look-up has a deadline, and while
PostgreSQL does not answer in time every record counts as there and updates are taken.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from notify.domain import ids
from notify.web.deletions import Away, Deletions
from notify.web.reads import Reads, ReadsAway

#: After a look-up that failed, so long none is tried: a PostgreSQL that hangs must hold no request twice.
#: The same holds for Redis.
PAUSE_S: Final = 5.0
#: A record that was there is not looked up again for up to so long: an app that is opened sends several
#: updates in a row. So many are remembered.
THERE_S: Final = 30.0
THERE_MAX: Final = 50_000
#: How often a process asks whether others accepted deletions.
ASK_S: Final = 1.0
#: So long after a deletion no record of its app is remembered: until it is applied the record is there.
APPLIED_S: Final = 10.0


class Deleted:
    """Asks `reads`, and `deletions` which apps had any. Thread-safe."""

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
        """A deletion in the app was accepted here: all processes are told."""
        with self._lock:
            self._forget(app, self._clock())
        if self._deletions is None:
            return
        try:
            self._deletions.tell(app)
        except Away:
            with self._lock:
                self._ask_due = self._clock() + PAUSE_S

    def is_known(self, app: str, record: str) -> bool:
        """Whether the record was deleted, as far as that is applied, and did not come again since.

        Who knows a name can work out an id that follows from it, and must learn nothing by it: of such
        an id it is never known.
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
        """Hear of the deletions of other processes: one request does so for all, once in ASK_S."""
        with self._lock:
            if self._deletions is None or now < self._ask_due:
                return
            self._ask_due = now + ASK_S
        try:
            words = self._deletions.heard()
        except Away:
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
        """Whether no record of the app is remembered."""
        return now < self._forgetful.get(app, now)
