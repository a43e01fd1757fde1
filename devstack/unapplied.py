"""Reads from PostgreSQL which updates in Kafka are not applied."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg

_CONNECT_S: Final = 5
#: The end of the log is what the partition's bridge last saw; it looks about once a second.
_STREAMS: Final = """
    SELECT stream.partition, stream.frontier, greatest(stream.planned, seen.log_end), seen.at
    FROM stream
    JOIN topic ON topic.id = stream.topic_id AND topic.active
    LEFT JOIN LATERAL (
        SELECT log_end, at FROM stream_sample
        WHERE stream_sample.stream = stream.id ORDER BY bucket DESC LIMIT 1
    ) seen ON true
    ORDER BY stream.partition
"""


class Partition(NamedTuple):
    """A partition: offsets frontier..end-1 are accepted and not applied. `seen` is when the bridge read the
    end of the log."""

    partition: int
    frontier: int
    end: int
    seen: datetime | None

    def __str__(self) -> str:
        return f"partition {self.partition}: offsets {self.frontier}-{self.end - 1}"


def partitions(url: str) -> list[Partition]:
    """Reads every partition of the active topic. Raises psycopg.Error, also if there are no tables."""
    return [Partition(*row) for row in _read(url, _STREAMS)]


def told(url: str) -> str:
    """A sentence about the updates that are not applied. Raises psycopg.Error like `partitions`."""
    streams = partitions(url)
    behind = [each for each in streams if each.end > each.frontier]
    count = sum(each.end - each.frontier for each in behind)
    listed = f" ({'; '.join(map(str, behind))})" if behind else ""
    seen = max((each.seen for each in streams if each.seen), default=None)
    when = (
        f" The bridge last read Kafka at {seen:%Y-%m-%d %H:%M:%S} UTC; later updates are not counted."
        if seen
        else ""
    )
    return f"Updates that were accepted and not applied: {count:,}{listed}.{when}"


def _read(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, connect_timeout=_CONNECT_S) as connection:
        return connection.execute(query.encode()).fetchall()
