"""What must be true of a stream: each check of rules 5 and 11, with what it says."""

from dataclasses import replace

import pytest

from notify.domain.engine.stream import (
    LaneRow,
    LogFacts,
    StreamRow,
    halt_reason,
    needed_version,
    replaced_reason,
    tick_surprise,
    upgrade_reason,
)
from notify.domain.engine.window import ONE_AT_A_TIME, Lane, Window
from notify.domain.records.decide import Write
from notify.domain.records.patch import SET, Patch

STREAM = StreamRow(
    7, "topic", 0, lanes=2, lanes_wanted=2, token=11, planned=20, frontier=10, halted=None
)
FACTS = LogFacts("topic", partitions=4, start=10, end=20)
NIL = "00000000-0000-0000-0000-000000000000"
WRITE = Write(NIL, NIL, Patch(False, {"tags.a": (SET, 1)}))


def test_a_log_that_fits_exactly_is_the_one() -> None:
    assert halt_reason(STREAM, FACTS, partitions_stored=4) is None


def test_a_halt_for_an_upgrade_says_which_version_it_waits_for() -> None:
    reason = upgrade_reason(40, 12, reads=3)
    assert "at offset 40 has v 12, this bridge reads v up to 3" in reason
    assert "goes on by itself" in reason
    assert needed_version(reason) == 12
    assert needed_version(replaced_reason(40)) is None
    assert needed_version(f"why: {reason}") is None


def test_more_partitions_than_stored_are_no_reason_to_halt() -> None:
    assert halt_reason(STREAM, replace(FACTS, partitions=5), partitions_stored=4) is None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(FACTS, topic_id="new"), "deleted and made again (its id is new, not topic)"),
        (replace(FACTS, partitions=3), "has 3 partitions, 4 are stored"),
        (replace(FACTS, start=11), "starts at 11, after the frontier 10"),
        (replace(FACTS, end=19), "ends at 19, before 20"),
    ],
)
def test_a_log_that_cannot_be_the_one_halts_the_stream(facts: LogFacts, words: str) -> None:
    reason = halt_reason(STREAM, facts, partitions_stored=4)
    assert reason is not None
    assert words in reason
    assert "adopt" in reason


def test_a_stream_is_drained_when_all_that_is_planned_is_applied() -> None:
    assert not STREAM.drained
    assert STREAM.at(frontier=20, planned=20).drained
    assert STREAM.at(frontier=12, planned=25) == replace(STREAM, frontier=12, planned=25)


def _window(*lanes: Lane[Write]) -> Window[Write]:
    return Window(7, dict(enumerate(lanes)))


def _surprise(
    window: Window[Write],
    *rows: LaneRow,
    stream: StreamRow | None = STREAM,
    token: int = 11,
    planned: int = 20,
) -> str | None:
    return tick_surprise(stream, dict(enumerate(rows)), window, token=token, planned=planned)


def test_what_is_as_remembered_is_no_surprise() -> None:
    assert _surprise(_window(Lane(9), Lane(14)), LaneRow(9), LaneRow(14)) is None


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (None, "the stream is gone"),
        (replace(STREAM, halted="why"), "halted"),
        (replace(STREAM, token=12), "another bridge loaded the stream"),
        (replace(STREAM, planned=21), "planned is 21, not 20"),
    ],
)
def test_a_stream_that_is_not_as_remembered_is_a_surprise(
    stream: StreamRow | None, words: str
) -> None:
    assert _surprise(_window(Lane(9)), LaneRow(9), stream=stream) == words


def test_other_lanes_are_a_surprise() -> None:
    assert _surprise(_window(Lane(9)), LaneRow(9), LaneRow(9)) == "the lanes changed"


def _flying() -> Window[Write]:
    """One lane that stands at 9, and whose batch up to 15 is out."""
    window = _window(Lane(9))
    window.add([(15, b"m", [WRITE])])
    assert window.take(0, max_rows=9, max_bytes=99) is not None
    return window


def test_a_lane_at_the_end_of_its_batch_has_landed() -> None:
    window = _flying()
    assert _surprise(window, LaneRow(9)) is None
    assert window.lanes[0].in_flight is not None
    assert _surprise(window, LaneRow(15)) is None
    assert window.lanes[0] == Lane(15)


@pytest.mark.parametrize("last", [8, 12, 16])
def test_a_lane_that_stands_anywhere_else_is_a_surprise(last: int) -> None:
    assert _surprise(_flying(), LaneRow(last)) == f"lane 0 stands at {last}"


def test_a_lane_that_a_worker_wants_isolated_is_a_surprise_once() -> None:
    row = LaneRow(9, isolate=15)
    assert _surprise(_window(Lane(9)), row) == "lane 0 is to be isolated"
    assert _surprise(_window(Lane(9, isolate=15)), row) is None


def test_an_isolation_that_is_over_is_no_surprise() -> None:
    assert _surprise(_window(Lane(15)), LaneRow(15, isolate=15)) is None


def test_a_killer_among_isolated_ones_is_a_surprise_until_sent_one_at_a_time() -> None:
    row = LaneRow(9, isolate=15, tries=ONE_AT_A_TIME)
    many: Lane[Write] = Lane(9, isolate=15)
    one: Lane[Write] = Lane(9, isolate=15, one_at_a_time=True)
    assert _surprise(_window(many), row) == "lane 0 is to be sent one offset at a time"
    assert _surprise(_window(one), row) is None
    assert _surprise(_window(one), replace(row, tries=ONE_AT_A_TIME - 2)) is None
    assert _surprise(_window(Lane(15)), replace(row, last=15)) is None


def test_a_lane_is_sent_one_offset_at_a_time_until_it_is_past_the_isolated_ones() -> None:
    assert LaneRow(9, isolate=10, tries=ONE_AT_A_TIME - 1).one_at_a_time
    assert not LaneRow(10, isolate=10, tries=ONE_AT_A_TIME).one_at_a_time
    assert not LaneRow(9, isolate=10, tries=2).one_at_a_time
