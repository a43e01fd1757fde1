"""What one stream's ticks counted since the last sample, in bounded memory. Lost with the memory."""

from collections import Counter
from heapq import nlargest
from typing import Final

from ingest.hot import BUCKET_MS, HotApps, HotRecords
from ingest.planner import Planned
from ingest.ports import AppRow, HotRow

#: Ranks that metrics show the shares of.
RANKS: Final = 10


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
        self._tally["writes"] += planned.direct.total() + planned.mirrored.total()
        self.total += planned.direct.total() + planned.mirrored.total()
        self._tally["mirrored"] += planned.mirrored.total()
        self._tally["skipped"] += sum(row.n for row in planned.chunk.skipped)
        self._tally["dead"] += len(planned.chunk.dead)

    def take_tally(self) -> Counter[str]:
        """What was counted since the last time: messages, writes, mirrored, skipped, dead."""
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
