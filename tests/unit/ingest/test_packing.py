"""Batches share tasks as long as the bounds of a task allow it."""

import pytest

from ingest.packing import join_small_tasks, pack_parts
from ingest.ports import Part, Task
from notify.domain.engine.window import Batch, Original
from notify.domain.records.decide import Write
from notify.domain.records.patch import Patch

APP = "00000000-0000-0000-0000-0000000000a0"
RECORD = "00000000-0000-0000-0000-0000000000b0"


def _part(stream: int, rows: int, *, isolated: bool = False, held: int = 0) -> Part:
    write = Write(APP, RECORD, Patch(False, {}))
    if isolated:
        originals = (Original(0, write, b""),) * rows
        return Part(0, 1, Batch(stream, 0, -1, 0, 0, held, isolated=originals))
    return Part(0, 1, Batch(stream, 0, -1, 0, 0, held, merged=(write,) * rows))


def test_parts_of_a_lane_share_tasks_while_their_rows_fit() -> None:
    parts = [_part(1, 2), _part(2, 1), _part(3, 3), _part(4, 9), _part(5, 1)]
    one, two, three, four, five = parts
    assert pack_parts(parts, rows=3) == [[one, two], [three], [four], [five]]
    assert pack_parts([], rows=3) == []


def test_an_isolated_part_goes_alone() -> None:
    one, two, three, four = _part(1, 1), _part(2, 1, isolated=True), _part(3, 1), _part(4, 1)
    assert pack_parts([one, two, three, four], rows=9) == [[one], [two], [three, four]]


def _task(lane: int, *rows: int, isolated: bool = False, held: int = 0) -> Task:
    parts = [_part(lane, count, isolated=isolated, held=held) for count in rows]
    return Task(lane, parts, attempt=1)


def test_lanes_share_tasks_while_their_rows_fit() -> None:
    tasks = [_task(0, 1, 1), _task(1, 2), _task(2, 1), _task(3, 4), _task(4, 5), _task(5, 0)]
    shared = join_small_tasks(tasks, rows=4, max_bytes=99)
    assert [(task.lane, [part.batch.rows for part in task.parts]) for task in shared] == [
        (0, [1, 1, 2]),
        (2, [1, 0]),
        (3, [4]),
        (4, [5]),
    ]
    few = [_task(0, 2), _task(1, 4), _task(2, 1), _task(3, 3), _task(4, 1)]
    assert [task.lane for task in join_small_tasks(few, rows=4, max_bytes=99)] == [0, 1, 3]
    assert join_small_tasks(tasks[:5], rows=0, max_bytes=99) == tasks[:5]
    assert join_small_tasks([], rows=4, max_bytes=99) == []


@pytest.mark.parametrize(
    ("most", "lanes"), [(2, [0, 1, 2, 3]), (3, [0, 2, 3]), (5, [0, 2, 3]), (6, [0, 2]), (7, [0, 3])]
)
def test_lanes_share_tasks_while_their_bytes_fit(most: int, lanes: list[int]) -> None:
    tasks = [_task(lane, 1, held=held) for lane, held in enumerate((1, 2, 4, 2))]
    assert [task.lane for task in join_small_tasks(tasks, rows=9, max_bytes=most)] == lanes


@pytest.mark.parametrize(
    ("tasks", "shared"),
    [
        ([(3, 0), (3, 0), (1, 0)], [[0, 2], [1]]),
        ([(1, 5), (1, 1), (1, 1)], [[0], [1, 2]]),
        ([(2, 3), (3, 2), (2, 0)], [[0, 2], [1]]),
    ],
    ids=["the first of two with as much room", "no room for bytes", "no room for rows"],
)
def test_a_small_task_joins_the_one_with_most_room(
    tasks: list[tuple[int, int]], shared: list[list[int]]
) -> None:
    made = [_task(lane, rows, held=held) for lane, (rows, held) in enumerate(tasks)]
    found = join_small_tasks(made, rows=4, max_bytes=5)
    assert [[part.batch.stream for part in task.parts] for task in found] == shared


def test_an_isolated_part_shares_its_task_with_no_lane() -> None:
    tasks = [_task(0, 1), _task(1, 1, isolated=True), _task(2, 1), _task(3, 1)]
    assert [
        [part.batch.stream for part in task.parts]
        for task in join_small_tasks(tasks, rows=9, max_bytes=99)
    ] == [
        [0, 2, 3],
        [1],
    ]
