"""Guards of the protocol, taken away: the simulation must find a violation, else it proves nothing."""

import re
from collections.abc import Sequence

import pytest

from devstack import ROOT
from ingest.bridge import Bridge
from notify.domain.engine.lanes import lane_of
from notify.domain.records.patch import ADD, Patch
from notify.domain.records.policy import SCOPE_ALL, Policy, Skip
from notify.domain.records.update import Update, encode
from tests.simulation.invariants import Invariants
from tests.simulation.mutants import MUTANTS
from tests.simulation.oracle import violations
from tests.simulation.schedule import Broken, run
from tests.simulation.shrink import shrink
from tests.simulation.traffic import APPS, RECORDS
from tests.simulation.workers import work
from tests.simulation.world import LANES, World

SEEDS_MAX = 6_000
#: Their schedules are written out below: the dice throw them once in some thousand seeds.
MISFIT = re.compile("raised (TypeError|AttributeError|NameError|ImportError)")
WRITTEN_OUT = ("tick-without-token", "token-counted")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def first_broken(name: str) -> Broken | None:
    """The first schedule that a mutant breaks."""
    mutant = MUTANTS[name]
    with pytest.MonkeyPatch.context() as patch:
        mutant.apply(patch)
        for seed in range(SEEDS_MAX):
            broken = run(seed, without=mutant.without, weights=mutant.weights)
            if broken is not None:
                return broken
    return None


@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in WRITTEN_OUT])
def test_without_its_guard_the_protocol_breaks(name: str) -> None:
    broken = first_broken(name)
    assert broken is not None, f"{SEEDS_MAX} schedules without {MUTANTS[name].guard}: none broke"
    # A mutant that no longer fits the code breaks every schedule, and proves nothing.
    assert not MISFIT.match(broken.violations[0]), broken.violations[0]
    print(f"{name}: seed {broken.seed}, {broken.violations[0][:100]}")


def test_the_guards_are_listed() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*?) \|", page, re.MULTILINE))
    assert rows == {name: mutant.guard for name, mutant in MUTANTS.items()}


def test_a_broken_schedule_is_shrunk_to_one_that_breaks_in_the_same_way() -> None:
    mutant = MUTANTS["frontier-is-the-maximum"]
    with pytest.MonkeyPatch.context() as patch:
        mutant.apply(patch)
        broken = next(broken for seed in range(100) if (broken := run(seed)))
        shortest = shrink(broken)
        again = run(broken.seed, steps=shortest.steps, traced=True)
        one_less = [run(broken.seed, steps=_without(shortest.steps, at)) for at in shortest.steps]
    assert again is not None
    assert again.violations == shortest.violations
    assert again.trace
    assert len(shortest.steps) < len(broken.steps) / 10
    assert all(each is None or each.kind != broken.kind for each in one_less)


def _without(steps: Sequence[int], at: int) -> list[int]:
    return [step for step in steps if step != at]


def test_a_bridge_that_was_replaced_ticks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _after_a_zombie_ticked() == []
    MUTANTS["tick-without-token"].apply(monkeypatch)
    (found,) = _after_a_zombie_ticked()
    assert "passed offset 0, which lane" in found


def _after_a_zombie_ticked() -> list[str]:
    """PostgreSQL loses a chunk that a skip rule had emptied. The rule ends, another bridge plans the
    same offsets, with a write now. Then the first one ticks: `planned` and the lanes are as it left
    them."""
    world = World(0, partitions=1)
    world.faults = False
    skip = Skip(1, SCOPE_ALL, world.db.now + 100)
    world.db.policies.append(Policy(1, {(APPS[0], RECORDS[0]): skip}))
    world.start_bridge()
    zombie, _ = world.bridges[0]
    zombie.step(0)
    zombie.step(0)
    before = world.db.tables.snapshot()
    patch = Patch(False, {"session_count": (ADD, 1)})
    update = Update(APPS[0], RECORDS[0], 1_000, "m", patch=patch)
    world.topic.partitions[0].append(encode(update), hole=0)
    _step_until_planned(world, zombie)
    world.db.tables = before
    world.db.now += 1_000
    world.clock.now += 2_000
    world.start_bridge()
    for bridge, log in world.bridges:
        log.assigned = [] if bridge is zombie else [0]
        log.revoked = []
    _step_until_planned(world, world.bridges[1][0])
    world.clock.now += 2_000
    invariants = Invariants(world)
    assert invariants.broken() == []
    zombie.tick()
    return invariants.broken()


def _step_until_planned(world: World, bridge: Bridge, end: int = 1) -> None:
    for _ in range(50):
        bridge.step(0)
        if world.db.tables.streams[1].planned == end:
            return
    pytest.fail("it planned nothing")


def test_a_task_of_a_history_that_was_lost_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _after_a_task_of_a_lost_history() == []
    MUTANTS["token-counted"].apply(monkeypatch)
    (found,) = _after_a_task_of_a_lost_history()
    assert f"{RECORDS[0]}'): is None" in found


def _after_a_task_of_a_lost_history() -> list[str]:
    """A skip rule drops the first of two updates in one lane, and a task with the second waits in Redis.
    PostgreSQL loses Load and plan, and the rule ends. The same bridge loads and plans again, with both
    writes now. Then a worker takes the task from before: it stands at the same `prev` and `last`."""
    world = World(0, partitions=1)
    world.faults = False
    lost = world.db.tables.snapshot()
    skip = Skip(1, SCOPE_ALL, world.db.now + 100)
    world.db.policies.append(Policy(1, {(APPS[0], RECORDS[0]): skip}))
    world.start_bridge()
    bridge, _ = world.bridges[0]
    bridge.step(0)
    lane = lane_of(APPS[0], RECORDS[0], LANES)
    other = next(each for each in RECORDS[1:] if lane_of(APPS[0], each, LANES) == lane)
    for record in (RECORDS[0], other):
        update = Update(
            APPS[0], record, 1_000, "m", patch=Patch(False, {"session_count": (ADD, 1)})
        )
        world.topic.partitions[0].append(encode(update), hole=0)
    _step_until_planned(world, bridge, 2)
    (task,) = world.queue
    world.queue.clear()
    world.db.tables = lost
    world.db.now += 1_000
    world.clock.now += 2_000
    _step_until_planned(world, bridge, 2)
    work(world, task, lambda: None)
    for _ in range(20):
        bridge.step(0)
        world.clock.now += 1_000
        while world.queue:
            work(world, world.queue.pop(0), lambda: None)
    return violations(world)
