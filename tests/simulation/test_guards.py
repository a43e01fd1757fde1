"""Guards of the protocol, taken away: the simulation must find a violation, else it proves nothing."""

import re
from collections.abc import Sequence

import pytest

from devstack import ROOT
from ingest.bridge import Bridge
from notify.domain.patch import ADD, Patch
from notify.domain.policy import SCOPE_ALL, Policy, Skip
from notify.domain.update import Update, encode
from tests.simulation.invariants import Invariants
from tests.simulation.mutants import MUTANTS
from tests.simulation.schedule import Broken, run
from tests.simulation.shrink import shrink
from tests.simulation.traffic import APPS, RECORDS
from tests.simulation.world import World

SEEDS_MAX = 6_000
#: Its schedule is written out below: the dice throw it once in some thousand seeds.
WRITTEN_OUT = "tick-without-token"

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


@pytest.mark.parametrize("name", [name for name in MUTANTS if name != WRITTEN_OUT])
def test_without_its_guard_the_protocol_breaks(name: str) -> None:
    broken = first_broken(name)
    assert broken is not None, f"{SEEDS_MAX} schedules without {MUTANTS[name].guard}: none broke"
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
    MUTANTS[WRITTEN_OUT].apply(monkeypatch)
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


def _step_until_planned(world: World, bridge: Bridge) -> None:
    for _ in range(50):
        bridge.step(0)
        if world.db.tables.streams[1].planned == 1:
            return
    pytest.fail("it planned nothing")
