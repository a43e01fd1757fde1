"""What one stream's ticks counted since the last sample, in bounded memory. Lost with the memory."""

from collections import Counter
from collections.abc import Sequence
from heapq import nlargest
from typing import Final

from ingest.hot import BUCKET_MS, HotApps, HotRecords
from ingest.planner import Planned
from ingest.ports import AppRow, HotRow

#: Ranks that metrics show the shares of.
RANKS: Final = 10
#: Of the time between two updates no more counts as time in which updates came: a clock that was wrong
#: once does not make all rates small.
ACCEPTED_GAP_MS: Final = 1_000


class Counts:
    """The hot records and apps of a stream, and how much was decided and dropped."""

    def __init__(self, stream: int, *, records: int, apps: int) -> None:
        self._records = HotRecords(stream, size=records)
        self._apps = HotApps(stream, size=apps)
        self._record_rows: list[HotRow] = []
        self._app_rows: list[AppRow] = []
        #: PostgreSQL's clock at the last tick, in milliseconds.
        self.now = 0
        self._tally: Counter[str] = Counter()
        #: Writes of the bucket.
        self.total = 0
        #: The latest time at which web accepted an update that was decided.
        self._accepted_until = 0

    @property
    def bucket(self) -> int:
        """The start of the ten seconds that the last tick was in."""
        return self.now - self.now % BUCKET_MS

    def note(self, planned: Planned | None, now: int) -> None:
        """Count what a tick decided; `now` as of the tick."""
        if now - now % BUCKET_MS != self.bucket:
            self.total = 0
        self.now = now
        if planned is None:
            return
        mirrored: Counter[str] = Counter()
        for (app, _), n in planned.mirrored.items():
            mirrored[app] += n
        self._record_rows += self._records.add(planned.direct, planned.mirrored, now)
        self._app_rows += self._apps.add(planned.apps, mirrored, now)
        self._tally["messages"] += len(planned.written)
        self._tally["accepted_ms"] += self._accepted_ms(planned.accepted)
        self._tally["writes"] += planned.direct.total() + planned.mirrored.total()
        self.total += planned.direct.total() + planned.mirrored.total()
        self._tally["mirrored"] += planned.mirrored.total()
        self._tally["skipped"] += sum(row.n for row in planned.chunk.skipped)
        self._tally["dead"] += len(planned.chunk.dead)

    def _accepted_ms(self, accepted: Sequence[int]) -> int:
        """By how much the time in which updates came has grown.

        Updates of 12:00:00.0, 12:00:00.4 and 12:00:00.9 are 0.9 s of arrivals, whether they are decided
        at once or in a millisecond of a catch-up.
        """
        grown = 0
        for at in accepted:
            if self._accepted_until < at <= self.now:
                grown += min(at - self._accepted_until, ACCEPTED_GAP_MS)
                self._accepted_until = at
        return grown

    def take_tally(self) -> Counter[str]:
        """What was counted since the last time: messages, accepted_ms, writes, mirrored, skipped, dead."""
        taken, self._tally = self._tally, Counter()
        return taken

    def take_rows(self) -> tuple[list[HotRow], list[AppRow]]:
        """The rows to add to the tables."""
        records, self._record_rows = self._record_rows + self._records.flush(), []
        apps, self._app_rows = self._app_rows + self._apps.flush(), []
        return records, apps

    def largest(self) -> list[int]:
        """Updates of the hottest records of the bucket, the most first."""
        return nlargest(RANKS, self._records.totals()) if self.total else []
