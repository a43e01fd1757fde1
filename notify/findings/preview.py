"""What an order would drop, told before it is given: from the samples of the last minute."""

from typing import NamedTuple
from uuid import UUID

from notify.findings.snapshot import run

#: Parents that a preview counts at most; beyond, it says "or more".
PARENTS_MAX = 1_000


class SkipPreview(NamedTuple):
    """Updates of the record in the last minute: its own, and those mirrored to it."""

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
    """What a skip rule of the record would have dropped."""
    ((direct, mirrored),) = run("minute_of_record", app=app, record=record)
    return SkipPreview(direct, mirrored)


def of_limit(app: UUID, label: str, children: int) -> LimitPreview:
    """What a link limit would stop; parents with fewer than ten children are not counted."""
    ((parents, mirrored),) = run("parents_over", app=app, label=label, children=children)
    return LimitPreview(parents, mirrored)


def linked_now(app: UUID, label: str, record: UUID | None) -> LinkedNow | None:
    """The record; without one, the app's record with most children, if that has ten or more."""
    if record is None:
        return next((LinkedNow(*row) for row in run("most_linked", app=app, label=label)), None)
    rows = run("linked", apps=[app], records=[record])
    return LinkedNow(record, next((n for _, _, by, n in rows if by == label), 0))
