"""Skipped updates and dead letters by app, record and reason, with counts over time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.utils import timezone

from notify.admin.charts import Bar, bars
from notify.admin.listing import names_of
from notify.databases import queries

_QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "dropped_groups.sql")
#: The tables that have groups.
SKIPPED: Final = "skipped"
DEAD_LETTERS: Final = "dead_letter"
#: Rows that are read, the newest; groups that are shown.
ROWS_READ: Final = 20_000
GROUPS_SHOWN: Final = 20
#: Records of an app and reason with a group of their own: a constraint that refuses a write of each of
#: 10,000 records is one group more, not 10,000.
RECORDS_EACH: Final = 3
_DAY: Final = timedelta(days=1)
_SLOT: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows with the same app, record and reason.

    `record` is None for the group of `others` records that have no group of their own, and, with no
    `others`, for rows without a record. `n` is of all rows read, `first` and `last` are the oldest and the
    newest of them. `query` opens the list filtered by it.
    """

    app: UUID | None
    name: Any
    reason: str
    record: UUID | None
    others: int
    of_hour: int
    of_day: int
    n: int
    first: datetime
    last: datetime
    chart: Sequence[Bar]
    query: str


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups with most of the last day first, at most GROUPS_SHOWN of `all`.

    `since`: the time of the oldest row that was read, where there may be older ones; counts begin there.
    """

    shown: Sequence[Group]
    all: int
    since: datetime | None


def read(table: str) -> Groups:
    """The groups of SKIPPED or DEAD_LETTERS. Two queries; no more than ROWS_READ rows are read."""
    now = timezone.now()
    wanted = {
        "table": table,
        "rows": ROWS_READ,
        "each": RECORDS_EACH,
        "most": GROUPS_SHOWN,
        "since": now - _DAY,
        "hour": now - _SLOT,
        "slot_s": _SLOT.total_seconds(),
    }
    rows = queries.rows(_QUERIES["groups"], wanted)
    names = names_of(row[0] for row in rows)
    is_cut = bool(rows) and rows[0][11] == ROWS_READ
    return Groups(
        [_group(row, names) for row in rows],
        rows[0][10] if rows else 0,
        rows[0][12] if is_cut else None,
    )


def _group(row: tuple[Any, ...], names: Mapping[UUID, str]) -> Group:
    app, reason, record, others, of_hour, of_day, n, first, last, by_slot, *_ = row
    wanted = {"in_app": app, "q": record, "reason": reason}
    return Group(
        app=app,
        name=names.get(app, app),
        reason=reason,
        record=record,
        others=others,
        of_hour=of_hour,
        of_day=of_day,
        n=n,
        first=first,
        last=last,
        chart=_chart(json.loads(by_slot)),
        query=urlencode({key: value for key, value in wanted.items() if value is not None}),
    )


def _chart(by_slot: Mapping[str, int]) -> list[Bar]:
    """A bar for each hour. Rows with a time in the future count for the last hour."""
    slots = [0.0] * (_DAY // _SLOT)
    for slot, n in by_slot.items():
        slots[min(int(slot), len(slots) - 1)] += n
    return bars(slots)
