"""What a worker does with a task: apply it, refuse it, or find out which write of it is bad.

The decisions are here; the statements are behind `Lanes` (workers/lanes.py for PostgreSQL, tests/fakes.py
in memory). Every statement carries the guards of rule 7, so whatever a worker does late, twice or
after a nap does nothing.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from notify.domain.stream import dead_letters_reason
from notify.domain.window import ONE_AT_A_TIME

#: From this send on, a batch counts as one that may have killed the workers before.
TRY_FROM_ATTEMPT: Final = 3
#: So many counted tries without an outcome: the batch is isolated, or, one offset long, dead-lettered.
TRIES_MAX: Final = 3

NO_ROWS: Final = "[]"


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a task that one stream's lane applies: offsets in (prev, last]."""

    stream: int
    partition: int
    token: int
    prev: int
    last: int


class Original(NamedTuple):
    """One write of an isolated batch: its row (domain/rows.py) and the message it comes from."""

    offset: int
    row: dict[str, Any]
    message: str


class Outcome(StrEnum):
    """What became of a segment."""

    APPLIED = "applied"
    REFUSED = "refused"
    ISOLATED = "isolated"
    DEAD_LETTERED = "dead_lettered"
    HALTED = "halted"


class BadData(Exception):
    """PostgreSQL refused the data itself (SQLSTATE class 22, 23 or 54)."""


class Unavailable(Exception):
    """PostgreSQL is away, or busy: nothing is known of the payload; the bridge sends it again."""


class _Refused(Exception):
    pass


class _TooManyDeadLetters(Exception):
    pass


class Lanes(Protocol):
    """The guarded statements. Each raises BadData or Unavailable, and then has done nothing."""

    def apply(self, lane: int, segments: Sequence[Segment], rows: str) -> set[int]:
        """Apply the segments that are next in their lanes; the streams of those."""
        ...

    def count_try(self, lane: int, segment: Segment) -> int | None:
        """Count a try before it is made; the tries so far, None where it would be refused."""
        ...

    def survived(self, lane: int, segment: Segment) -> None:
        """Start counting tries again."""
        ...

    def isolate(self, lane: int, segment: Segment, *, tries: int) -> None:
        """Ask the bridge for unmerged batches up to the segment's end."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction, or within one a savepoint."""
        ...

    def dead_letter(self, segment: Segment, original: Original, error: str) -> int:
        """List a write; the stream's dead letters at or after its frontier."""
        ...

    def halt(self, segment: Segment, reason: str) -> None:
        """Stop the stream until an operator has looked at it."""
        ...


def apply_merged(
    lanes: Lanes, lane: int, segments: Sequence[Segment], *, rows: str, attempt: int
) -> dict[int, Outcome]:
    """Apply a task's segments together; the outcome by stream. Raises Unavailable.

    One that fails for its data is found by applying each alone, and isolated. Any other failure,
    ours included, is survived: it says nothing of the payload.
    """
    try:
        outcomes, left = _count_tries(lanes, lane, segments, attempt)
        return outcomes | _apply_together(lanes, lane, left, rows)
    except Exception:
        _note_survival(lanes, lane, segments, attempt)
        raise


def _apply_together(
    lanes: Lanes, lane: int, segments: Sequence[Segment], rows: str
) -> dict[int, Outcome]:
    if not segments:
        return {}
    try:
        applied = lanes.apply(lane, segments, rows)
    except BadData:
        return {each.stream: _apply_alone(lanes, lane, each, rows) for each in segments}
    return {
        each.stream: Outcome.APPLIED if each.stream in applied else Outcome.REFUSED
        for each in segments
    }


def apply_isolated(
    lanes: Lanes,
    lane: int,
    segment: Segment,
    *,
    originals: Sequence[Original],
    attempt: int,
    dead_letters_max: int,
) -> Outcome:
    """Apply an isolated batch: its bad writes become dead letters, the lane moves on. Raises Unavailable.

    With more than `dead_letters_max` of them at or after the frontier the stream halts instead, and
    nothing of the batch is applied: so many are a bad deploy, not poison.
    """
    killer = None
    if attempt >= TRY_FROM_ATTEMPT:
        tries = lanes.count_try(lane, segment)
        if tries is None:
            return Outcome.REFUSED
        if tries > TRIES_MAX:
            if originals[0].offset != originals[-1].offset:
                lanes.isolate(lane, segment, tries=ONE_AT_A_TIME)
                return Outcome.ISOLATED
            killer = f"its worker died {TRIES_MAX} times"
    try:
        with lanes.transaction():
            return _apply_one_by_one(lanes, lane, segment, originals, killer, dead_letters_max)
    except _Refused:
        return Outcome.REFUSED
    except _TooManyDeadLetters:
        _note_survival(lanes, lane, [segment], attempt)
        lanes.halt(
            segment,
            dead_letters_reason(
                dead_letters_max,
                where=f"the last in lane {lane} up to offset {segment.last}",
                partition=segment.partition,
            ),
        )
        return Outcome.HALTED
    except Exception:
        _note_survival(lanes, lane, [segment], attempt)
        raise


def _apply_one_by_one(
    lanes: Lanes,
    lane: int,
    segment: Segment,
    originals: Iterable[Original],
    killer: str | None,
    dead_letters_max: int,
) -> Outcome:
    outcome = Outcome.APPLIED
    at = replace(segment, last=segment.prev)
    _step(lanes, lane, at, NO_ROWS)
    for original in originals:
        error = killer
        if error is None:
            step = replace(at, prev=at.last, last=original.offset)
            try:
                with lanes.transaction():
                    _step(lanes, lane, step, json.dumps([original.row]))
                at = step
            except BadData as refusal:
                error = str(refusal)
        if error is not None:
            outcome = Outcome.DEAD_LETTERED
            if lanes.dead_letter(segment, original, error) > dead_letters_max:
                raise _TooManyDeadLetters
    _step(lanes, lane, replace(segment, prev=at.last), NO_ROWS)
    return outcome


def _step(lanes: Lanes, lane: int, segment: Segment, rows: str) -> None:
    if not lanes.apply(lane, [segment], rows):
        raise _Refused


def _apply_alone(lanes: Lanes, lane: int, segment: Segment, rows: str) -> Outcome:
    mine = json.dumps([row for row in json.loads(rows) if row["s"] == segment.stream])
    try:
        applied = lanes.apply(lane, [segment], mine)
    except BadData:
        lanes.isolate(lane, segment, tries=0)
        return Outcome.ISOLATED
    return Outcome.APPLIED if applied else Outcome.REFUSED


def _count_tries(
    lanes: Lanes, lane: int, segments: Sequence[Segment], attempt: int
) -> tuple[dict[int, Outcome], list[Segment]]:
    """The outcomes that are clear before the batch is touched, and the segments to apply."""
    if attempt < TRY_FROM_ATTEMPT:
        return {}, list(segments)
    outcomes: dict[int, Outcome] = {}
    left = []
    for segment in segments:
        tries = lanes.count_try(lane, segment)
        if tries is None:
            outcomes[segment.stream] = Outcome.REFUSED
        elif tries > TRIES_MAX:
            lanes.isolate(lane, segment, tries=ONE_AT_A_TIME)
            outcomes[segment.stream] = Outcome.ISOLATED
        else:
            left.append(segment)
    return outcomes, left


def _note_survival(lanes: Lanes, lane: int, segments: Iterable[Segment], attempt: int) -> None:
    if attempt < TRY_FROM_ATTEMPT:
        return
    try:
        for segment in segments:
            lanes.survived(lane, segment)
    except Unavailable:
        return
