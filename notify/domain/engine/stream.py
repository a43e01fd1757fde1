"""The positions of a stream (one partition, as PostgreSQL stores it), and the checks on them.

The SQL only reads, locks and writes positions; all checks are here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from notify.domain.engine.digest import Last
from notify.domain.engine.window import Window

#: How many dead letters a stream may have at or after its frontier, or 1 % of the window if that is more.
DEAD_LETTERS_MIN: Final = 20
#: One of the texts of `tick_surprise`.
TAKEN: Final = "another bridge loaded the stream"
_NEEDS_UPGRADE: Final = re.compile(r"needs an upgrade: the message at offset \d+ has v (\d+),")


@dataclass(frozen=True, slots=True)
class StreamRow:
    """The `stream` row. Offsets below `frontier` are applied, those below `planned` are decided.

    `last_message` is None before the first chunk, and if a bridge or an operator could not know it.
    """

    id: int
    topic_id: str
    partition: int
    lanes: int
    lanes_wanted: int
    token: int
    planned: int
    frontier: int
    halted: str | None = None
    last_message: Last | None = None

    def at(self, *, frontier: int, planned: int, last_message: Last | None = None) -> "StreamRow":
        """A copy of the row with these positions."""
        return replace(self, frontier=frontier, planned=planned, last_message=last_message)

    @property
    def drained(self) -> bool:
        """Whether all decided updates are applied."""
        return self.frontier == self.planned


@dataclass(frozen=True, slots=True)
class LaneRow:
    """The `lane` row; see notify.models.Lane."""

    last: int
    isolate: int = -1
    tries: int = 0

    @property
    def one_at_a_time(self) -> bool:
        """Whether the lane gets one offset at a time, up to `isolate`, because batches killed workers."""
        return self.tries < 0 and self.isolate > self.last


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What Kafka says about a partition: its log contains the offsets start..end-1."""

    topic_id: str
    partitions: int
    start: int
    end: int


class Position(NamedTuple):
    """The positions of a stream; see `StreamRow`."""

    frontier: int
    planned: int


def fit(position: Position, *, start: int, end: int) -> Position:
    """The position nearest to `position` that lies within a log of start..end-1, frontier not after
    planned."""
    planned = min(max(position.planned, start), end)
    return Position(min(max(position.frontier, start), planned), planned)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A `plan` row: the encoded decisions on offsets first..next-1, and the digests of their messages."""

    first: int
    next: int
    decisions: bytes
    digests: bytes | None = None


def halt_reason(stream: StreamRow, facts: LogFacts, *, partitions_stored: int) -> str | None:
    """Why Kafka's log cannot be the one that `stream` was planned from; None if it can (rule 11).

    `stream` must be read before `facts`, since the log's end only rises.
    """
    if facts.topic_id != stream.topic_id:
        return (
            f"the topic was deleted and made again (its id is {facts.topic_id}, not "
            f"{stream.topic_id}): run `manage.py topic adopt`"
        )
    if facts.partitions < partitions_stored:
        return (
            f"the topic has {facts.partitions} partitions, {partitions_stored} are stored: "
            "it is not the topic that was adopted; restore it, or `manage.py topic adopt`"
        )
    if facts.start > stream.frontier:
        return (
            f"the log starts at {facts.start}, after the frontier {stream.frontier}: offsets "
            "between were deleted before they were applied; raise the topic's retention, then adopt"
        )
    if facts.end < stream.planned:
        return (
            f"the log ends at {facts.end}, before {stream.planned}, up to which it is planned: "
            "Kafka lost messages that were acknowledged; restore them, or `manage.py topic adopt`"
        )
    return None


def replaced_reason(offset: int) -> str:
    """The reason of a halt because the log has other messages than were planned, from this offset on
    (rule 11)."""
    return (
        f"from offset {offset} on the log holds other messages than those that were planned: Kafka lost "
        "messages that were acknowledged, and new ones took their offsets; restore the topic's log, or "
        "`manage.py topic adopt`"
    )


def upgrade_reason(offset: int, v: int, *, reads: int) -> str:
    """The reason of a halt in front of a message of a later release (rule 11). `needed_version` parses it."""
    return (
        f"needs an upgrade: the message at offset {offset} has v {v}, this bridge reads v up to {reads}. "
        f"Upgrade all bridges to a release that reads v {v}: the stream then goes on by itself, without "
        "`stream resume`, and no update is lost"
    )


def needed_version(reason: str) -> int | None:
    """The `v` that a bridge must be able to read to end a halt with this reason; None for other reasons."""
    found = _NEEDS_UPGRADE.match(reason)
    return None if found is None else int(found[1])


def dead_letters_max(window_offsets: int) -> int:
    """How many dead letters a stream may have at or after its frontier before it halts (rule 9)."""
    return max(DEAD_LETTERS_MIN, window_offsets // 100)


def dead_letters_reason(most: int, *, where: str, partition: int) -> str:
    """The reason of a halt because of too many dead letters at or after the frontier (rule 9)."""
    return (
        f"more than {most} dead letters in the window, {where}: look at them, then "
        f"`manage.py stream resume {partition}`"
    )


def tick_surprise(
    stream: StreamRow | None,
    lanes: Mapping[int, LaneRow],
    window: Window[Any],
    *,
    token: int,
    planned: int,
) -> str | None:
    """How the recorded positions differ from what this bridge remembers; None if they agree (rule 5).

    Also notes in `window` the batches that have landed: those whose lane has reached their end.
    """
    if stream is None:
        return "the stream is gone"
    if stream.halted is not None:
        return "halted"
    if stream.token != token:
        return TAKEN
    if stream.planned != planned:
        return f"planned is {stream.planned}, not {planned}"
    if lanes.keys() != window.lanes.keys():
        return "the lanes changed"
    for number, row in lanes.items():
        if not window.landed(number, row.last):
            return f"lane {number} stands at {row.last}"
        lane = window.lanes[number]
        if row.isolate > max(lane.isolate, row.last):
            return f"lane {number} is to be isolated"
        if row.one_at_a_time and not lane.one_at_a_time:
            return f"lane {number} is to be sent one offset at a time"
    return None
