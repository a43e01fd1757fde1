"""A stream's recorded positions, and what must be true of them.

The SQL only reads, locks and writes these; every check is here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from notify.domain.digest import Last
from notify.domain.window import Window

#: A surprise: see `tick_surprise`.
TAKEN: Final = "another bridge loaded the stream"
_NEEDS_UPGRADE: Final = re.compile(r"needs an upgrade: the message at offset \d+ has v (\d+),")


@dataclass(frozen=True, slots=True)
class StreamRow:
    """The `stream` row: offsets below `frontier` are applied, those below `planned` decided.

    `last_message` is None before a first chunk, and where a bridge or an operator could not know it.
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
        """The row with these positions."""
        return replace(self, frontier=frontier, planned=planned, last_message=last_message)

    @property
    def drained(self) -> bool:
        """Whether every decided offset is applied."""
        return self.frontier == self.planned


@dataclass(frozen=True, slots=True)
class LaneRow:
    """The `lane` row; see notify.models.Lane."""

    last: int
    isolate: int = -1
    tries: int = 0

    @property
    def one_at_a_time(self) -> bool:
        """Whether batches killed their workers, so that one offset is sent at a time to `isolate`."""
        return self.tries < 0 and self.isolate > self.last


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What Kafka says of a partition: offsets start..end-1 exist."""

    topic_id: str
    partitions: int
    start: int
    end: int


class Position(NamedTuple):
    """Where a stream stands: see `StreamRow`."""

    frontier: int
    planned: int


def fit(position: Position, *, start: int, end: int) -> Position:
    """The nearest position from which a log of start..end-1 can be read on; frontier is not after
    planned."""
    planned = min(max(position.planned, start), end)
    return Position(min(max(position.frontier, start), planned), planned)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """The encoded decisions on offsets first..next-1, and the digests of the messages there."""

    first: int
    next: int
    decisions: bytes
    digests: bytes | None = None


def halt_reason(stream: StreamRow, facts: LogFacts, *, partitions_stored: int) -> str | None:
    """Why the log cannot be the one that `stream` stands for; None if it can (rule 11).

    `stream` must have been read before `facts`: ends only rise.
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
    """Why a log does not hold what was planned at this offset and perhaps after it (rule 11)."""
    return (
        f"from offset {offset} on the log holds other messages than those that were planned: Kafka lost "
        "messages that were acknowledged, and new ones took their offsets; restore the topic's log, or "
        "`manage.py topic adopt`"
    )


def upgrade_reason(offset: int, v: int, *, reads: int) -> str:
    """Why a stream waits in front of a message of a later release (rule 11); `needed_version` reads it."""
    return (
        f"needs an upgrade: the message at offset {offset} has v {v}, this bridge reads v up to {reads}. "
        f"Upgrade all bridges to a release that reads v {v}: the stream then goes on by itself, without "
        "`stream resume`, and no update is lost"
    )


def needed_version(reason: str) -> int | None:
    """The `v` that a bridge must read to end a halt with this reason; None for every other reason."""
    found = _NEEDS_UPGRADE.match(reason)
    return None if found is None else int(found[1])


def dead_letters_reason(most: int, *, where: str, partition: int) -> str:
    """Why a stream with so many dead letters at or after its frontier halts (rule 9)."""
    return (
        f"more than {most} dead letters in the window, {where}: look at them, then "
        f"`manage.py stream resume {partition}`"
    )


def tick_surprise(
    stream: StreamRow | None,
    lanes: Mapping[int, LaneRow],
    window: Window,
    *,
    token: int,
    planned: int,
) -> str | None:
    """Why what is recorded is not what this bridge remembers; None if it is (rule 5).

    Lanes that stand where the window's flying batch ends are noted as landed.
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
