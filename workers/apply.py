"""What a worker does with a task: it applies the task, refuses it, or finds out which write of it is bad.

The decisions are here. The statements are behind `Lanes` (workers/lanes.py for PostgreSQL, tests/fakes.py
in memory). Each statement has the guards of rule 7, so a task that comes late or twice changes nothing.

How one bad write is isolated. A lane has applied all offsets up to 9; the write at offset 12 breaks a
constraint:

    batch of offsets 10..14, merged      PostgreSQL refuses it: nothing is applied, lane.isolate = 14
    the bridge loads the stream again and sends the offsets 10..14 unmerged
    10, 11 in a savepoint each           applied
    12 in a savepoint                    refused again: rolled back, and stored as a dead letter
    13, 14 in a savepoint each           applied; the lane has applied all up to 14 and merges again

If the worker dies instead of getting an error (out of memory, say), it cannot isolate the batch. So from
the third send on each try is counted before it is made. After three tries without a result the lane gets
one offset at a time, and an offset whose worker dies three times becomes a dead letter.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Final, Protocol

from msgspec.structs import replace

from notify.domain.engine.stream import dead_letters_reason
from notify.domain.engine.task import IsolatedRow, Segment
from notify.domain.engine.window import ONE_AT_A_TIME

#: From this send on, the tries of a batch are counted, because it may have killed workers before.
TRY_FROM_ATTEMPT: Final = 3
#: After this many counted tries without an outcome a batch is isolated; one of a single offset becomes a
#: dead letter.
TRIES_MAX: Final = 3

NO_ROWS: Final = "[]"


class Outcome(StrEnum):
    """The result of a segment."""

    APPLIED = "applied"
    REFUSED = "refused"
    ISOLATED = "isolated"
    DEAD_LETTERED = "dead_lettered"
    HALTED = "halted"


class BadData(Exception):
    """PostgreSQL refuses the data (SQLSTATE class 22, 23 or 54)."""


class PostgresUnavailable(Exception):
    """PostgreSQL is unavailable or busy. This says nothing about the data; the bridge sends it again."""


class _Refused(Exception):
    pass


class _TooManyDeadLetters(Exception):
    pass


#: A stream's id, and the number of one of its lanes.
StreamLane = tuple[int, int]


class Lanes(Protocol):
    """The guarded statements. If one raises BadData or PostgresUnavailable, it has changed nothing."""

    def apply(self, segments: Sequence[Segment], rows: str) -> set[StreamLane]:
        """Applies the segments that are next in their lanes, and returns which those are.

        Rows that do not name their lane (``l``) are of the first segment's.
        """
        ...

    def count_try(self, segment: Segment) -> int | None:
        """Counts a try before it is made. Returns the tries so far; None if it would be refused."""
        ...

    def survived(self, segment: Segment) -> None:
        """Resets the count of tries, because the worker survived."""
        ...

    def isolate(self, segment: Segment, *, tries: int) -> None:
        """Lets the bridge send unmerged batches up to the segment's end."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction; a savepoint if one is open already."""
        ...

    def dead_letter(self, segment: Segment, original: IsolatedRow, error: str) -> int:
        """Stores a dead letter. Returns how many the stream has at or after its frontier."""
        ...

    def halt(self, segment: Segment, reason: str) -> None:
        """Halts the stream until an operator resumes it."""
        ...


def apply_merged(
    lanes: Lanes, segments: Sequence[Segment], *, rows: str, attempt: int
) -> dict[Segment, Outcome]:
    """Applies a task's segments together and returns the outcome of each. Raises PostgresUnavailable.

    If PostgreSQL refuses the data, each segment is applied alone, and the bad one is isolated. Any other
    error, also one of our own, does not count as a try: it says nothing about the data.
    """
    try:
        outcomes, left = _count_tries(lanes, segments, attempt)
        return outcomes | _apply_together(lanes, left, rows)
    except Exception:
        _note_survival(lanes, segments, attempt)
        raise


def _apply_together(lanes: Lanes, segments: Sequence[Segment], rows: str) -> dict[Segment, Outcome]:
    if not segments:
        return {}
    try:
        applied = lanes.apply(segments, rows)
    except BadData:
        return {each: _apply_alone(lanes, each, rows) for each in segments}
    return {
        each: Outcome.APPLIED if (each.stream, each.lane) in applied else Outcome.REFUSED
        for each in segments
    }


def apply_isolated(
    lanes: Lanes,
    segment: Segment,
    *,
    originals: Sequence[IsolatedRow],
    attempt: int,
    dead_letters_max: int,
) -> Outcome:
    """Applies an isolated batch: bad writes become dead letters, all others are applied. Raises
    PostgresUnavailable.

    If the stream then has more than `dead_letters_max` dead letters at or after its frontier, nothing of
    the batch is applied and the stream halts: the cause of so many is a bad deploy, not a bad write.
    """
    killer = None
    if attempt >= TRY_FROM_ATTEMPT:
        tries = lanes.count_try(segment)
        if tries is None:
            return Outcome.REFUSED
        if tries > TRIES_MAX:
            if originals[0].offset != originals[-1].offset:
                lanes.isolate(segment, tries=ONE_AT_A_TIME)
                return Outcome.ISOLATED
            killer = f"its worker died {TRIES_MAX} times"
    try:
        with lanes.transaction():
            return _apply_one_by_one(lanes, segment, originals, killer, dead_letters_max)
    except _Refused:
        return Outcome.REFUSED
    except _TooManyDeadLetters:
        _note_survival(lanes, [segment], attempt)
        lanes.halt(
            segment,
            dead_letters_reason(
                dead_letters_max,
                where=f"the last in lane {segment.lane} up to offset {segment.last}",
                partition=segment.partition,
            ),
        )
        return Outcome.HALTED
    except Exception:
        _note_survival(lanes, [segment], attempt)
        raise


def _apply_one_by_one(
    lanes: Lanes,
    segment: Segment,
    originals: Iterable[IsolatedRow],
    killer: str | None,
    dead_letters_max: int,
) -> Outcome:
    outcome = Outcome.APPLIED
    at = replace(segment, last=segment.prev)
    _step(lanes, at, NO_ROWS)
    for original in originals:
        error = killer
        if error is None:
            step = replace(at, prev=at.last, last=original.offset)
            try:
                with lanes.transaction():
                    _step(lanes, step, json.dumps([original.row]))
                at = step
            except BadData as refusal:
                error = str(refusal)
        if error is not None:
            outcome = Outcome.DEAD_LETTERED
            if lanes.dead_letter(segment, original, error) > dead_letters_max:
                raise _TooManyDeadLetters
    _step(lanes, replace(segment, prev=at.last), NO_ROWS)
    return outcome


def _step(lanes: Lanes, segment: Segment, rows: str) -> None:
    if not lanes.apply([segment], rows):
        raise _Refused


def _apply_alone(lanes: Lanes, segment: Segment, rows: str) -> Outcome:
    mine = [
        row
        for row in json.loads(rows)
        if row["s"] == segment.stream and row.get("l", segment.lane) == segment.lane
    ]
    try:
        applied = lanes.apply([segment], json.dumps(mine))
    except BadData:
        lanes.isolate(segment, tries=0)
        return Outcome.ISOLATED
    return Outcome.APPLIED if applied else Outcome.REFUSED


def _count_tries(
    lanes: Lanes, segments: Sequence[Segment], attempt: int
) -> tuple[dict[Segment, Outcome], list[Segment]]:
    """Counts a try for each segment. Returns the outcomes of those not to apply, and those to apply."""
    if attempt < TRY_FROM_ATTEMPT:
        return {}, list(segments)
    outcomes: dict[Segment, Outcome] = {}
    left = []
    for segment in segments:
        tries = lanes.count_try(segment)
        if tries is None:
            outcomes[segment] = Outcome.REFUSED
        elif tries > TRIES_MAX:
            lanes.isolate(segment, tries=ONE_AT_A_TIME)
            outcomes[segment] = Outcome.ISOLATED
        else:
            left.append(segment)
    return outcomes, left


def _note_survival(lanes: Lanes, segments: Iterable[Segment], attempt: int) -> None:
    if attempt < TRY_FROM_ATTEMPT:
        return
    try:
        for segment in segments:
            lanes.survived(segment)
    except PostgresUnavailable:
        return
