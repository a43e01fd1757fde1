"""What a worker makes of a task, over lanes in memory."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from notify.domain.engine.stream import LaneRow, StreamRow
from notify.domain.engine.task import IsolatedRow, Segment
from notify.domain.engine.window import ONE_AT_A_TIME
from notify.domain.records import task_rows as wire
from notify.domain.records.decide import Write
from notify.domain.records.patch import ADD, SET, Op, Patch
from tests.fakes import BIGINT_MAX, MemoryDatabase, MemoryLanes
from workers.apply import (
    TRIES_MAX,
    TRY_FROM_ATTEMPT,
    BadData,
    Outcome,
    PostgresUnavailable,
    StreamLane,
    apply_isolated,
    apply_merged,
)

APP, LANE, TOKEN = "app", 0, 11
GOOD: Op = (SET, "x")
BAD: Op = (ADD, BIGINT_MAX + 1)
SEGMENT = Segment(1, 0, TOKEN, -1, 4, LANE)
OTHER = Segment(2, 1, TOKEN, -1, 6, LANE)


class Lanes(MemoryLanes):
    """Lanes on a database that may go away before some statements."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.away: set[str] = set()
        self.applied = 0

    def apply(self, segments: Sequence[Segment], rows: str) -> set[StreamLane]:
        self.applied += 1
        self._need("apply")
        return super().apply(segments, rows)

    def survived(self, segment: Segment) -> None:
        self._need("survived")
        super().survived(segment)

    def _need(self, statement: str) -> None:
        if statement in self.away:
            raise PostgresUnavailable("57P03 starting up")


@pytest.fixture
def database() -> MemoryDatabase:
    """Two streams, planned up to 10 and nothing applied."""
    database = MemoryDatabase()
    for stream in (1, 2):
        row = StreamRow(stream, "topic", stream - 1, 1, 1, TOKEN, planned=0, frontier=0)
        database.make_stream(row)
        database.tables.streams[stream] = row.at(frontier=0, planned=10)
    return database


@pytest.fixture
def lanes(database: MemoryDatabase) -> Lanes:
    return Lanes(database)


def _write(record: str, op: Op) -> Write:
    return Write(APP, record, Patch(False, {"spent_micros" if op[0] == ADD else "tags.a": op}))


def _rows(*writes: tuple[int, str, Op]) -> str:
    return wire.encode((stream, _write(record, op)) for stream, record, op in writes)


def _original(offset: int, record: str, op: Op = GOOD) -> IsolatedRow:
    return IsolatedRow(offset, wire.row(1, _write(record, op)), f"message {offset}")


def _row(lanes: Lanes, stream: int = 1) -> LaneRow:
    return lanes._db.tables.lanes[stream, LANE]


def _records(lanes: Lanes) -> set[str]:
    return {record for _, record in lanes._db.tables.records}


def _merged(
    lanes: Lanes, *segments: Segment, rows: str = "[]", attempt: int = 1
) -> dict[int, Outcome]:
    """The outcome of each stream."""
    outcomes = apply_merged(lanes, segments, rows=rows, attempt=attempt)
    return {segment.stream: outcome for segment, outcome in outcomes.items()}


def _isolated(
    lanes: Lanes,
    *originals: IsolatedRow,
    segment: Segment = SEGMENT,
    attempt: int = 1,
    dead_letters_max: int = 20,
) -> Outcome:
    return apply_isolated(
        lanes,
        segment,
        originals=originals,
        attempt=attempt,
        dead_letters_max=dead_letters_max,
    )


# -- merged --------------------------------------------------------------------------------------------


def test_segments_that_are_next_are_applied_together(lanes: Lanes) -> None:
    rows = _rows((1, "a", GOOD), (2, "b", GOOD))
    assert _merged(lanes, SEGMENT, OTHER, rows=rows) == {1: Outcome.APPLIED, 2: Outcome.APPLIED}
    assert _records(lanes) == {"a", "b"}
    assert (_row(lanes, 1).last, _row(lanes, 2).last) == (4, 6)
    assert lanes.applied == 1


def test_a_task_that_comes_again_is_refused(lanes: Lanes) -> None:
    rows = _rows((1, "a", (ADD, 1)))
    assert _merged(lanes, SEGMENT, rows=rows) == {1: Outcome.APPLIED}
    before = lanes._db.tables.snapshot()
    assert _merged(lanes, SEGMENT, rows=rows) == {1: Outcome.REFUSED}
    assert lanes._db.tables == before


@pytest.mark.parametrize(
    "segment",
    [
        Segment(1, 0, TOKEN, 0, 4, LANE),
        Segment(1, 0, TOKEN + 1, -1, 4, LANE),
        Segment(1, 0, TOKEN, -1, 10, LANE),
        Segment(9, 0, TOKEN, -1, 4, LANE),
    ],
    ids=["not next", "an old token", "not planned", "no such stream"],
)
def test_a_refused_segment_leaves_the_others_alone(lanes: Lanes, segment: Segment) -> None:
    rows = _rows((segment.stream, "a", GOOD), (2, "b", GOOD))
    outcomes = _merged(lanes, segment, OTHER, rows=rows)
    assert outcomes == {segment.stream: Outcome.REFUSED, 2: Outcome.APPLIED}
    assert _records(lanes) == {"b"}


def test_of_two_segments_the_bad_one_alone_is_isolated(lanes: Lanes) -> None:
    rows = _rows((1, "a", GOOD), (2, "b", BAD), (2, "c", GOOD))
    outcomes = _merged(lanes, SEGMENT, OTHER, rows=rows)
    assert outcomes == {1: Outcome.APPLIED, 2: Outcome.ISOLATED}
    assert _records(lanes) == {"a"}
    assert _row(lanes, 1) == LaneRow(4)
    assert _row(lanes, 2) == LaneRow(-1, isolate=6)


def test_a_bad_segment_beside_a_refused_one_is_found_too(lanes: Lanes) -> None:
    late = Segment(2, 1, TOKEN, 3, 6, LANE)
    rows = _rows((1, "a", BAD), (2, "b", GOOD))
    assert _merged(lanes, SEGMENT, late, rows=rows) == {1: Outcome.ISOLATED, 2: Outcome.REFUSED}


def test_without_postgresql_nothing_is_known(lanes: Lanes) -> None:
    lanes.away = {"apply"}
    with pytest.raises(PostgresUnavailable):
        _merged(lanes, SEGMENT, rows=_rows((1, "a", GOOD)))
    assert _row(lanes) == LaneRow(-1)


# -- several lanes -------------------------------------------------------------------------------------


def _in_lanes(lanes: Lanes, *rows: tuple[int, int, str, Op], attempt: int = 1) -> list[Outcome]:
    """The outcomes of a task with the lanes 0 and 1 of stream 1, where the rows say which is theirs."""
    lanes._db.tables.lanes.setdefault((1, 1), LaneRow(-1))
    text = wire.as_text([wire.row(s, _write(record, op), lane) for s, lane, record, op in rows])
    segments = [SEGMENT, replace(SEGMENT, lane=1, last=6)]
    outcomes = apply_merged(lanes, segments, rows=text, attempt=attempt)
    return [outcomes[segment] for segment in segments]


def test_lanes_of_one_task_are_applied_together(lanes: Lanes) -> None:
    outcomes = _in_lanes(lanes, (1, 0, "a", GOOD), (1, 1, "b", GOOD))
    assert outcomes == [Outcome.APPLIED, Outcome.APPLIED]
    assert _records(lanes) == {"a", "b"}
    assert (_row(lanes).last, lanes._db.tables.lanes[1, 1].last) == (4, 6)
    assert lanes.applied == 1


def test_a_lane_that_is_not_next_leaves_the_tasks_other_lanes_alone(lanes: Lanes) -> None:
    lanes._db.tables.lanes[1, 1] = LaneRow(6)
    outcomes = _in_lanes(lanes, (1, 0, "a", GOOD), (1, 1, "b", GOOD))
    assert outcomes == [Outcome.APPLIED, Outcome.REFUSED]
    assert _records(lanes) == {"a"}


def test_of_two_lanes_the_bad_one_alone_is_isolated(lanes: Lanes) -> None:
    outcomes = _in_lanes(lanes, (1, 0, "a", GOOD), (1, 1, "b", BAD))
    assert outcomes == [Outcome.APPLIED, Outcome.ISOLATED]
    assert _records(lanes) == {"a"}
    assert lanes._db.tables.lanes[1, 1] == LaneRow(-1, isolate=6)


def test_a_lane_that_kills_its_workers_is_isolated_alone(lanes: Lanes) -> None:
    _die_on(lanes, TRIES_MAX)
    outcomes = _in_lanes(lanes, (1, 0, "a", GOOD), (1, 1, "b", GOOD), attempt=TRY_FROM_ATTEMPT)
    assert outcomes == [Outcome.ISOLATED, Outcome.APPLIED]
    assert _records(lanes) == {"b"}


# -- tries ---------------------------------------------------------------------------------------------


def _die_on(lanes: Lanes, times: int) -> None:
    """As workers do that a payload kills: they count their try, and are heard of no more."""
    for _ in range(times):
        assert lanes.count_try(SEGMENT) is not None


def test_the_first_sends_count_no_tries(lanes: Lanes) -> None:
    lanes.away = {"apply"}
    for attempt in range(1, TRY_FROM_ATTEMPT):
        with pytest.raises(PostgresUnavailable):
            _merged(lanes, SEGMENT, attempt=attempt)
    assert _row(lanes).tries == 0


def test_an_applied_batch_ends_the_count(lanes: Lanes) -> None:
    _die_on(lanes, TRIES_MAX - 1)
    assert _merged(lanes, SEGMENT, attempt=TRY_FROM_ATTEMPT) == {1: Outcome.APPLIED}
    assert _row(lanes).tries == 0


def test_a_worker_that_lives_through_an_outage_ends_the_count(lanes: Lanes) -> None:
    _die_on(lanes, TRIES_MAX - 1)
    lanes.away = {"apply"}
    with pytest.raises(PostgresUnavailable):
        _merged(lanes, SEGMENT, attempt=TRY_FROM_ATTEMPT)
    assert _row(lanes).tries == 0


def test_an_outage_that_goes_on_keeps_the_count(lanes: Lanes) -> None:
    lanes.away = {"apply", "survived"}
    with pytest.raises(PostgresUnavailable):
        _merged(lanes, SEGMENT, attempt=TRY_FROM_ATTEMPT)
    assert _row(lanes).tries == 1


def test_a_failure_of_an_early_send_keeps_the_count(lanes: Lanes) -> None:
    """A bridge that loads again begins with early sends: they know nothing of the tries before."""
    _die_on(lanes, TRIES_MAX - 1)
    lanes.away = {"apply"}
    with pytest.raises(PostgresUnavailable):
        _merged(lanes, SEGMENT, attempt=TRY_FROM_ATTEMPT - 1)
    assert _row(lanes).tries == TRIES_MAX - 1


def test_a_batch_that_kills_its_workers_is_isolated_untouched(lanes: Lanes) -> None:
    _die_on(lanes, TRIES_MAX)
    rows = _rows((1, "a", GOOD), (2, "b", GOOD))
    outcomes = _merged(lanes, SEGMENT, OTHER, rows=rows, attempt=TRY_FROM_ATTEMPT)
    assert outcomes == {1: Outcome.ISOLATED, 2: Outcome.APPLIED}
    assert _row(lanes) == LaneRow(-1, isolate=4, tries=ONE_AT_A_TIME)
    assert _records(lanes) == {"b"}


def test_a_batch_with_nothing_left_to_apply_touches_nothing(lanes: Lanes) -> None:
    late = Segment(1, 0, TOKEN, 3, 4, LANE)
    assert _merged(lanes, late, attempt=TRY_FROM_ATTEMPT) == {1: Outcome.REFUSED}
    assert lanes.applied == 0


# -- isolated ------------------------------------------------------------------------------------------


def test_isolated_writes_are_applied_one_by_one(lanes: Lanes) -> None:
    originals = (_original(0, "a"), _original(0, "b"), _original(3, "a"))
    assert _isolated(lanes, *originals) == Outcome.APPLIED
    assert _records(lanes) == {"a", "b"}
    assert _row(lanes) == LaneRow(4)


def test_a_bad_write_is_a_dead_letter_and_the_lane_moves_on(lanes: Lanes) -> None:
    originals = (
        _original(0, "a"),
        _original(2, "b", BAD),
        _original(2, "c"),
        _original(4, "d", BAD),
    )
    assert _isolated(lanes, *originals) == Outcome.DEAD_LETTERED
    assert _records(lanes) == {"a", "c"}
    assert lanes._db.tables.dead == [(1, 2, APP, "b"), (1, 4, APP, "d")]
    assert _row(lanes).last == 4


def test_an_isolated_batch_that_comes_again_is_refused(lanes: Lanes) -> None:
    _isolated(lanes, _original(0, "a", BAD))
    before = lanes._db.tables.snapshot()
    assert _isolated(lanes, _original(0, "a", BAD)) == Outcome.REFUSED
    assert _isolated(lanes, _original(0, "a"), attempt=TRY_FROM_ATTEMPT) == Outcome.REFUSED
    assert lanes._db.tables == before


def test_with_too_many_dead_letters_the_stream_halts_and_nothing_is_applied(lanes: Lanes) -> None:
    originals = (_original(0, "a"), _original(1, "b", BAD), _original(2, "c", BAD))
    assert _isolated(lanes, *originals, dead_letters_max=1) == Outcome.HALTED
    tables = lanes._db.tables
    assert (tables.records, tables.dead, _row(lanes)) == ({}, [], LaneRow(-1))
    halted = tables.streams[1].halted or ""
    assert "more than 1 dead letters" in halted
    assert "stream resume 0" in halted


def test_dead_letters_before_the_frontier_do_not_count(lanes: Lanes) -> None:
    tables = lanes._db.tables
    tables.streams[1] = tables.streams[1].at(frontier=3, planned=10)
    tables.lanes[1, LANE] = LaneRow(2)
    tables.dead += [(1, 1, APP, "z"), (1, 2, APP, "z"), (2, 3, APP, "z")]
    segment = Segment(1, 0, TOKEN, 2, 4, LANE)
    bad = _original(3, "a", BAD)
    assert _isolated(lanes, bad, segment=segment, dead_letters_max=1) == Outcome.DEAD_LETTERED


def test_an_isolated_killer_is_sent_one_offset_at_a_time(lanes: Lanes) -> None:
    _die_on(lanes, TRIES_MAX)
    originals = (_original(0, "a"), _original(1, "b"))
    assert _isolated(lanes, *originals, attempt=TRY_FROM_ATTEMPT) == Outcome.ISOLATED
    assert _row(lanes) == LaneRow(-1, isolate=4, tries=ONE_AT_A_TIME)
    assert _records(lanes) == set()


@pytest.mark.parametrize("offsets", [(0, 1), (0,)])
def test_isolated_writes_have_all_their_tries(lanes: Lanes, offsets: tuple[int, ...]) -> None:
    _die_on(lanes, TRIES_MAX - 1)
    originals = [_original(offset, "a") for offset in offsets]
    assert _isolated(lanes, *originals, attempt=TRY_FROM_ATTEMPT) == Outcome.APPLIED
    assert _records(lanes) == {"a"}
    assert lanes._db.tables.dead == []


def test_a_killer_of_one_offset_is_dead_lettered_without_another_try(lanes: Lanes) -> None:
    lanes.isolate(SEGMENT, tries=ONE_AT_A_TIME)
    _die_on(lanes, TRIES_MAX)
    one = Segment(1, 0, TOKEN, -1, 0, LANE)
    originals = (_original(0, "a"), _original(0, "b"))
    outcome = _isolated(lanes, *originals, segment=one, attempt=TRY_FROM_ATTEMPT)
    assert outcome == Outcome.DEAD_LETTERED
    assert lanes._db.tables.dead == [(1, 0, APP, "a"), (1, 0, APP, "b")]
    assert _records(lanes) == set()
    assert _row(lanes) == LaneRow(0, isolate=4, tries=ONE_AT_A_TIME)


def test_one_offset_at_a_time_lasts_until_the_lane_is_past_the_isolated_ones(lanes: Lanes) -> None:
    lanes.isolate(SEGMENT, tries=ONE_AT_A_TIME)
    first, last = Segment(1, 0, TOKEN, -1, 0, LANE), Segment(1, 0, TOKEN, 0, 4, LANE)
    _isolated(lanes, _original(0, "a"), segment=first)
    assert _row(lanes) == LaneRow(0, isolate=4, tries=ONE_AT_A_TIME)
    _isolated(lanes, _original(4, "a"), segment=last)
    assert _row(lanes) == LaneRow(4, isolate=4)


def test_an_outage_ends_the_count_but_not_the_mode(lanes: Lanes) -> None:
    lanes.isolate(SEGMENT, tries=ONE_AT_A_TIME)
    _die_on(lanes, TRIES_MAX - 1)
    lanes.away = {"apply"}
    with pytest.raises(PostgresUnavailable):
        _isolated(lanes, _original(0, "a"), attempt=TRY_FROM_ATTEMPT)
    assert _row(lanes).tries == ONE_AT_A_TIME


def test_a_stream_of_killers_halts(lanes: Lanes) -> None:
    _die_on(lanes, TRIES_MAX)
    outcome = _isolated(lanes, _original(0, "a"), attempt=TRY_FROM_ATTEMPT, dead_letters_max=0)
    assert outcome == Outcome.HALTED
    assert lanes._db.tables.dead == []
    assert _row(lanes).tries == 0, "after a resume it is tried again: the workers may be mended"


def test_a_halt_that_the_worker_survives_ends_the_count(lanes: Lanes) -> None:
    _die_on(lanes, 1)
    bad = _original(0, "a", BAD)
    outcome = _isolated(lanes, bad, attempt=TRY_FROM_ATTEMPT, dead_letters_max=0)
    assert outcome == Outcome.HALTED
    assert _row(lanes) == LaneRow(-1)


def test_an_outage_dead_letters_nothing(lanes: Lanes) -> None:
    _die_on(lanes, 1)
    lanes.away = {"apply"}
    with pytest.raises(PostgresUnavailable):
        _isolated(lanes, _original(0, "a", BAD), attempt=TRY_FROM_ATTEMPT)
    assert lanes._db.tables.dead == []
    assert _row(lanes) == LaneRow(-1)


def test_a_batch_whose_stream_is_lost_on_the_way_is_refused_whole(lanes: Lanes) -> None:
    """The guards are checked at every step, not at the first one only."""

    class Stolen(Lanes):
        def apply(self, segments: Sequence[Segment], rows: str) -> set[StreamLane]:
            return super().apply(segments, rows) if self.applied < 2 else set()

    stolen = Stolen(lanes._db)
    assert _isolated(stolen, _original(0, "a"), _original(1, "b")) == Outcome.REFUSED
    assert (_records(stolen), _row(stolen)) == (set(), LaneRow(-1))


def test_bad_data_says_what_postgresql_said(lanes: Lanes) -> None:
    with pytest.raises(BadData, match="22003"):
        lanes.apply([SEGMENT], _rows((1, "a", BAD)))
