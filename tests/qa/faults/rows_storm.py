"""Random faults that overlap, under a load that keeps every window full.

A seed gives one schedule of faults. `make storm SEEDS="4 5"` plays others than those of the page.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Final

from tests.qa.faults import rows_postgres
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import Kind, Scene
from tests.qa.faults.seen import Seen

#: Those of the page, which have every fault between them; the first runs in CI.
SEEDS: Final = os.environ.get("NOTIFY_STORM_SEEDS", "94 51").split()
IS_CHOSEN: Final = "NOTIFY_STORM_SEEDS" in os.environ
#: Of the schedule. A restart takes its own time on top of it, so that a storm lasts 60 to 90 s.
STORM_S: Final = 45.0
#: Seconds from one fault to the next, and how long one lasts: often longer than the next two take.
APART_S: Final = (1.0, 4.0)
LASTS_S: Final = (1.0, 9.0)
#: A part that healed is left alone for so long, so that it gets to work between two faults.
RESPITE_S: Final = 5.0
#: Updates that wait at all times: twice what all windows hold.
WAITING: Final = 160_000
BOUND_S: Final = 120


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` happens to the target; `heal`, later, ends it. Without `heal` it is over at once."""

    target: str
    name: str
    strike: Callable[[], object]
    heal: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What happens so many seconds after the storm began."""

    at_s: float
    fault: Fault
    is_healing: bool

    def __str__(self) -> str:
        return f"{self.fault.target} {self.fault.name}{' (ends)' if self.is_healing else ''}"


def schedule(faults: Sequence[Fault], dice: random.Random, *, seconds: float) -> list[Step]:
    """Faults one after the other, each healed at a time of its own; no target has two at once."""
    steps: list[Step] = []
    free_at: dict[str, float] = {}
    at = 0.0
    while (at := at + dice.uniform(*APART_S)) < seconds:
        ready = [each for each in faults if free_at.get(each.target, 0) <= at]
        if not ready:
            continue
        fault = dice.choice(ready)
        steps.append(Step(at, fault, is_healing=False))
        healed = at
        if fault.heal is not None:
            healed += dice.uniform(*LASTS_S)
            steps.append(Step(healed, fault, is_healing=True))
        free_at[fault.target] = healed + RESPITE_S
    return sorted(steps, key=attrgetter("at_s"))


def steps_of(faults: Sequence[Fault], seed: str) -> list[Step]:
    """The storm of a seed."""
    return schedule(faults, random.Random(f"storm {seed}"), seconds=STORM_S)


def faults_of(scene: Scene) -> list[Fault]:
    """All that can happen to the scene.

    On the embedded broker neither the broker nor a bridge is touched. It loses its log when it ends, and
    Tansu 0.6.0 can lose a group for ever when members are killed and join (docs/reliability.md).
    """
    names = [*scene.bridges, *scene.workers, "kafka"]
    found = []
    for name in scene.workers if scene.kind is Kind.EMBEDDED else names:
        freeze, thaw = partial(scene.freeze, name), partial(scene.thaw, name)
        kill, restart = partial(scene.kill, name), partial(scene.restart, name)
        found += [
            Fault(name, "killed", kill, restart),
            Fault(name, "stopped", freeze, thaw),
            Fault(name, "restarted", restart),
        ]
    restart_redis, restart_postgres = (partial(scene.restart, n) for n in ("redis", "postgres"))
    found += [
        Fault("redis", "flushed", partial(_flush, scene)),
        Fault("redis", "killed", partial(scene.kill, "redis"), restart_redis),
        Fault("redis", "restarted", restart_redis),
        Fault("postgres", "sessions terminated", partial(_terminate, scene)),
        Fault("postgres", "killed", partial(rows_postgres.crash, scene), restart_postgres),
        Fault("postgres", "crashed (SIGQUIT)", partial(_quit, scene), restart_postgres),
    ]
    for (part, service), wire in scene.wires.items():
        target = f"wire from {part} to {service}"
        found.append(Fault(target, "cut", wire.cut, wire.heal))
    return found


def _flush(scene: Scene) -> None:
    with scene.redis() as client:
        client.flushall()


def _terminate(scene: Scene) -> None:
    scene.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {rows_postgres.OURS}")


def _quit(scene: Scene) -> None:
    scene.kill("postgres", signal.SIGQUIT)
    assert scene.stack.child("postgres").wait(30) is not None, "PostgreSQL did not stop"


def _storm(scene: Scene, seed: str) -> Seen:
    print(f"storm {seed}: `make storm SEEDS={seed}` plays the same faults", flush=True)
    steps = steps_of(faults_of(scene), seed)
    seen = Seen(scene)
    scene.backlog.write()
    scene.later(scene.backlog.stop)
    scene.backlog.keep(WAITING, scene.frontiers)
    began = time.monotonic()
    before, at_s = scene.backlog.updates, 0.0
    for step in steps:
        scene.flow(step.at_s - at_s)
        at_s = step.at_s
        now_s = time.monotonic() - began
        print(f"{now_s:5.1f} s  {step}", flush=True)
        act = step.fault.heal if step.is_healing else step.fault.strike
        assert act is not None
        act()
    took_s = time.monotonic() - began
    scene.backlog.stop()
    struck = Counter(step.fault.name for step in steps if not step.is_healing)
    listed = ", ".join(f"{count} x {name}" for name, count in sorted(struck.items()))
    updates = scene.backlog.updates - before
    return seen.saying(
        f"{struck.total()} faults ({listed}) in {took_s:.0f} s, in which {updates:,} updates were "
        "added to the backlog"
    )


def _add(seed: str, kind: Kind, *, fast: bool) -> None:
    row(
        f"storm-{'embedded-' if kind is Kind.EMBEDDED else ''}{seed}",
        f"a storm of random faults that overlap, seed {seed}",
        bound_s=BOUND_S,
        kind=kind,
        alone=True,
        fast=fast,
    )(partial(_storm, seed=seed))


for _seed in SEEDS:
    _add(_seed, Kind.STORM, fast=IS_CHOSEN or _seed == SEEDS[0])
    if IS_CHOSEN:
        _add(_seed, Kind.EMBEDDED, fast=True)
