"""What judges the fault matrix finds what it is there for."""

import random
import re
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Final, cast

import pytest

from notify.domain.engine.lanes import lane_of
from notify.domain.records.patch import ADD, SET, Patch
from notify.domain.records.update import Update, encode
from tests.qa.faults import checks, rows_storm
from tests.qa.faults.checks import Message, Totals, add_up, differences
from tests.qa.faults.rows_storm import Fault, schedule
from tests.qa.faults.rows_under_backlog import fairness
from tests.qa.faults.scene import Kind, Scene
from tests.qa.faults.watch import Look, StreamLook

APP: Final = "6f0f5d5e-6b0e-4d0c-9a53-3d7a3f1f0001"
RECORD: Final = "6f0f5d5e-6b0e-4d0c-9a53-3d7a3f1f0002"
OTHER: Final = "6f0f5d5e-6b0e-4d0c-9a53-3d7a3f1f0003"
MESSAGES: Final = [
    Message(0, offset, APP, record, number, sessions)
    for offset, (record, number, sessions) in enumerate(
        [(RECORD, 1, 5), (OTHER, 2, 7), (RECORD, 3, 11), (RECORD, None, 13)]
    )
]


def test_a_message_is_read_from_the_bytes_that_web_writes() -> None:
    patch = Patch(False, {"tags.n": (SET, 4), "session_count": (ADD, 9)})
    value = encode(Update(APP, RECORD, 1, "m", kind="push", patch=patch))
    assert checks._read(2, 8, value) == Message(2, 8, APP, RECORD, 4, 9)


def test_what_neither_counts_nor_numbers_is_read_too() -> None:
    value = encode(Update(APP, RECORD, 1, "m"))
    assert checks._read(2, 8, value) == Message(2, 8, APP, RECORD, None, 0)


@pytest.mark.parametrize("value", [b"\xff{", b"{"])
def test_what_is_no_update_is_left_out(value: bytes) -> None:
    assert checks._read(2, 8, value) is None


def test_the_messages_of_a_record_add_up() -> None:
    assert add_up(MESSAGES) == {(APP, RECORD): Totals(29, 3), (APP, OTHER): Totals(7, 2)}


def test_rows_that_are_what_the_topic_adds_up_to_do_not_differ() -> None:
    assert differences(add_up(MESSAGES), add_up(MESSAGES)) == []


@pytest.mark.parametrize(
    "rows",
    [
        {(APP, RECORD): Totals(18, 3), (APP, OTHER): Totals(7, 2)},
        {(APP, RECORD): Totals(34, 3), (APP, OTHER): Totals(7, 2)},
        {(APP, RECORD): Totals(29, 1), (APP, OTHER): Totals(7, 2)},
        {(APP, RECORD): Totals(29, 3)},
        {(APP, RECORD): Totals(29, 3), (APP, OTHER): Totals(7, 2), (APP, APP): Totals(0, None)},
    ],
    ids=["one lost", "one doubled", "out of order", "no row", "a row of nobody"],
)
def test_a_row_that_is_not_what_the_topic_adds_up_to_is_named(
    rows: dict[tuple[str, str], Totals],
) -> None:
    assert len(differences(add_up(MESSAGES), rows)) == 1


def test_poisoned_records_may_differ() -> None:
    assert differences(add_up(MESSAGES), {(APP, OTHER): Totals(7, 2)}, {(APP, RECORD)}) == []


def test_a_partition_that_is_not_applied_to_its_end_is_named() -> None:
    (problem,) = checks.unread({0: 7, 1: 9, 2: 4}, {0: 7, 1: 8, 2: 4})
    assert problem == "partition 1: applied up to 8, the log ends at 9"
    assert len(checks.unread({0: 7}, {})) == 1


@pytest.mark.parametrize("sent", [28, 30])
def test_a_sum_that_kafka_does_not_have_is_named(sent: int) -> None:
    counts = {(APP, RECORD): sent, (APP, OTHER): 7}
    (problem,) = checks.unsent(counts, add_up(MESSAGES))
    assert problem == f"app {APP}, record {RECORD}: {sent} sent, 29 in Kafka"
    assert len(checks.unsent({(APP, APP): 1}, add_up(MESSAGES))) == 1


def _look(at: float, frontier: int, lasts: list[int], *, partition: int = 0) -> Look:
    return Look(at, [StreamLook(partition, frontier, 4, lasts)], 0, {})


def test_a_frontier_that_no_lane_is_behind_is_no_problem() -> None:
    lasts = [-1, -1]
    looks = [_look(0, 0, list(lasts))]
    for message in MESSAGES:
        lasts[lane_of(APP, message.record, 2)] = message.offset
        looks.append(_look(0, message.offset + 1, list(lasts)))
    assert checks._too_early(looks, MESSAGES) == []


@pytest.mark.parametrize("behind", range(4))
def test_a_frontier_past_what_its_lane_applied_is_a_problem(behind: int) -> None:
    looks = [_look(0, 4, [9, 9]), _look(0, behind + 1, [9, 9])]
    lane = lane_of(APP, MESSAGES[behind].record, 2)
    stream = looks[1].streams[0]
    lasts = [behind - 1 if number == lane else 9 for number in range(2)]
    looks[1] = replace(looks[1], streams=[replace(stream, lasts=lasts)])
    (problem,) = checks._too_early(looks, MESSAGES)
    assert f"before offset {behind}" in problem


def test_fairness_tells_the_shares_at_half_and_who_stood_still() -> None:
    looks = [
        Look(at, [StreamLook(n, each, each, []) for n, each in enumerate(frontiers)], 0, {})
        for at, frontiers in enumerate(
            [
                *((100, 0), (100, 0), (110, 0), (160, 0), (200, 0)),
                *((200, 50), (200, 60), (200, 70), (200, 80), (200, 100)),
            ]
        )
    ]
    assert fairness(looks, {0: 200, 1: 100}) == (
        "200 updates waited; half of them were applied 2.0 s after the first, of the partitions "
        "100 %, 0 %; with messages waiting, partition 1 stood still longest, for 3.0 s"
    )


def _nothing() -> None: ...


FAULTS: Final = [
    *(Fault(name, "killed", _nothing, _nothing) for name in "abcdef"),
    *(Fault(name, "restarted", _nothing) for name in "abcdef"),
]


def _schedule(seed: int) -> list[rows_storm.Step]:
    return schedule(FAULTS, random.Random(seed), seconds=rows_storm.STORM_S)


@pytest.mark.parametrize("seed", range(20))
def test_a_storm_breaks_nothing_that_is_broken_and_heals_all(seed: int) -> None:
    broken: set[str] = set()
    most = 0
    for step in _schedule(seed):
        if step.is_healing:
            broken.remove(step.fault.target)
        else:
            assert step.fault.target not in broken
            if step.fault.heal is not None:
                broken.add(step.fault.target)
        most = max(most, len(broken))
    assert not broken
    assert most > 1, "faults do not overlap"


def test_a_storms_faults_heal_one_by_one() -> None:
    healed = [step.at_s for seed in range(20) for step in _schedule(seed) if step.is_healing]
    assert all(before != after for before, after in pairwise(healed))


def test_a_seed_repeats_its_storm_and_another_does_not() -> None:
    assert _schedule(1) == _schedule(1)
    assert _schedule(1) != _schedule(2)


def test_the_seeds_of_the_page_have_every_fault_between_them() -> None:
    parts = [("web", "kafka"), ("bridge", "kafka"), ("web", "postgres"), ("bridge", "postgres")]
    parts += [("worker", "postgres"), ("bridge", "redis"), ("worker", "redis")]
    scene = SimpleNamespace(
        kind=Kind.STORM,
        bridges=("bridge-1", "bridge-2"),
        workers=("worker-1", "worker-2"),
        wires={each: SimpleNamespace(cut=_nothing, heal=_nothing) for each in parts},
        **dict.fromkeys(("kill", "restart", "freeze", "thaw"), _nothing),
    )
    faults = rows_storm.faults_of(cast(Scene, scene))
    struck = {
        _kind(step.fault) for seed in rows_storm.SEEDS for step in rows_storm.steps_of(faults, seed)
    }
    assert struck == {_kind(fault) for fault in faults}


def _kind(fault: Fault) -> tuple[str, str]:
    """One of two bridges or workers is as good as the other."""
    return re.sub(r"-\d$", "", fault.target), fault.name
