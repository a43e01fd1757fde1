"""Counts the records with most updates in bounded memory, with the space-saving sketch.

The sketch (Metwally, Agrawal, El Abbadi 2005) has k counters. A record without a counter takes over the
smallest one, whose count becomes the record's error. A record with more than total/k updates always has a
counter, and no count is too low. Example with k = 2, where A has 5 updates and B has 2:

    an update of C arrives      C takes over B's counter: C = 3 with an error of 2, so between 1 and 3
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Final

import msgspec

from ingest.ports import AppRow, HotRow

BUCKET_MS: Final = 10_000
#: Chunks are merged into the sketch once they have so many records, or when somebody looks: a merge goes
#: through the whole sketch, also for a chunk of one update.
MERGED_KEYS: Final = 1_000

Key = tuple[str, str]  # app, record


class Count(msgspec.Struct, gc=False):
    """The updates of one record; at most `error` of them are not its own."""

    direct: int = 0
    mirrored: int = 0
    error: int = 0

    @property
    def total(self) -> int:
        """The whole count, including the error."""
        return self.direct + self.mirrored + self.error


@dataclass(slots=True)
class SpaceSaving:
    """Counters of at most `size` records, among them those with most updates."""

    size: int
    counts: dict[Key, Count] = field(default_factory=dict)

    def merge(self, direct: Mapping[Key, int], mirrored: Mapping[Key, int]) -> None:
        """Adds the updates of a chunk.

        The chunk is merged like a sketch (Agarwal et al. 2012, "Mergeable summaries"): if the sketch is
        full, a record that is new in it may have had as many updates as the smallest counter; the largest
        counters are kept.
        """
        full = len(self.counts) >= self.size
        floor = min((count.total for count in self.counts.values()), default=0) if full else 0
        for key in dict.fromkeys([*direct, *mirrored]):
            count = self.counts.get(key)
            if count is None:
                count = self.counts[key] = Count(error=floor)
            count.direct += direct.get(key, 0)
            count.mirrored += mirrored.get(key, 0)
        if len(self.counts) > self.size:
            largest = nlargest(self.size, self.counts.items(), key=lambda item: item[1].total)
            self.counts = dict(largest)


class HotRecords:
    """The hot records of one stream in ten-second buckets; `flush` returns what is new."""

    def __init__(self, stream: int, *, size: int) -> None:
        self._stream = stream
        self._size = size
        self._bucket = 0
        self._sketch = SpaceSaving(size)
        self._flushed: dict[Key, Count] = {}
        #: What is not in the sketch yet.
        self._direct: Counter[Key] = Counter()
        self._mirrored: Counter[Key] = Counter()

    def add(self, direct: Mapping[Key, int], mirrored: Mapping[Key, int], now: int) -> list[HotRow]:
        """Adds a chunk's updates by record. Returns the rows of the bucket that ended, if one did."""
        ended = self._start_bucket(now)
        self._direct.update(direct)
        self._mirrored.update(mirrored)
        if len(self._direct) + len(self._mirrored) >= MERGED_KEYS:
            self._merge()
        return ended

    def _merge(self) -> None:
        self._sketch.merge(self._direct, self._mirrored)
        self._direct.clear()
        self._mirrored.clear()
        # A record that lost its counter and returns starts again at 0, with a new error.
        self._flushed = {
            key: flushed for key, flushed in self._flushed.items() if key in self._sketch.counts
        }

    def totals(self) -> list[int]:
        """The updates of each record in the bucket, without the errors."""
        self._merge()
        return [count.direct + count.mirrored for count in self._sketch.counts.values()]

    def flush(self) -> list[HotRow]:
        """The rows to add to the table, with what was counted since the last flush."""
        self._merge()
        rows = []
        for (app, record), count in self._sketch.counts.items():
            flushed = self._flushed.get((app, record), Count())
            direct, mirrored = count.direct - flushed.direct, count.mirrored - flushed.mirrored
            if direct or mirrored:
                rows.append(
                    HotRow(self._bucket, self._stream, app, record, direct, mirrored, count.error)
                )
        self._flushed = {
            key: Count(count.direct, count.mirrored, count.error)
            for key, count in self._sketch.counts.items()
        }
        return rows

    def _start_bucket(self, now: int) -> list[HotRow]:
        bucket = now - now % BUCKET_MS
        if bucket == self._bucket:
            return []
        ended = self.flush()
        self._bucket, self._sketch, self._flushed = bucket, SpaceSaving(self._size), {}
        return ended


class HotApps:
    """The apps with most updates of one stream, counted like the records."""

    def __init__(self, stream: int, *, size: int) -> None:
        self._by_app = HotRecords(stream, size=size)

    def add(
        self, updates: Mapping[str, int], mirrored: Mapping[str, int], now: int
    ) -> list[AppRow]:
        """Adds a chunk's updates by app. Returns the rows of the bucket that ended, if one did."""
        return _of_apps(
            self._by_app.add(
                {(app, ""): n for app, n in updates.items()},
                {(app, ""): n for app, n in mirrored.items()},
                now,
            )
        )

    def flush(self) -> list[AppRow]:
        """The rows to add to the table, with what was counted since the last flush."""
        return _of_apps(self._by_app.flush())


def _of_apps(rows: list[HotRow]) -> list[AppRow]:
    return [
        AppRow(row.bucket, row.stream, row.app, row.direct, row.mirrored, row.error) for row in rows
    ]
