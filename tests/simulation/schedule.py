"""One schedule: faults for a while, then none, then everything must have drained and be right."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from tests.simulation.invariants import Invariants
from tests.simulation.oracle import violations
from tests.simulation.trace import told
from tests.simulation.world import World

STEPS: Final = 250
DRAIN_STEPS: Final = 3_000
#: What is done in all schedules, of about 110.
WORK: Final[Mapping[str, float]] = MappingProxyType(
    {"produce": 30, "step_bridge": 40, "work": 25, "pass_time": 12}
)
#: What may go wrong, or be changed. Each seed takes some of them, each as often as its dice say:
#: what is rare in a mix of everything is then frequent in some schedules.
FAULTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "lose_commits": 3,
        "rebalance": 1.5,
        "start_bridge": 1.5,
        "kill_bridge": 1,
        "lose_tasks": 1,
        "reorder_tasks": 1,
        "stall_worker": 2,
        "continue_worker": 2,
        "postgres_goes_or_comes": 0.7,
        "redis_goes_or_comes": 0.7,
        "kafka_goes_or_comes": 0.7,
        "deafen": 0.3,
        "edit_policy": 1,
        "change_lanes": 1,
        "make_topic_again": 0.15,
        "delete_old_messages": 0.3,
        "lose_messages": 0.3,
        "restore_messages": 1.5,
        "operate": 1.5,
    }
)
SHARES: Final = (0, 0, 0.5, 1, 1, 3, 8)
DRAINING: Final = ("step_bridge", "work", "pass_time")
#: The step numbers of the drain begin here.
DRAIN: Final = 100_000

Weights = Mapping[str, float]
_NONE: Final[Weights] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Broken:
    """A schedule that violates the protocol: at which step, and how."""

    seed: int
    step: int
    violations: Sequence[str]
    steps: Sequence[int]
    trace: Sequence[str] = field(default=())

    @property
    def kind(self) -> str:
        """What a shorter schedule must break too: the first words of the first violation."""
        return self.violations[0].split(":")[0][:20]


def names(seed: int, weights: Weights = _NONE) -> list[str]:
    """What the seed's schedule does, step by step. `weights` take the place of what it would draw."""
    dice = random.Random(f"profile {seed}")
    often = dict(WORK) | {name: each * dice.choice(SHARES) for name, each in FAULTS.items()}
    often |= weights
    return dice.choices(list(often), list(often.values()), k=STEPS)


def run(
    seed: int,
    *,
    steps: Collection[int] | None = None,
    without: frozenset[str] = frozenset(),
    weights: Weights = _NONE,
    traced: bool = False,
) -> Broken | None:
    """The seed's schedule, or only those of its steps; None if the protocol held.

    `without` names guards of tests/fakes.py that are taken away.
    """
    plan = names(seed, weights)
    chosen = range(STEPS) if steps is None else sorted(steps)
    trace: list[str] = []
    world = World(seed, without=without)
    with world.closing():
        invariants = Invariants(world)
        world.begin(STEPS)
        world.start_bridge()
        at = -1
        for at, name in _all_steps(world, plan, chosen):
            before = world.db.tables.snapshot() if traced else None
            world.begin(at)
            try:
                getattr(world, name)()
                found = invariants.broken()
            except Exception as error:  # noqa: BLE001 - whatever is raised, the protocol broke here
                found = [f"raised {type(error).__name__}: {error}"]
            if before is not None:
                trace += told(_label(at), name, before, world)
            if found:
                return Broken(seed, at, found, list(chosen), trace)
            if at >= DRAIN and _is_drained(world):
                break
        found = violations(world)
    return Broken(seed, at, found, list(chosen), trace) if found else None


def _all_steps(
    world: World, plan: Sequence[str], chosen: Collection[int]
) -> Iterator[tuple[int, str]]:
    """The schedule's steps; then faults stop, and liveness is part of the promise."""
    for at in chosen:
        yield at, plan[at]
    yield DRAIN, "heal"
    for at in range(1, DRAIN_STEPS):
        yield DRAIN + at, "operate" if at % 100 == 0 else DRAINING[at % len(DRAINING)]


def _is_drained(world: World) -> bool:
    is_adopted = world.db.topic_id == world.topic.id
    return (
        not world.queue
        and is_adopted
        and all(
            row.frontier == row.planned == world.topic.partitions[row.partition].end
            and row.lanes == row.lanes_wanted
            for row in world.db.tables.streams.values()
            if row.topic_id == world.topic.id
        )
    )


def _label(at: int) -> str:
    return f"{at}" if at < DRAIN else f"drain {at - DRAIN}"
