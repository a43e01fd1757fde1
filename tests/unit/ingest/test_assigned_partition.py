"""A partition of the bridge: whether it is read, whether Kafka answers, and whether it may be ticked."""

import pytest

from ingest.assigned_partition import AssignedPartition, PartitionPhase
from ingest.bridge_limits import BridgeLimits
from ingest.ports import Loaded, LogEnd
from ingest.stream_memory import StreamMemory
from notify.domain.engine.stream import LaneRow, StreamRow

STREAM = StreamRow(7, "topic", 0, lanes=1, lanes_wanted=1, token=11, planned=0, frontier=0)


def _memory() -> StreamMemory:
    return StreamMemory.of(
        Loaded(STREAM, {0: LaneRow(-1)}, []), partitions=1, limits=BridgeLimits()
    )


def _assigned_at(position: int) -> AssignedPartition:
    memory = _memory()
    memory.position = position
    return AssignedPartition(0, PartitionPhase.LIVE, paused=False, memory=memory)


def test_a_partition_that_stands_before_the_logs_end_is_unread_since_the_second_look() -> None:
    assigned = _assigned_at(5)
    for now in (100, 200, 300):
        assigned.note_reading(LogEnd(9, 0), now)
    assert assigned.unread_ms(350) == 150


def test_a_partition_that_moves_on_is_read_although_it_never_reaches_the_logs_end() -> None:
    assigned = _assigned_at(5)
    assert assigned.memory is not None
    for now in (100, 200, 300):
        assigned.note_reading(LogEnd(9, 0), now)
        assigned.memory.position += 1
    assert assigned.unread_ms(350) == 0
    assert assigned.checked_position == 7


@pytest.mark.parametrize("end", [None, LogEnd(5, 0)])
def test_a_partition_at_the_logs_end_is_read(end: LogEnd | None) -> None:
    assigned = _assigned_at(5)
    for now in (100, 200, 300):
        assigned.note_reading(end, now)
    assert assigned.unread_ms(350) == 0


def test_a_partition_without_a_memory_stands_nowhere() -> None:
    assigned = AssignedPartition(0)
    assigned.note_reading(LogEnd(9, 0), 100)
    assert (assigned.checked_position, assigned.unread_ms(350)) == (-1, 0)


def test_only_a_live_stream_shows_its_memory_and_forgetting_drops_it() -> None:
    assigned = AssignedPartition(0, memory=_memory())
    assigned.phase = PartitionPhase.LOADING
    assert assigned.live() is None
    assigned.phase = PartitionPhase.LIVE
    assert assigned.live() is assigned.memory
    assigned.forget(70)
    assert assigned == AssignedPartition(0, PartitionPhase.LOAD, retry_at=70)


def test_a_silence_is_since_an_answer_is_owed_or_since_the_partition_was_given() -> None:
    assigned = _assigned_at(5)
    assert assigned.unheard_ms(100) == 0
    assigned.note_reading(None, 100)
    assigned.note_reading(None, 200)
    assert assigned.unheard_ms(250) == 150
    assigned.note_reading(LogEnd(9, 5_000, 30), 300)
    assigned.note_reading(None, 400)
    assert assigned.unheard_ms(450) == 180
