"""Reads from PostgreSQL what it contains, and which updates in Kafka are not applied."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg

#: How many apps an error names. It counts the others.
APPS_SHOWN: Final = 10
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
_APPS: Final = """
    SELECT app.name, (SELECT count(*) FROM record WHERE record.app = app.id) AS records
    FROM app ORDER BY records DESC, app.name
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


def contents(url: str) -> list[str]:
    """Sentences about what the database contains, and which updates are not applied to it."""
    try:
        apps, streams = _read(url, _APPS), partitions(url)
    except psycopg.errors.UndefinedTable:
        return ["PostgreSQL has no tables yet."]
    behind = [each for each in streams if each.end > each.frontier]
    count = sum(each.end - each.frontier for each in behind)
    seen = max((each.seen for each in streams if each.seen), default=None)
    listed = f" ({'; '.join(map(str, behind))})" if behind else ""
    when = (
        f" The bridge last read Kafka at {seen:%Y-%m-%d %H:%M:%S} UTC; later updates are not counted."
        if seen
        else ""
    )
    names = [f"{name} ({records:,})" for name, records in apps[:APPS_SHOWN]]
    if len(apps) > APPS_SHOWN:
        names.append(f"and {len(apps) - APPS_SHOWN} more")
    return [
        f"Updates that were accepted and not applied: {count:,}{listed}.{when}",
        f"Records in PostgreSQL: {sum(records for _, records in apps):,}, of the apps "
        f"{', '.join(names)}."
        if apps
        else "PostgreSQL has no apps and no records.",
    ]


def _read(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, connect_timeout=_CONNECT_S) as connection:
        return connection.execute(query.encode()).fetchall()
