"""One schedule: faults for a while, then none, then everything must have drained and be right."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tests.simulation.oracle import violations
from tests.simulation.world import LIMITS, World

STEPS = 220
DRAIN_STEPS = 3_000


#: How often each thing happens, of about 120.
WEIGHTS: Final = {
    "produce": 30,
    "step_bridge": 40,
    "work": 25,
    "pass_time": 12,
    "lose_tasks": 1,
    "rebalance": 1,
    "start_bridge": 1,
    "kill_bridge": 1,
    "edit_policy": 1,
    "change_lanes": 1,
    "lose_commits": 3,
}


def run(
    seed: int,
    *,
    without: frozenset[str] = frozenset(),
    weights: Mapping[str, int] = MappingProxyType({}),
) -> list[str]:
    """The violations that this seed's schedule ends with; empty if the protocol held.

    `weights` take the place of those in WEIGHTS.
    """
    world = World(seed, without=without)
    world.start_bridge()
    often = {**WEIGHTS, **weights}
    names = list(often)
    for _ in range(STEPS):
        (name,) = world.rng.choices(names, list(often.values()))
        getattr(world, name)()
        found = _invariants(world)
        if found:
            return found
    return _drain(world)


def _invariants(world: World) -> list[str]:
    """What holds at every moment."""
    found = []
    for stream in world.db.tables.streams.values():
        held = [
            message.offset
            for message in world.log[stream.partition].messages
            if stream.frontier <= message.offset < stream.planned
        ]
        if held and held[-1] - held[0] >= LIMITS.window_offsets:
            found.append(f"the window is exceeded: {stream}")
        if stream.frontier > stream.planned:
            found.append(f"the frontier passed planned: {stream}")
    return found


def _drain(world: World) -> list[str]:
    """Faults stop: one bridge, all tasks run, time passes. Liveness is part of the promise."""
    world.faults = False
    while len(world.bridges) > 1:
        world.bridges.pop()
    if not world.bridges:
        world.start_bridge()
    world.rebalance()
    for stream, row in list(world.db.tables.streams.items()):
        if row.halted is not None:
            return [f"halted: {stream} {row.halted}"]
    for _ in range(DRAIN_STEPS):
        world.step_bridge()
        world.work()
        world.pass_time()
        if not world.queue and all(
            row.frontier == row.planned == world.log[row.partition].end
            and row.lanes == row.lanes_wanted
            for row in world.db.tables.streams.values()
        ):
            break
    return violations(world.db.tables, world.log, world.db.policies)
