"""The window: planned updates of one stream whose writes are not known to be applied.

Each lane holds its writes in segments, one a chunk, merged a record at a time. A batch takes whole
segments from the head, so it never ends inside an offset's writes. The window knows positions as
the last tick saw them; it is memory, and a Load makes it anew.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from notify.domain.decide import Write
from notify.domain.lanes import lane_of
from notify.domain.patch import compose

#: Rule 14: bounds of memory, replay, plan rows and of how long a new rule takes to act.
WINDOW_OFFSETS: Final = 20_000
WINDOW_BYTES: Final = 32 * 1024 * 1024
CHUNK_MESSAGES: Final = 2_000
CHUNK_BYTES: Final = 4 * 1024 * 1024
TASK_ROWS: Final = 1_000
TASK_BYTES: Final = 1024 * 1024
#: Offsets in one batch of a lane that is being isolated; its writes are not merged.
ISOLATED_OFFSETS: Final = 100

#: `tries` of a lane whose batches killed their worker: one offset is sent at a time up to `isolate`, and
#: tries are counted from here down, so that the mode outlives the bridge's memory.
ONE_AT_A_TIME: Final = -1


class Original(NamedTuple):
    """One write of one offset, unmerged, with the message it comes from: what isolation sends."""

    offset: int
    write: Write
    message: bytes


@dataclass(slots=True)
class Segment:
    """One lane's writes of offsets first..last of a chunk: merged, or as they were in the log."""

    first: int
    last: int
    writes: dict[tuple[str, str], Write] | list[Original]
    held_bytes: int = 0
    row_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one lane applies at once: the writes with offsets in (prev, last].

    Merged batches have one write a record, isolated ones the writes as they were, in log order.
    """

    stream: int
    lane: int
    prev: int
    last: int
    first: int
    held_bytes: int
    merged: tuple[Write, ...] = ()
    isolated: tuple[Original, ...] = ()

    @property
    def rows(self) -> int:
        """Writes in the batch."""
        return len(self.merged) + len(self.isolated)


@dataclass(slots=True)
class Lane:
    """One lane's positions and what waits in it. `last` is applied; `isolate` as read at Load."""

    last: int
    isolate: int = -1
    one_at_a_time: bool = False
    waiting: deque[Segment] = field(default_factory=deque)
    flying: Batch | None = None

    @property
    def writes(self) -> int:
        """Writes that are not known to be applied, those of a segment merged."""
        flying = 0 if self.flying is None else self.flying.rows
        return flying + sum(len(segment.writes) for segment in self.waiting)

    def outstanding(self) -> int | None:
        """The lowest offset with a write that is not known to be applied."""
        if self.flying is not None:
            return self.flying.first
        return self.waiting[0].first if self.waiting else None


class Window:
    """The lanes of one stream. All offsets below `frontier` are applied in every lane."""

    def __init__(self, stream: int, lanes: dict[int, Lane]) -> None:
        self.stream = stream
        self.lanes = lanes
        self.held_bytes = 0

    def frontier(self, planned: int) -> int:
        """The lowest offset outstanding in any lane, else `planned`."""
        heads = [head for lane in self.lanes.values() if (head := lane.outstanding()) is not None]
        return min(heads, default=planned)

    def add(self, writes: Iterable[tuple[int, bytes, list[Write]]]) -> None:
        """Take a chunk: (offset, message, its writes), offsets rising.

        What a lane has applied already is dropped: at a Load the log is read again from the frontier.
        """
        open_segments: dict[int, Segment] = {}
        for offset, message, written in writes:
            for write in written:
                number = lane_of(write.app, write.record, len(self.lanes))
                lane = self.lanes[number]
                if offset <= lane.last:
                    continue
                if offset <= lane.isolate:
                    self._add_isolated(lane, Original(offset, write, message))
                    continue
                segment = open_segments.get(number)
                if segment is None:
                    segment = open_segments[number] = Segment(offset, offset, {})
                    lane.waiting.append(segment)
                self._add_merged(segment, offset, len(message), write)

    def _add_merged(self, segment: Segment, offset: int, message_bytes: int, write: Write) -> None:
        assert isinstance(segment.writes, dict)
        key = (write.app, write.record)
        before = segment.writes.get(key)
        merged = write if before is None else Write(*key, compose(before.patch, write.patch))
        segment.writes[key] = merged
        if before is None or len(merged.patch.ops) > len(before.patch.ops):
            segment.row_bytes += message_bytes
        segment.last = offset
        segment.held_bytes += message_bytes
        self.held_bytes += message_bytes

    def _add_isolated(self, lane: Lane, original: Original) -> None:
        tail = lane.waiting[-1] if lane.waiting else None
        if tail is None or tail.last != original.offset:
            tail = Segment(original.offset, original.offset, [])
            lane.waiting.append(tail)
        assert isinstance(tail.writes, list)
        tail.writes.append(original)
        tail.held_bytes += len(original.message)
        self.held_bytes += len(original.message)

    def take(self, number: int, *, max_rows: int, max_bytes: int) -> Batch | None:
        """The lane's next batch, now flying; None if one is flying, or nothing waits.

        It holds at least one segment, and more while they fit into `max_rows` and `max_bytes`.
        """
        lane = self.lanes[number]
        if lane.flying is not None or not lane.waiting:
            return None
        if isinstance(lane.waiting[0].writes, list):
            lane.flying = self._take_isolated(number, lane)
        else:
            lane.flying = self._take_merged(number, lane, max_rows, max_bytes)
        return lane.flying

    def _take_merged(self, number: int, lane: Lane, max_rows: int, max_bytes: int) -> Batch:
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
                merged[key] = (
                    write
                    if before is None
                    else Write(write.app, write.record, compose(before.patch, write.patch))
                )
            last = segment.last
            held += segment.held_bytes
            row_bytes += segment.row_bytes
            lane.waiting.popleft()
        return Batch(
            self.stream, number, lane.last, last, head.first, held, merged=tuple(merged.values())
        )

    def _take_isolated(self, number: int, lane: Lane) -> Batch:
        limit = 1 if lane.one_at_a_time else ISOLATED_OFFSETS
        originals: list[Original] = []
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
        """Note that the lane stands at `last`. False if that is no place it can stand at: neither
        where it stood nor the end of the batch that is flying."""
        lane = self.lanes[number]
        if last == lane.last:
            return True
        if lane.flying is None or last != lane.flying.last:
            return False
        self.held_bytes -= lane.flying.held_bytes
        lane.last, lane.flying = last, None
        if lane.last >= lane.isolate:
            lane.one_at_a_time = False
        return True
