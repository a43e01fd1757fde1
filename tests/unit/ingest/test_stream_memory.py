"""What the bridge remembers of a stream: taken again after a Load, bounded, dropped as one."""

from dataclasses import replace

import pytest

from ingest.bridge_limits import BridgeLimits
from ingest.planner import Planned, plan_chunk
from ingest.ports import Fetched, Loaded, Part
from ingest.stream_memory import BatchInFlight, StreamMemory
from notify.domain.engine import digest as digests
from notify.domain.engine.digest import Last
from notify.domain.engine.stream import LaneRow, PlanRow, StreamRow
from notify.domain.engine.window import ONE_AT_A_TIME
from notify.domain.errors import NeedsUpgrade, PlanUnreadable, ReplayDisagrees
from notify.domain.records import plan as plans
from notify.domain.records.decide import Decision
from notify.domain.records.links import Links
from notify.domain.records.policy import Policy
from notify.domain.records.update import Update, encode

APP = "00000000-0000-0000-0000-0000000000a0"
RECORD, PARENT = (f"00000000-0000-0000-0000-0000000000b{n}" for n in range(2))
STREAM = StreamRow(7, "topic", 0, lanes=1, lanes_wanted=1, token=11, planned=0, frontier=0)
BODY = encode(Update(APP, RECORD, 1_000, "m"))
LIMITS = BridgeLimits(chunk_messages=3, chunk_bytes=10_000, window_offsets=10, window_bytes=100_000)


def _fetched(*offsets: int, value: bytes | None = BODY) -> list[Fetched]:
    return [Fetched(offset, value) for offset in offsets]


def _memory(
    *,
    planned: int = 0,
    frontier: int = 0,
    lane: LaneRow | None = None,
    plan: list[PlanRow] | None = None,
    last: Last | None = None,
    log_start: int = 0,
) -> StreamMemory:
    loaded = Loaded(
        replace(STREAM, frontier=frontier, planned=planned, last_message=last),
        {0: lane or LaneRow(frontier - 1)},
        plan or [],
    )
    return StreamMemory.of(
        loaded, partitions=1, limits=BridgeLimits(hot_records=5), log_start=log_start
    )


def _live(*offsets: int, position: int) -> StreamMemory:
    """All that was planned is applied, and these were fetched."""
    memory = _memory()
    memory.take(_fetched(*offsets))
    memory.position = position
    return memory


def _plan_next(memory: StreamMemory) -> Planned:
    messages, end = memory.next_chunk(LIMITS)
    return plan_chunk(
        messages,
        first=memory.stream.planned,
        end=end,
        links=Links(),
        policy=Policy(),
        seen=set(),
        is_routed=lambda app: True,
    )


def _commit_next(memory: StreamMemory) -> None:
    planned = _plan_next(memory)
    end = planned.chunk.plan.next
    memory.commit(memory.stream.at(frontier=memory.stream.frontier, planned=end), planned)


# -- Load ----------------------------------------------------------------------------------------------


def test_a_load_reads_from_the_frontier_with_the_recorded_decisions() -> None:
    decisions = {3: Decision(mirrors=(PARENT,)), 5: Decision(own=False)}
    plan = [
        PlanRow(3, 5, plans.encode(3, {3: decisions[3]})),
        PlanRow(5, 7, plans.encode(5, {5: decisions[5]})),
    ]
    memory = _memory(planned=7, frontier=3, lane=LaneRow(2, 4, ONE_AT_A_TIME), plan=plan)
    lane = memory.window.lanes[0]
    assert (memory.position, memory.decisions) == (3, decisions)
    assert (lane.last, lane.isolate, lane.one_at_a_time) == (2, 4, True)


def test_a_plan_of_another_version_cannot_be_loaded() -> None:
    with pytest.raises(PlanUnreadable):
        _memory(planned=2, plan=[PlanRow(0, 2, b"\x63")])


def test_messages_below_planned_go_to_the_lanes_as_decided() -> None:
    plan = [
        PlanRow(0, 3, plans.encode(0, {0: Decision(mirrors=(PARENT,)), 1: Decision(own=False)}))
    ]
    memory = _memory(planned=3, plan=plan)
    memory.take(_fetched(0, 1, 2, 3))
    batch = memory.window.take(0, max_rows=9, max_bytes=9_999)
    assert batch is not None
    assert (batch.first, batch.last) == (0, 2)
    assert {write.record for write in batch.merged} == {RECORD, PARENT}
    assert [message.offset for message in memory.fetched] == [3]
    assert memory.decisions == {}


def _last(offset: int, planned: int) -> Last:
    return Last(offset, digests.of_message(BODY), planned)


def test_a_load_reads_the_last_message_again_and_applies_nothing_of_it() -> None:
    memory = _memory(planned=5, frontier=5, last=_last(3, 5))
    assert memory.position == 3
    memory.take(_fetched(3, 5))
    assert [message.offset for message in memory.fetched] == [5]
    assert memory.window.held_bytes == 0
    assert memory.expected.replaced() is None


def test_what_is_read_again_is_compared_with_the_digests_of_the_plan() -> None:
    plan = [PlanRow(0, 2, b"\x01", digests.encode(0, 2, dict.fromkeys((0, 1), 7)))]
    memory = _memory(planned=2, frontier=1, plan=plan)
    memory.take(_fetched(1))
    assert memory.expected.replaced() == 1


def test_what_retention_has_deleted_is_not_expected() -> None:
    assert _memory(planned=5, frontier=5, last=_last(3, 5), log_start=4).position == 4
    assert _memory(planned=5, frontier=5, last=_last(3, 5), log_start=5).position == 5


def test_the_last_message_is_recorded_with_every_tick() -> None:
    memory = _live(0, 1, 2, position=9)
    assert memory.last_message(None) is None
    planned = _plan_next(memory)
    assert memory.last_message(planned) == _last(2, 9)
    memory.commit(STREAM.at(frontier=0, planned=9, last_message=_last(2, 9)), planned)
    assert memory.last_message(None) == _last(2, 9)
    memory.position = 12  # holes only
    assert memory.last_message(_plan_next(memory)) == _last(2, 12)


def test_a_last_message_from_before_an_older_bridge_planned_on_is_forgotten() -> None:
    assert _memory(planned=7, frontier=7, last=_last(3, 5)).last_message(None) is None


def test_a_message_that_does_not_fit_its_decision_disagrees() -> None:
    with pytest.raises(ReplayDisagrees, match="not JSON"):
        _memory(planned=1).take(_fetched(0, value=b"{"))


LATER = b'{"v":2}'


def test_a_message_that_a_later_release_decided_needs_an_upgrade() -> None:
    with pytest.raises(NeedsUpgrade, match="at offset 3 has v 2, this bridge reads v up to 1"):
        _memory(planned=4, frontier=3).take(_fetched(3, value=LATER))


def test_a_message_of_a_later_release_that_writes_nothing_needs_none() -> None:
    """An older bridge took it for malformed, or a later one skipped it."""
    plan = [PlanRow(0, 1, plans.encode(0, {0: Decision(own=False)}))]
    memory = _memory(planned=1, plan=plan)
    memory.take(_fetched(0, value=LATER))
    assert memory.window.frontier(1) == 1


def test_a_message_of_a_later_release_is_in_no_chunk_and_leaves_no_room() -> None:
    memory = _live(0, position=3)
    memory.take([*_fetched(1, value=LATER), *_fetched(2)])
    messages, end = memory.next_chunk(LIMITS)
    assert ([message.offset for message in messages], end) == ([0], 1)
    _commit_next(memory)
    assert not memory.has_room(LIMITS)
    assert memory.next_chunk(LIMITS) == ([], 1)


def test_a_stream_waits_for_an_upgrade_once_all_before_is_applied() -> None:
    memory = _live(0, position=1)
    assert memory.waits_for_upgrade() is None
    memory.take(_fetched(1, value=LATER))
    assert memory.waits_for_upgrade() is None
    _commit_next(memory)
    assert memory.waits_for_upgrade() is None
    memory.stream = memory.stream.at(frontier=1, planned=1)
    assert "at offset 1 has v 2" in (memory.waits_for_upgrade() or "")


def test_without_a_message_nothing_waits_for_an_upgrade() -> None:
    assert _memory().waits_for_upgrade() is None


@pytest.mark.parametrize(("window", "most"), [(10, 20), (2_000, 20), (2_100, 21), (20_000, 200)])
def test_dead_letters_are_bounded_by_the_window(window: int, most: int) -> None:
    assert BridgeLimits(window_offsets=window).dead_letters_max == most


def test_a_message_decided_malformed_may_be_read_since() -> None:
    memory = _memory(planned=1, plan=[PlanRow(0, 1, plans.encode(0, {0: Decision(own=False)}))])
    memory.take(_fetched(0))
    assert memory.window.frontier(1) == 1


def test_a_message_without_a_value_is_held_as_unreadable() -> None:
    memory = _memory()
    memory.take(_fetched(0, value=None))
    assert (memory.fetched[0].body, memory.fetched_bytes) == (b"", 0)


# -- chunks --------------------------------------------------------------------------------------------


def test_a_chunk_of_all_that_was_fetched_ends_where_the_log_was_read_to() -> None:
    """Holes after the last message are planned too: nothing will ever stand in them."""
    memory = _live(0, 2, position=9)
    messages, end = memory.next_chunk(LIMITS)
    assert ([message.offset for message in messages], end) == ([0, 2], 9)


def test_a_chunk_of_holes_alone_moves_on() -> None:
    assert _live(position=9).next_chunk(LIMITS) == ([], 9)


def test_with_nothing_fetched_there_is_no_room_to_speak_of_and_no_chunk() -> None:
    memory = _memory()
    assert not memory.has_room(LIMITS)
    assert memory.next_chunk(LIMITS) == ([], 0)


def test_a_chunk_has_so_many_messages() -> None:
    messages, end = _live(0, 1, 4, 6, position=7).next_chunk(LIMITS)
    assert ([message.offset for message in messages], end) == ([0, 1, 4], 5)


def test_a_chunk_has_so_many_bytes() -> None:
    limits = replace(LIMITS, chunk_bytes=2 * len(BODY))
    messages, end = _live(0, 1, 2, position=3).next_chunk(limits)
    assert (len(messages), end) == (2, 2)


def test_the_window_has_so_many_offsets() -> None:
    memory = _live(0, 9, 10, position=11)
    assert memory.next_chunk(LIMITS)[1] == 10
    _commit_next(memory)
    assert not memory.has_room(LIMITS)
    assert memory.next_chunk(LIMITS) == ([], 10)


def test_the_window_has_so_many_bytes() -> None:
    memory = _live(0, 1, 2, position=3)
    limits = replace(LIMITS, window_bytes=2 * len(BODY))
    assert memory.next_chunk(limits)[1] == 2


def test_one_message_past_every_limit_cannot_stop_the_stream() -> None:
    memory = _live(50, 51, position=52)
    limits = BridgeLimits(chunk_messages=1, chunk_bytes=1, window_offsets=1, window_bytes=1)
    assert memory.has_room(limits)
    messages, end = memory.next_chunk(limits)
    assert ([message.offset for message in messages], end) == ([50], 51)


def test_a_committed_chunk_moves_from_fetched_to_the_window() -> None:
    memory = _live(0, 1, 2, 3, position=4)
    _commit_next(memory)
    assert memory.stream.planned == 3
    assert [message.offset for message in memory.fetched] == [3]
    assert memory.fetched_bytes == len(BODY)
    assert memory.window.held_bytes == 3 * len(BODY)


def test_a_flight_that_has_landed_is_forgotten_at_the_commit() -> None:
    memory = _live(0, position=1)
    _commit_next(memory)
    batch = memory.window.take(0, max_rows=9, max_bytes=9_999)
    assert batch is not None
    memory.in_flight[0] = BatchInFlight(Part(0, 11, batch), 1, 0)
    memory.commit(memory.stream, None)
    assert 0 in memory.in_flight
    assert memory.window.landed(0, 0)
    memory.commit(memory.stream.at(frontier=1, planned=1), None)
    assert memory.in_flight == {}


# -- age -----------------------------------------------------------------------------------------------


def test_the_age_is_that_of_the_oldest_update_that_is_not_applied() -> None:
    memory = _live(0, position=1)
    assert memory.age_ms(1_500) == 500
    _commit_next(memory)
    assert memory.age_ms(1_500) == 500
    assert memory.age_ms(900) == 0
    memory.commit(memory.stream.at(frontier=1, planned=1), None)
    assert memory.age_ms(1_500) == 0


def test_one_update_in_fifty_offsets_is_remembered_for_its_age() -> None:
    memory = _memory(planned=120)
    memory.take(_fetched(*range(120)))
    assert list(memory.accepted_times) == [(0, 1_000), (50, 1_000), (100, 1_000)]


def test_the_age_of_an_offset_is_that_of_an_update_a_little_before_it() -> None:
    memory = _memory(planned=120)
    assert memory.accepted_at(0) is None
    for offset in (10, 60, 110):
        memory.take([Fetched(offset, encode(Update(APP, RECORD, 1_000 + offset, "m")))])
    at = {offset: memory.accepted_at(offset) for offset in (9, 10, 59, 60, 200)}
    assert at == {9: 1_010, 10: 1_010, 59: 1_010, 60: 1_060, 200: 1_110}
