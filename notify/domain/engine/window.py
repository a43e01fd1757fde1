"""The window: the updates of one stream that are decided but not known to be applied.

Each lane keeps its writes in segments, one for each chunk, in which the writes to one record are merged.
A batch takes whole segments from the front, so it never ends between two writes of one offset. The window
is only memory: it knows positions as of the last tick, and a Load builds it again.

The window does not know what a write changes. It needs a write's key, and one write with the effect of two.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, Self, TypeVar

import msgspec

from notify.domain.engine.lanes import lane_of

#: Limits of memory, of what a Load reads again, and of how long a new skip rule takes to act (rule 14).
WINDOW_OFFSETS: Final = 20_000
WINDOW_BYTES: Final = 32 * 1024 * 1024
CHUNK_MESSAGES: Final = 2_000
SHORT_CHUNK_MESSAGES: Final = 250
CHUNK_BYTES: Final = 4 * 1024 * 1024
TASK_ROWS: Final = 1_000
TASK_BYTES: Final = 1024 * 1024
#: Lanes with few rows share a task of at most so many. Without rows a task costs a worker as much as
#: about 100 rows do (decision 0050).
SHARED_ROWS: Final = 300
#: Most offsets in one isolated batch, whose writes are not merged.
ISOLATED_OFFSETS: Final = 100

#: The first `tries` of a lane whose batches killed their worker: from then on it gets one offset at a
#: time, up to `isolate`. Tries count down from here, so that the mode is kept in PostgreSQL.
ONE_AT_A_TIME: Final = -1


class RowWrite(Protocol):
    """A change of one row, which `app` and `record` name."""

    @property
    def app(self) -> str:
        """The app, a UUID."""
        ...

    @property
    def record(self) -> str:
        """The record, a UUID."""
        ...

    @property
    def size(self) -> int:
        """How many fields of the row it changes."""
        ...

    def then(self, later: Self) -> Self:
        """One write with the effect of this one followed by `later`, which changes the same row."""
        ...


W = TypeVar("W", bound=RowWrite)


class Original(msgspec.Struct, Generic[W], frozen=True, gc=False):
    """An unmerged write of one offset, with its message: isolated batches consist of these."""

    offset: int
    write: W
    message: bytes


@dataclass(slots=True)
class LaneChunk(Generic[W]):
    """One lane's writes of the offsets first..last of a chunk: merged by record, or unmerged."""

    first: int
    last: int
    writes: dict[tuple[str, str], W] | list[Original[W]]
    held_bytes: int = 0
    row_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Batch(Generic[W]):
    """What one lane applies in one step: the writes of the offsets prev+1..last.

    A merged batch has one write for each record, an isolated one has all writes in the order of the log.
    """

    stream: int
    lane: int
    prev: int
    last: int
    first: int
    held_bytes: int
    merged: tuple[W, ...] = ()
    isolated: tuple[Original[W], ...] = ()

    @property
    def rows(self) -> int:
        """The number of writes in the batch."""
        return len(self.merged) + len(self.isolated)


@dataclass(slots=True)
class Lane(Generic[W]):
    """One lane's positions and waiting writes. All offsets up to `last` are applied; those up to `isolate`
    are sent unmerged."""

    last: int
    isolate: int = -1
    one_at_a_time: bool = False
    waiting: deque[LaneChunk[W]] = field(default_factory=deque)
    in_flight: Batch[W] | None = None

    @property
    def writes(self) -> int:
        """The number of writes that are not known to be applied, counted after merging."""
        in_flight = 0 if self.in_flight is None else self.in_flight.rows
        return in_flight + sum(len(segment.writes) for segment in self.waiting)

    def outstanding(self) -> int | None:
        """The lowest offset with a write that is not known to be applied; None if there is none."""
        if self.in_flight is not None:
            return self.in_flight.first
        return self.waiting[0].first if self.waiting else None


class Window(Generic[W]):
    """The lanes of one stream. All offsets below `frontier` are applied in every lane."""

    def __init__(self, stream: int, lanes: dict[int, Lane[W]]) -> None:
        self.stream = stream
        self.lanes = lanes
        self.held_bytes = 0

    def frontier(self, planned: int) -> int:
        """The lowest outstanding offset of all lanes; `planned` if nothing is outstanding."""
        heads = [head for lane in self.lanes.values() if (head := lane.outstanding()) is not None]
        return min(heads, default=planned)

    def add(self, writes: Iterable[tuple[int, bytes, list[W]]]) -> None:
        """Adds the writes of a chunk, as (offset, message, its writes) with rising offsets.

        Writes that a lane has already applied are ignored: a Load reads the log again from the frontier.
        """
        open_segments: dict[int, LaneChunk[W]] = {}
        count = len(self.lanes)
        for offset, message, written in writes:
            for write in written:
                number = lane_of(write.app, write.record, count)
                lane = self.lanes[number]
                if offset <= lane.last:
                    continue
                if offset <= lane.isolate:
                    self._add_isolated(lane, Original(offset, write, message))
                    continue
                segment = open_segments.get(number)
                if segment is None:
                    segment = open_segments[number] = LaneChunk(offset, offset, {})
                    lane.waiting.append(segment)
                self._add_merged(segment, offset, len(message), write)

    def _add_merged(self, segment: LaneChunk[W], offset: int, message_bytes: int, write: W) -> None:
        assert isinstance(segment.writes, dict)
        key = (write.app, write.record)
        before = segment.writes.get(key)
        merged = write if before is None else before.then(write)
        segment.writes[key] = merged
        if before is None or merged.size > before.size:
            segment.row_bytes += message_bytes
        segment.last = offset
        segment.held_bytes += message_bytes
        self.held_bytes += message_bytes

    def _add_isolated(self, lane: Lane[W], original: Original[W]) -> None:
        tail = lane.waiting[-1] if lane.waiting else None
        if tail is None or tail.last != original.offset:
            tail = LaneChunk(original.offset, original.offset, [])
            lane.waiting.append(tail)
        assert isinstance(tail.writes, list)
        tail.writes.append(original)
        tail.held_bytes += len(original.message)
        self.held_bytes += len(original.message)

    def take(self, number: int, *, max_rows: int, max_bytes: int) -> Batch[W] | None:
        """Takes the lane's next batch, which is then in flight. None if one is in flight or nothing waits.

        It has at least one segment, and more as long as they fit into `max_rows` and `max_bytes`.
        """
        lane = self.lanes[number]
        if lane.in_flight is not None or not lane.waiting:
            return None
        if isinstance(lane.waiting[0].writes, list):
            lane.in_flight = self._take_isolated(number, lane)
        else:
            lane.in_flight = self._take_merged(number, lane, max_rows, max_bytes)
        return lane.in_flight

    def _take_merged(self, number: int, lane: Lane[W], max_rows: int, max_bytes: int) -> Batch[W]:
        head = lane.waiting.popleft()
        assert isinstance(head.writes, dict)
        merged, last = dict(head.writes), head.last
        held, row_bytes = head.held_bytes, head.row_bytes
        while lane.waiting:
            segment = lane.waiting[0]
            assert isinstance(segment.writes, dict)
            rows = len(merged) + len(segment.writes)
            if rows > max_rows or row_bytes + segment.row_bytes > max_bytes:
                break
            for key, write in segment.writes.items():
                before = merged.get(key)
                merged[key] = write if before is None else before.then(write)
            last = segment.last
            held += segment.held_bytes
            row_bytes += segment.row_bytes
            lane.waiting.popleft()
        return Batch(
            self.stream, number, lane.last, last, head.first, held, merged=tuple(merged.values())
        )

    def _take_isolated(self, number: int, lane: Lane[W]) -> Batch[W]:
        limit = 1 if lane.one_at_a_time else ISOLATED_OFFSETS
        originals: list[Original[W]] = []
        first, last, held = lane.waiting[0].first, lane.waiting[0].last, 0
        for _ in range(limit):
            if not lane.waiting or not isinstance(lane.waiting[0].writes, list):
                break
            segment = lane.waiting.popleft()
            assert isinstance(segment.writes, list)
            originals += segment.writes
            last, held = segment.last, held + segment.held_bytes
        return Batch(self.stream, number, lane.last, last, first, held, isolated=tuple(originals))

    def landed(self, number: int, last: int) -> bool:
        """Notes that the lane has applied all up to `last`. False if that cannot be: it is neither the
        last known position nor the end of the batch in flight."""
        lane = self.lanes[number]
        if last == lane.last:
            return True
        if lane.in_flight is None or last != lane.in_flight.last:
            return False
        self.held_bytes -= lane.in_flight.held_bytes
        lane.last, lane.in_flight = last, None
        if lane.last >= lane.isolate:
            lane.one_at_a_time = False
        return True
