"""Charts of the past, from the tables of samples."""

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


@dataclass(frozen=True, slots=True)
class Hour:
    """The last hour of all partitions. Where no bridge wrote samples the lines have gaps."""

    messages_per_s: Spark
    skipped_per_s: Spark
    lag_s: Spark
    held_writes: Spark


def hour(now: datetime) -> Hour:
    """The hour up to the last whole slot before `now`. One query, bounded by the partitions."""
    until = _floor(now, _SLOT_S)
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
    until = _floor(now, _BUCKET_S)
    since = until - timedelta(seconds=_RECORD_S)
    found = dict(_rows("record_history", app=app, record=record, since=since, until=until))
    return spark([float(found.get(n, 0)) / _BUCKET_S for n in range(_RECORD_S // _BUCKET_S)])


def _floor(at: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, tz=at.tzinfo)


def _rows(name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return queries.rows(_QUERIES[name], parameters)
