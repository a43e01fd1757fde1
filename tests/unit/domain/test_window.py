"""Batches by example; tests/property/test_window.py has the laws."""

import uuid

from notify.domain.engine.lanes import lane_of
from notify.domain.engine.window import ISOLATED_OFFSETS, Batch, Lane, Original, Window
from notify.domain.records.decide import Write
from notify.domain.records.patch import ADD, SET, Patch

APP = "00000000-0000-0000-0000-0000000000aa"
RECORDS = [str(uuid.uuid5(uuid.NAMESPACE_DNS, str(n))) for n in range(4)]


def _write(record: int = 0, **ops: int) -> Write:
    return Write(
        APP, RECORDS[record], Patch(False, {f"tags.{k}": (SET, n) for k, n in ops.items()})
    )


def _adding(record: int, n: int) -> Write:
    return Write(APP, RECORDS[record], Patch(False, {"session_count": (ADD, n)}))


def _one_lane(last: int = -1, isolate: int = -1) -> Window[Write]:
    return Window(7, {0: Lane(last, isolate)})


def _take(window: Window[Write], rows: int = 100, size: int = 10_000) -> Batch[Write] | None:
    return window.take(0, max_rows=rows, max_bytes=size)


def test_an_empty_window_has_no_batch_and_its_frontier_is_planned() -> None:
    window = _one_lane()
    assert _take(window) is None
    assert window.frontier(5) == 5


def test_updates_of_a_record_merge_into_one_row() -> None:
    window = _one_lane()
    window.add([(offset, b"mm", [_adding(0, 1)]) for offset in range(50)])
    batch = _take(window)
    assert batch == Batch(7, 0, -1, 49, 0, 100, merged=(_adding(0, 50),))
    assert batch.rows == 1


def test_chunks_are_taken_together_while_their_rows_fit() -> None:
    window = _one_lane()
    for offset in range(3):
        window.add([(offset, b"m", [_write(offset, a=1)])])
    batch = _take(window, rows=2)
    assert batch is not None
    assert (batch.last, batch.rows, batch.held_bytes) == (1, 2, 2)
    assert window.landed(0, 1)
    assert window.held_bytes == 1
    last = _take(window, rows=2)
    assert last is not None
    assert (last.prev, last.first, last.last) == (1, 2, 2)


def test_chunks_are_taken_together_while_their_bytes_fit() -> None:
    window = _one_lane()
    for offset in range(3):
        window.add([(offset, b"m" * 10, [_write(offset, a=1)])])
    batch = _take(window, size=20)
    assert batch is not None
    assert (batch.last, batch.rows) == (1, 2)


def test_a_hot_record_takes_no_more_bytes_than_its_row_grows() -> None:
    window = _one_lane()
    window.add([(offset, b"m" * 10, [_write(0, a=offset)]) for offset in range(100)])
    window.add([(100, b"m" * 10, [_write(1, a=1)])])
    batch = _take(window, size=20)
    assert batch is not None
    assert batch.rows == 2


def test_a_record_whose_row_grows_takes_the_bytes_of_each_update() -> None:
    window = _one_lane()
    window.add([(0, b"m" * 10, [_write(0, a=1)]), (1, b"m" * 10, [_write(0, b=1)])])
    window.add([(2, b"m" * 10, [_write(1, a=1)])])
    batch = _take(window, size=29)
    assert batch is not None
    assert (batch.rows, batch.last) == (1, 1)


def test_the_writes_of_a_lane_are_those_that_fly_and_those_that_wait() -> None:
    window = _one_lane()
    window.add([(0, b"m", [_write(0, a=1)]), (1, b"m", [_write(1, a=1)])])
    assert window.lanes[0].writes == 2
    assert _take(window) is not None
    window.add([(2, b"m", [_write(2, a=1)])])
    assert window.lanes[0].writes == 3
    assert window.landed(0, 1)
    assert window.lanes[0].writes == 1


def test_a_chunk_may_exceed_every_limit_alone() -> None:
    window = _one_lane()
    window.add([(offset, b"m", [_write(offset, a=1)]) for offset in range(4)])
    batch = _take(window, rows=1, size=1)
    assert batch is not None
    assert batch.rows == 4


def test_nothing_is_taken_while_a_batch_flies() -> None:
    window = _one_lane()
    window.add([(0, b"m", [_write(a=1)])])
    assert _take(window) is not None
    window.add([(1, b"m", [_write(a=2)])])
    assert _take(window) is None
    assert window.landed(0, 0)
    assert _take(window) is not None


def test_a_lane_cannot_land_where_it_was_not_sent() -> None:
    window = _one_lane()
    assert not window.landed(0, 3)
    window.add([(3, b"m", [_write(a=1)]), (5, b"m", [_write(a=2)])])
    assert _take(window) is not None
    assert not any(window.landed(0, stray) for stray in (-2, 3, 4, 6))
    assert window.landed(0, -1)
    assert window.frontier(6) == 3
    assert window.landed(0, 5)
    assert window.frontier(6) == 6


def test_what_a_lane_has_applied_is_not_added_again() -> None:
    window = _one_lane(last=4)
    window.add([(offset, b"m", [_write(a=offset)]) for offset in (3, 4, 5)])
    batch = _take(window)
    assert batch is not None
    assert (batch.prev, batch.first, batch.merged) == (4, 5, (_write(a=5),))
    assert window.held_bytes == 1


def test_the_frontier_is_the_lowest_offset_of_any_lane() -> None:
    lanes = {record: lane_of(APP, record, 2) for record in RECORDS}
    assert set(lanes.values()) == {0, 1}
    window: Window[Write] = Window(7, {0: Lane(-1), 1: Lane(-1)})
    for offset, record in enumerate(RECORDS):
        window.add([(offset * 10, b"m", [Write(APP, record, Patch(False, {}))])])
    first = lanes[RECORDS[0]]
    batch = window.take(first, max_rows=99, max_bytes=99)
    assert batch is not None
    assert window.frontier(99) == 0
    assert window.landed(first, batch.last)
    heads = [offset * 10 for offset, record in enumerate(RECORDS) if lanes[record] != first]
    assert window.frontier(99) == min(heads)


def test_isolated_writes_come_as_they_were_up_to_where_isolation_ends() -> None:
    window = _one_lane(isolate=1)
    both = [_write(0, a=1), _write(1, a=1)]
    window.add([(0, b"x", both), (1, b"y", [_write(0, a=2)]), (2, b"z", [_write(0, a=3)])])
    batch = _take(window, rows=1)
    assert batch is not None
    assert batch.isolated == (
        Original(0, both[0], b"x"),
        Original(0, both[1], b"x"),
        Original(1, _write(0, a=2), b"y"),
    )
    assert (batch.merged, batch.rows, batch.first, batch.last) == ((), 3, 0, 1)
    assert window.landed(0, 1)
    rest = _take(window)
    assert rest is not None
    assert (rest.merged, rest.isolated) == ((_write(0, a=3),), ())


def test_an_isolated_batch_has_so_many_offsets_at_most() -> None:
    window = _one_lane(isolate=1_000)
    window.add([(offset, b"m", [_write(a=offset)]) for offset in range(ISOLATED_OFFSETS + 1)])
    batch = _take(window)
    assert batch is not None
    assert batch.last == ISOLATED_OFFSETS - 1
    assert window.landed(0, batch.last)
    rest = _take(window)
    assert rest is not None
    assert rest.last == ISOLATED_OFFSETS
