"""Charts of the past, from the tables of samples."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from notify.admin.charts import Spark, spark
from notify.databases import queries

_QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "queries.sql")
_HOUR_S: Final = 3_600
#: Seconds of a point of the hour's charts: two buckets, about a pixel.
_SLOT_S: Final = 20
_BUCKET_S: Final = 10
_RECORD_S: Final = 600
_DAY_S: Final = 86_400
_DAY_SLOT_S: Final = 600


@dataclass(frozen=True, slots=True)
class Hour:
    """The last hour of all partitions. Where no bridge wrote samples the lines have gaps."""

    messages_per_s: Spark
    skipped_per_s: Spark
    lag_s: Spark
    held_writes: Spark


@dataclass(frozen=True, slots=True)
class Day:
    """The updates of an app or a record in the last 24 hours, in slots of ten minutes."""

    updates: int
    mirrored: int
    per_s: Spark


def hour(now: datetime) -> Hour:
    """The hour up to the last whole slot before `now`. One query, bounded by the partitions."""
    until = floor(now, _SLOT_S)
    since = until - timedelta(seconds=_HOUR_S)
    rows = _rows("hour", since=since, until=until, slot_s=_SLOT_S)

    def line(column: int, per: int = 1) -> Spark:
        found = {row[0]: float(row[column]) / per for row in rows}
        return spark([found.get(slot) for slot in range(_HOUR_S // _SLOT_S)])

    return Hour(line(1, _SLOT_S), line(2, _SLOT_S), line(3), line(4))


def of_record(app: UUID, record: UUID, now: datetime) -> Spark:
    """Updates a second of the record in the last ten minutes. One indexed query.

    A bucket in which it was not among the hot ones counts as none.
    """
    until = floor(now, _BUCKET_S)
    since = until - timedelta(seconds=_RECORD_S)
    found = dict(_rows("record_history", app=app, record=record, since=since, until=until))
    return spark([float(found.get(n, 0)) / _BUCKET_S for n in range(_RECORD_S // _BUCKET_S)])


def day(
    read: Callable[..., list[tuple[Any, ...]]], now: datetime, *, draws_mirrored: bool = False
) -> Day:
    """The day up to the slot of `now`, which is not over yet. `draws_mirrored`: the line has both counts.

    `read(since, until, slot_s)` returns rows (slot, updates, mirrored). A slot without a row has none, as
    one in which the app or record was not among the hot ones.
    """
    until = floor(now, _DAY_SLOT_S) + timedelta(seconds=_DAY_SLOT_S)
    found = read(since=until - timedelta(seconds=_DAY_S), until=until, slot_s=_DAY_SLOT_S)
    by_slot = {row[0]: row[1] + (row[2] if draws_mirrored else 0) for row in found}
    return Day(
        sum(row[1] for row in found),
        sum(row[2] for row in found),
        spark([by_slot.get(slot, 0) / _DAY_SLOT_S for slot in range(_DAY_S // _DAY_SLOT_S)]),
    )


def floor(at: datetime, seconds: int) -> datetime:
    """The last whole multiple of so many seconds."""
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, tz=at.tzinfo)


def _rows(name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return queries.rows(_QUERIES[name], parameters)
