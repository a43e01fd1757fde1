"""From lines and facts to the way of an update: in any order, with lines twice, and with some missing."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.engine.lanes import lane_of
from notify.domain.records.decide import LINK_REFUSED, OWN_ONLY, SKIPPED, Decision, Reason
from notify.management import show_trail
from notify.operations.trail.facts import (
    ChunkFacts,
    DeadFacts,
    DroppedFacts,
    Facts,
    LinkedFacts,
    StreamFacts,
)
from notify.operations.trail.join import MIRROR, OWN, Trail, UpdateState, join
from notify.operations.trail.lines import Accepted, BatchEvent, ChunkPlanned, Step, Writer

APP = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11"
RECORD = "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01"
PARENT = "eeda2a6a-6487-5f53-9ff4-5b0bfbb7dd16"
LANES = 8
LANE = lane_of(APP, RECORD, LANES)
PARENTS_LANE = lane_of(APP, PARENT, LANES)
START = datetime(2026, 11, 23, 21, 0, 0, tzinfo=UTC)
BRIDGE, WORKER = Writer("bridge", "b", 1), Writer("worker", "w", 2)


def at(ms: int) -> datetime:
    """So long after the acceptance."""
    return START + timedelta(milliseconds=ms)


ACCEPTED = Accepted(START, Writer("web", "h", 3), "a" * 32, APP, RECORD, 3, 40, "m")
CHUNK = ChunkPlanned(at(20), BRIDGE, 3, 30, 50, 20, 12)


def batch(
    what: str, ms: int, *, lane: int = LANE, attempt: int = 1, span: tuple[int, int] = (29, 49)
) -> BatchEvent:
    """What happened to a batch of the lane."""
    by = BRIDGE if what == "sent" else WORKER
    return BatchEvent(at(ms), by, what, 3, lane, *span, attempt, seconds=0.004)


def facts(
    *,
    decision: Decision | None = None,
    planned: int = 60,
    frontier: int = 30,
    lasts: dict[int, int] | None = None,
    dropped: Sequence[DroppedFacts] = (),
    dead: Sequence[DeadFacts] = (),
    parents: tuple[tuple[str, str], ...] = (),
    logged: bool = True,
) -> Facts:
    """What PostgreSQL says: lanes stand at 29 unless told otherwise."""
    stands = dict.fromkeys(range(LANES), 29) | (lasts or {})
    chunk = ChunkFacts(30, 50, 12, at(19), decision)
    return Facts(
        {3: StreamFacts(LANES, planned, frontier, None, stands)},
        {(3, 40): chunk} if logged else {},
        dropped,
        dead,
        {(APP, RECORD): LinkedFacts(RECORD, parents)},
    )


def drop(reason: str = SKIPPED, *, first: int = 40, last: int = 40, n: int = 1) -> DroppedFacts:
    """A row of `skipped` for the record."""
    return DroppedFacts(3, RECORD, reason, 7, first, last, n, at(19))


def states(trail: Trail) -> list[tuple[str, str, UpdateState]]:
    """Role, record and state of each write."""
    return [(each.role, each.record, each.state) for each in trail.passages]


def test_the_whole_way() -> None:
    steps: list[Step] = [CHUNK, batch("sent", 25), batch("applied", 31)]
    trail = join(ACCEPTED, steps, facts(frontier=50, lasts={LANE: 49}))
    assert trail.state is UpdateState.APPLIED
    assert trail.decided is not None
    assert (trail.decided.at, trail.decided.policy, trail.decided.by) == (at(20), 12, BRIDGE)
    (passage,) = trail.passages
    assert (passage.lane, passage.done, passage.sent) == (LANE, steps[2], (steps[1],))
    assert not passage.is_recorded
    assert trail.ended_at == at(31)


STEPS: list[Step] = [
    CHUNK,
    replace(CHUNK, first=50, next=60, at=at(40)),
    replace(CHUNK, partition=2),
    batch("sent", 25),
    batch("unavailable", 28),
    batch("sent", 525, attempt=2),
    batch("refused", 530),
    batch("applied", 531, attempt=2),
    batch("applied", 600, span=(49, 59)),
    batch("applied", 20, span=(10, 29)),
    batch("applied", 27, lane=(LANE + 1) % LANES),
    replace(batch("applied", 27), partition=2),
]


@given(st.permutations(STEPS), st.lists(st.sampled_from(STEPS)), st.sampled_from([OWN_ONLY, None]))
def test_lines_come_in_any_order_and_twice(
    steps: list[Step], again: list[Step], decision: Decision | None
) -> None:
    known = facts(decision=decision, frontier=30, lasts={LANE: 49})
    trail = join(ACCEPTED, [*again, *steps], known)
    assert trail == join(ACCEPTED, STEPS, known)
    (passage,) = trail.passages
    assert passage.done == STEPS[7]
    assert [each.attempt for each in passage.sent] == [1, 2]
    assert [each.what for each in passage.tries] == ["unavailable", "refused"]


@given(st.lists(st.sampled_from(STEPS)), st.booleans(), st.booleans())
def test_whatever_is_missing_something_true_is_told(
    steps: list[Step], has_facts: bool, is_applied: bool
) -> None:
    known = facts(lasts={LANE: 49 if is_applied else 29}) if has_facts else None
    trail = join(ACCEPTED, steps, known)
    show_trail.text(trail, None)
    show_trail.data(trail, None)
    if has_facts:
        done = is_applied or STEPS[7] in steps
        assert trail.state is (UpdateState.APPLIED if done else UpdateState.WAITING)
    else:
        assert trail.state is UpdateState.UNKNOWN
    if CHUNK in steps:
        assert trail.decided is not None


def test_lines_of_long_before_are_of_another_topic() -> None:
    old: list[Step] = [replace(CHUNK, at=at(-120_000)), batch("applied", -119_000)]
    trail = join(ACCEPTED, old, facts(planned=35, logged=False))
    assert trail.state is UpdateState.UNDECIDED
    assert (trail.decided, trail.undecided_messages) == (None, 5)


def test_an_applied_batch_that_postgresql_lost_counts_when_it_was_applied_again() -> None:
    steps: list[Step] = [
        CHUNK,
        batch("applied", 31),
        replace(CHUNK, at=at(900)),
        batch("applied", 950),
    ]
    trail = join(ACCEPTED, steps, facts(lasts={LANE: 49}))
    assert trail.passages[0].done == steps[3]
    assert trail.decided is not None
    assert trail.decided.at == at(900)


def test_a_decision_that_is_still_recorded_says_what_is_written() -> None:
    decision = Decision(mirrors=(PARENT,), reasons=(Reason(LINK_REFUSED, "x"),))
    steps: list[Step] = [CHUNK, batch("applied", 31)]
    trail = join(ACCEPTED, steps, facts(decision=decision, lasts={LANE: 49}))
    assert states(trail) == [
        (OWN, RECORD, UpdateState.APPLIED),
        (MIRROR, PARENT, UpdateState.WAITING),
    ]
    assert trail.state is UpdateState.WAITING
    assert trail.passages[1].lane == PARENTS_LANE
    assert all(each.is_recorded for each in trail.passages)
    assert [(each.record, each.is_certain) for each in trail.dropped] == [("x", True)]
    assert trail.ended_at is None


def test_without_it_the_links_of_now_do_and_it_says_so() -> None:
    steps: list[Step] = [CHUNK, batch("applied", 31), batch("applied", 33, lane=PARENTS_LANE)]
    trail = join(ACCEPTED, steps, facts(frontier=50, parents=(("email", PARENT),)))
    assert states(trail) == [
        (OWN, RECORD, UpdateState.APPLIED),
        (MIRROR, PARENT, UpdateState.APPLIED),
    ]
    assert trail.ended_at == at(33)
    text = show_trail.text(trail, "Closely")
    assert "as linked now" in text
    assert "Closely" in text


def test_another_record_may_be_meant() -> None:
    trail = join(ACCEPTED, [CHUNK], facts(decision=Decision(target=PARENT)))
    assert states(trail) == [(OWN, PARENT, UpdateState.WAITING)]


def test_what_a_rule_dropped() -> None:
    decision = Decision(own=False, reasons=(Reason(SKIPPED, RECORD, 7),))
    trail = join(ACCEPTED, [CHUNK], facts(decision=decision))
    assert (trail.state, trail.passages) == (UpdateState.SKIPPED, ())
    assert "rule 7" in show_trail.text(trail, None)


def test_what_a_rule_dropped_when_only_the_table_says_so() -> None:
    trail = join(ACCEPTED, [CHUNK], facts(frontier=50, dropped=[drop()]))
    assert (trail.state, trail.passages) == (UpdateState.SKIPPED, ())


def test_one_of_several_that_a_rule_dropped_is_not_sure_to_be_it() -> None:
    trail = join(ACCEPTED, [CHUNK], facts(frontier=50, dropped=[drop(first=38, last=44, n=2)]))
    assert [each.is_certain for each in trail.dropped] == [False]
    assert states(trail) == [(OWN, RECORD, UpdateState.APPLIED)]
    assert "possibly" in show_trail.text(trail, None)


def test_rows_of_other_offsets_say_nothing() -> None:
    rows = [drop(first=30, last=39, n=10), drop(first=41, last=41)]
    trail = join(ACCEPTED, [CHUNK], facts(frontier=50, dropped=rows))
    assert trail.dropped == ()


def test_an_alias_that_was_not_given_drops_no_write() -> None:
    trail = join(ACCEPTED, [CHUNK], facts(frontier=50, dropped=[drop("alias_taken")]))
    assert states(trail) == [(OWN, RECORD, UpdateState.APPLIED)]


@pytest.mark.parametrize("record", [RECORD, PARENT])
def test_a_dead_letter_is_of_one_write(record: str) -> None:
    letter = DeadFacts(1, 3, 40, record, "23514 CheckViolation poison", at(40))
    known = facts(
        decision=Decision(mirrors=(PARENT,)), lasts={LANE: 49, PARENTS_LANE: 49}, dead=[letter]
    )
    steps: list[Step] = [
        CHUNK,
        batch("isolated", 30),
        batch("dead_lettered", 40),
        batch("applied", 41, lane=PARENTS_LANE),
    ]
    trail = join(ACCEPTED, steps, known)
    assert trail.state is UpdateState.DEAD_LETTERED
    found = {each.record: each.state for each in trail.passages}
    assert found.pop(record) is UpdateState.DEAD_LETTERED
    assert list(found.values()) == [UpdateState.APPLIED]
    assert "CheckViolation" in show_trail.text(trail, None)


def test_a_message_that_could_not_be_decided() -> None:
    letter = DeadFacts(1, 3, 40, None, "malformed: the message is not JSON", at(19))
    trail = join(ACCEPTED, [CHUNK], facts(decision=Decision(own=False), dead=[letter]))
    assert (trail.state, trail.error) == (UpdateState.DEAD_LETTERED, letter.error)
    other = replace(letter, offset=41)
    assert join(ACCEPTED, [CHUNK], facts(dead=[other])).error is None


def test_the_frontier_says_that_it_is_applied_where_the_lane_has_nothing_of_it() -> None:
    trail = join(ACCEPTED, [], facts(frontier=41, logged=False))
    assert (trail.state, trail.decided) == (UpdateState.APPLIED, None)
    assert "no log line says when" in show_trail.text(trail, None)


def test_a_halt_is_told() -> None:
    known = facts()
    halted = replace(known, streams={3: replace(known.streams[3], halted="too many dead letters")})
    assert "too many dead letters" in show_trail.text(join(ACCEPTED, [], halted), None)


def test_without_postgresql_no_lane_is_guessed() -> None:
    trail = join(ACCEPTED, STEPS, None)
    assert trail.decided is not None
    assert [(each.lane, each.done, each.state) for each in trail.passages] == [
        (None, None, UpdateState.UNKNOWN)
    ]


def test_what_is_shown_has_no_secret() -> None:
    error = "redis://user:a-password@host is away"
    tried = replace(batch("unavailable", 30), error=error)
    letter = DeadFacts(1, 3, 40, RECORD, "for jo@mail.example.com", at(40))
    for known in (facts(), facts(dead=[letter])):
        trail = join(ACCEPTED, [CHUNK, tried], known)
        shown = show_trail.text(trail, None) + str(show_trail.data(trail, None))
        assert "a-password" not in shown
        assert "jo@" not in shown


def _shuffled(steps: Iterable[Step], seed: int) -> list[Step]:
    found = list(steps)
    random.Random(seed).shuffle(found)
    return found


def test_the_text_has_a_row_a_step_in_the_order_of_time() -> None:
    trail = join(ACCEPTED, _shuffled(STEPS, 3), facts(decision=OWN_ONLY, lasts={LANE: 49}))
    rows = [line.split("  ")[0] for line in show_trail.text(trail, None).splitlines()[4:-1]]
    assert rows == [
        "accepted",
        "decided",
        "write",
        "sent",
        "unavailable",
        "sent",
        "refused",
        "applied",
    ]
    assert show_trail.text(trail, None).endswith("From ack to row: 531.0 ms")
