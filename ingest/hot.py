"""Heavy hitters in bounded memory: the space-saving sketch (Metwally, Agrawal, El Abbadi 2005).

Of k counters the one with the least count is handed to a record that has none; what it had counted
becomes the newcomer's error. A record with more than total/k updates is never missed, and no count
is below the truth.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from ingest.ports import HotRow

BUCKET_MS: Final = 10_000

Key = tuple[str, str]  # app, record


@dataclass(slots=True)
class Count:
    """Updates of one record, high by `error` at most."""

    direct: int = 0
    mirrored: int = 0
    error: int = 0

    @property
    def total(self) -> int:
        """All that was counted, the error included."""
        return self.direct + self.mirrored + self.error


@dataclass(slots=True)
class SpaceSaving:
    """At most `size` records, those with most updates among them."""

    size: int
    counts: dict[Key, Count] = field(default_factory=dict)

    def add(self, key: Key, *, direct: int, mirrored: int) -> None:
        """Count `direct` and `mirrored` updates more of the record."""
        count = self.counts.get(key)
        if count is None:
            error = 0
            if len(self.counts) >= self.size:
                least = min(self.counts, key=lambda other: self.counts[other].total)
                error = self.counts.pop(least).total
            count = self.counts[key] = Count(error=error)
        count.direct += direct
        count.mirrored += mirrored


class HotRecords:
    """The hot records of one stream, in ten-second buckets; `flush` gives what is new."""

    def __init__(self, stream: int, *, size: int) -> None:
        self._stream = stream
        self._size = size
        self._bucket = 0
        self._sketch = SpaceSaving(size)
        self._given: dict[Key, Count] = {}

    def add(self, direct: Counter[Key], mirrored: Counter[Key], now: int) -> list[HotRow]:
        """Count a chunk's updates by record: once a distinct record, largest first, so that a chunk
        of many single records cannot push a heavy one out. Returns the rows of the bucket that
        ended, if one did."""
        ended = self._turn(now)
        for key, _ in (direct + mirrored).most_common(self._size):
            self._sketch.add(key, direct=direct[key], mirrored=mirrored[key])
        return ended

    def flush(self) -> list[HotRow]:
        """The rows to add to the table: what was counted since the last flush."""
        rows = []
        for (app, record), count in self._sketch.counts.items():
            given = self._given.get((app, record), Count())
            direct, mirrored = count.direct - given.direct, count.mirrored - given.mirrored
            if direct or mirrored:
                rows.append(
                    HotRow(self._bucket, self._stream, app, record, direct, mirrored, count.error)
                )
        self._given = {
            key: Count(count.direct, count.mirrored, count.error)
            for key, count in self._sketch.counts.items()
        }
        return rows

    def _turn(self, now: int) -> list[HotRow]:
        bucket = now - now % BUCKET_MS
        if bucket == self._bucket:
            return []
        ended = self.flush()
        self._bucket, self._sketch, self._given = bucket, SpaceSaving(self._size), {}
        return ended
