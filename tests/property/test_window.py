"""The window beside a model that knows no segments: a list of writes, and what is outstanding.

Chunks are added, batches taken under any limits and landed, in any order; lanes may stand anywhere at
the start and may be isolated. All that has landed is at the end what serial apply comes to.
"""

import uuid
from collections import defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from notify.domain.engine.lanes import lane_of
from notify.domain.engine.window import ISOLATED_OFFSETS, Batch, Lane, Original, Window
from notify.domain.records.decide import Write
from notify.domain.records.patch import ADD, DEFAULT, REMOVE, SET, Op, Patch, Value, apply, compose

APP = "00000000-0000-0000-0000-0000000000aa"
RECORDS = [str(uuid.uuid5(uuid.NAMESPACE_DNS, str(n))) for n in range(5)]
STREAM, LANES_MOST = 7, 3
PATCHES = st.builds(
    Patch,
    st.sampled_from([False, False, False, True]),
    st.fixed_dictionaries(
        {},
        optional={
            "tags.a": st.sampled_from([(SET, "x"), (SET, "y"), (REMOVE, None), (DEFAULT, "d")]),
            "session_count": st.tuples(st.just(ADD), st.integers(1, 3)),
        },
    ),
)
WRITES = st.lists(
    st.builds(Write, st.just(APP), st.sampled_from(RECORDS), PATCHES),
    max_size=3,
    unique_by=lambda write: write.record,
)
CHUNKS = st.lists(st.tuples(st.integers(0, 3), WRITES), max_size=5)
POSITIONS = st.integers(-1, 9)

Key = tuple[str, str]


class WindowMachine(RuleBasedStateMachine):
    """`left` holds what each lane has still to apply, in log order."""

    @initialize(
        lanes=st.lists(
            st.builds(Lane, POSITIONS, st.one_of(st.just(-1), POSITIONS), st.booleans()),
            min_size=1,
            max_size=LANES_MOST,
        )
    )
    def start(self, lanes: list[Lane[Write]]) -> None:
        self.window = Window(STREAM, dict(enumerate(lanes)))
        self.lasts = [lane.last for lane in lanes]
        self.isolates = [lane.isolate for lane in lanes]
        self.planned = 0
        self.left: dict[int, list[Original[Write]]] = defaultdict(list)
        self.in_flight: dict[int, Batch[Write]] = {}
        self.chunk_starts: dict[int, list[int]] = defaultdict(list)
        self.serial: dict[Key, dict[str, Value]] = {}
        self.applied: dict[Key, dict[str, Value]] = {}

    @rule(chunk=CHUNKS, hole=st.integers(0, 3))
    def add(self, chunk: list[tuple[int, list[Write]]], hole: int) -> None:
        """A chunk whose offsets have holes, between and at the end."""
        added, started = [], set()
        for gap, writes in chunk:
            offset = self.planned + gap
            message = b"m" * (offset % 5 + 1)
            added.append((offset, message, writes))
            for write in writes:
                lane = lane_of(write.app, write.record, len(self.lasts))
                if offset > self.lasts[lane]:
                    self.left[lane].append(Original(offset, write, message))
                    self._apply(self.serial, write)
                    if lane not in started and offset > self.isolates[lane]:
                        started.add(lane)
                        self.chunk_starts[lane].append(offset)
            self.planned = offset + 1
        self.planned += hole
        self.window.add(added)

    @staticmethod
    def _apply(states: dict[Key, dict[str, Value]], write: Write) -> None:
        key = (write.app, write.record)
        states[key] = apply(states.get(key, {}), write.patch)

    @rule(
        number=st.integers(0, LANES_MOST - 1),
        rows=st.sampled_from([1, 2, 4, 99]),
        size=st.sampled_from([1, 10, 30, 999]),
    )
    def take(self, number: int, rows: int, size: int) -> None:
        if number >= len(self.lasts):
            return
        batch = self.window.take(number, max_rows=rows, max_bytes=size)
        if number in self.in_flight or not self.left[number]:
            assert batch is None
            return
        assert batch is not None
        self._check(batch, max_rows=rows)
        self.in_flight[number] = batch

    def _check(self, batch: Batch[Write], *, max_rows: int) -> None:
        """The batch is all of its lane up to its end: nothing was skipped, no offset was cut."""
        lane = self.window.lanes[batch.lane]
        assert (batch.stream, batch.prev) == (STREAM, self.lasts[batch.lane])
        content = [found for found in self.left[batch.lane] if found.offset <= batch.last]
        assert (batch.first, batch.last) == (content[0].offset, content[-1].offset)
        if batch.first <= self.isolates[batch.lane]:
            assert batch.isolated == tuple(content)
            assert not batch.merged
            assert batch.last <= self.isolates[batch.lane]
            offsets = len({found.offset for found in content})
            assert offsets <= (1 if lane.one_at_a_time else ISOLATED_OFFSETS)
            return
        assert not batch.isolated
        merged: dict[str, Write] = {}
        for write in (each.write for each in content):
            before = merged.get(write.record)
            patch = write.patch if before is None else compose(before.patch, write.patch)
            merged[write.record] = Write(APP, write.record, patch)
        assert {write.record: write for write in batch.merged} == merged
        assert batch.rows == len(merged)
        chunks = [at for at in self.chunk_starts[batch.lane] if batch.first <= at <= batch.last]
        assert batch.rows <= max_rows or len(chunks) == 1

    @rule(number=st.integers(0, LANES_MOST - 1))
    def land(self, number: int) -> None:
        batch = self.in_flight.pop(number, None)
        if batch is None:
            return
        assert self.window.landed(number, batch.last)
        self.lasts[number] = batch.last
        self.left[number] = [found for found in self.left[number] if found.offset > batch.last]
        for write in (*batch.merged, *(original.write for original in batch.isolated)):
            self._apply(self.applied, write)

    @rule(number=st.integers(0, LANES_MOST - 1), last=st.integers(-2, 40))
    def stray(self, number: int, last: int) -> None:
        """A lane can stand where it stood, or where its batch ends; at no other place."""
        if number >= len(self.lasts):
            return
        batch = self.in_flight.get(number)
        if batch is None or last != batch.last:
            assert self.window.landed(number, last) is (last == self.lasts[number])
            assert self.window.lanes[number].in_flight == batch
            assert self.window.lanes[number].last == self.lasts[number]

    @invariant()
    def the_frontier_is_the_lowest_outstanding_offset(self) -> None:
        outstanding = {found.offset for left in self.left.values() for found in left}
        assert self.window.frontier(self.planned) == min(outstanding, default=self.planned)

    @invariant()
    def held_bytes_are_those_of_the_messages_held(self) -> None:
        held = sum(len(found.message) for left in self.left.values() for found in left)
        assert self.window.held_bytes == held

    def teardown(self) -> None:
        if not hasattr(self, "window"):
            return
        for number in range(len(self.lasts)):
            while self.left[number]:
                self.land(number)
                self.take(number, rows=99, size=999)
        assert self.window.frontier(self.planned) == self.planned
        assert self.window.held_bytes == 0
        assert self.applied == self.serial


TestWindow: Any = WindowMachine.TestCase
TestWindow.settings = settings(max_examples=100, stateful_step_count=20)


def _ops(**ops: Op) -> Patch:
    return Patch(False, {f"tags.{name}": op for name, op in ops.items()})


def test_isolated_segments_come_unmerged_and_one_offset_at_a_time_if_asked() -> None:
    first, second, third = (
        Write(APP, RECORDS[0], _ops(**{name: (SET, name)})) for name in ("a", "b", "c")
    )
    lane: Lane[Write] = Lane(-1, isolate=1, one_at_a_time=True)
    window = Window(STREAM, {0: lane})
    window.add([(0, b"0", [first]), (1, b"1", [second]), (2, b"2", [third])])
    batches = []
    while (batch := window.take(0, max_rows=9, max_bytes=99)) is not None:
        batches.append((batch.isolated, batch.merged))
        assert window.landed(0, batch.last)
        assert lane.one_at_a_time is (batch.last < 1)
    assert batches == [
        ((Original(0, first, b"0"),), ()),
        ((Original(1, second, b"1"),), ()),
        ((), (third,)),
    ]
