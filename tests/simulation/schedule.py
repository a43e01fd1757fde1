"""One schedule: faults for a while, then none, then everything must have drained and be right."""

from collections.abc import Callable

from tests.simulation.oracle import violations
from tests.simulation.world import LIMITS, World

STEPS = 220
DRAIN_STEPS = 3_000


def run(seed: int, *, without: frozenset[str] = frozenset()) -> list[str]:
    """The violations that this seed's schedule ends with; empty if the protocol held."""
    world = World(seed, without=without)
    world.start_bridge()
    actions: list[tuple[Callable[[], None], int]] = [
        (world.produce, 30),
        (world.step_bridge, 40),
        (world.work, 25),
        (world.pass_time, 12),
        (world.lose_tasks, 1),
        (world.rebalance, 1),
        (world.start_bridge, 1),
        (world.kill_bridge, 1),
        (world.edit_policy, 1),
        (world.change_lanes, 1),
        (
            world.lose_commits,
            8,
        ),  # the token guard needs many: a lost commit must come back different
    ]
    kinds, weights = [action for action, _ in actions], [weight for _, weight in actions]
    for _ in range(STEPS):
        world.rng.choices(kinds, weights)[0]()
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
