"""Counts what the ticks of one stream decided since the last sample, in memory of bounded size."""

from collections import Counter
from collections.abc import Sequence
from heapq import nlargest
from typing import Final

from ingest.hot import BUCKET_MS, HotApps, HotRecords
from ingest.planner import Planned
from ingest.ports import AppRow, HotRow

#: The number of hottest records whose shares are exported as metrics.
RANKS: Final = 10
#: The longest time between two updates that counts as time in which updates arrived, so that one wrong
#: clock does not make all rates small.
ACCEPTED_GAP_MS: Final = 1_000


class Counts:
    """The hot records and apps of a stream, and how many updates were decided and dropped."""

    def __init__(self, stream: int, *, records: int, apps: int) -> None:
        self._records = HotRecords(stream, size=records)
        self._apps = HotApps(stream, size=apps)
        self._record_rows: list[HotRow] = []
        self._app_rows: list[AppRow] = []
        #: PostgreSQL's clock at the last tick, in milliseconds.
        self.now = 0
        self._tally: Counter[str] = Counter()
        #: The number of writes in the present bucket.
        self.total = 0
        #: The latest time at which web accepted an update that was decided.
        self._accepted_until = 0

    @property
    def bucket(self) -> int:
        """The start of the ten-second bucket of the last tick."""
        return self.now - self.now % BUCKET_MS

    def note(self, planned: Planned | None, now: int) -> None:
        """Counts what a tick at `now` decided."""
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
        """How much arrival time these updates add: the time during which web accepted them.

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
        """Returns and resets the counts: messages, accepted_ms, writes, mirrored, skipped, dead."""
        taken, self._tally = self._tally, Counter()
        return taken

    def take_rows(self) -> tuple[list[HotRow], list[AppRow]]:
        """Returns and resets the counts of records and apps, as rows to add to the tables."""
        records, self._record_rows = self._record_rows + self._records.flush(), []
        apps, self._app_rows = self._app_rows + self._apps.flush(), []
        return records, apps

    def largest(self) -> list[int]:
        """The numbers of updates of the bucket's hottest records, the largest first."""
        return nlargest(RANKS, self._records.totals()) if self.total else []
