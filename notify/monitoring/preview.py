"""Previews of a skip rule or a link limit: what it would have dropped in the last minute."""

from typing import NamedTuple
from uuid import UUID

from notify.monitoring.snapshot import run

#: How many parents a preview counts; with more, it says "or more".
PARENTS_MAX = 1_000


class SkipPreview(NamedTuple):
    """The record's own and mirrored updates in the last minute."""

    direct: int
    mirrored: int


class LimitPreview(NamedTuple):
    """Parents of the app with more children, and the updates mirrored to them in the last minute."""

    parents: int
    mirrored: int


class LinkedNow(NamedTuple):
    """How many children a record has by a label."""

    record: UUID
    n: int


def of_skip(app: UUID, record: UUID) -> SkipPreview:
    """What a skip rule for the record would have dropped."""
    ((direct, mirrored),) = run("minute_of_record", app=app, record=record)
    return SkipPreview(direct, mirrored)


def of_limit(app: UUID, label: str, children: int) -> LimitPreview:
    """What a link limit would have stopped; parents with fewer than ten children are not counted."""
    ((parents, mirrored),) = run("parents_over", app=app, label=label, children=children)
    return LimitPreview(parents, mirrored)


def linked_now(app: UUID, label: str, record: UUID | None) -> LinkedNow | None:
    """The number of children of `record`; without one, of the app's record with most children, if it has
    ten or more."""
    if record is None:
        return next((LinkedNow(*row) for row in run("most_linked", app=app, label=label)), None)
    rows = run("linked", apps=[app], records=[record])
    return LinkedNow(record, next((n for _, _, by, n in rows if by == label), 0))
