"""Faults while a backlog fills the window of every partition, beside the usual traffic.

At a few hundred updates a second no window ever fills, so no partition is ever paused.
"""

import signal
import time
from collections.abc import Mapping, Sequence
from typing import Final

from tests.qa.faults import rows_postgres, rows_processes, rows_redis
from tests.qa.faults.matrix import ROWS, row
from tests.qa.faults.scene import Kind, Scene
from tests.qa.faults.watch import Look

#: The backlog must be drained, too.
BOUND_S: Final = 90
#: One of each kind of fault of workers, bridges, Redis and PostgreSQL; storms have others.
UNDER_A_BACKLOG: Final = (
    "bridge-killed",
    "bridge-zombie",
    "worker-killed",
    "redis-killed",
    "postgres-killed",
    "worker-stopped",
    "redis-stopped",
    "postgres-rows-locked",
    "deliveries-disturbed",
    "redis-out-of-memory",
    "bridges-come-and-go",
    "worker-child-killed",
    "redis-flushall",
    "postgres-immediate-restart",
    "postgres-no-connections",
    "postgres-backend-stopped",
    "postgres-commits-lost",
    "postgres-snapshot",
)
_MODULES: Final = (rows_processes, rows_redis, rows_postgres)


@row(
    "backlog-no-workers",
    "no worker runs while a backlog fills every window; then both start",
    bound_s=BOUND_S,
    kind=Kind.BACKLOG,
    fast=True,
)
def _no_workers(scene: Scene) -> "Fairness":
    for name in scene.workers:
        scene.kill(name, signal.SIGTERM)
    for name in scene.workers:
        assert scene.stack.child(name).wait(20) is not None, f"{name} did not stop"
    scene.fill_windows()
    began = time.monotonic()
    for name in scene.workers:
        scene.restart(name)
    return Fairness(scene, began)


class Fairness:
    """How the partitions shared what was applied since, as a remark; none of it is a bound."""

    def __init__(self, scene: Scene, began: float) -> None:
        self._scene = scene
        self._began = began
        self._ends = dict(scene.backlog.ends)

    def __str__(self) -> str:
        """From the first movement until each partition reached its end of the backlog."""
        return fairness(self._scene.looks_since(self._began), self._ends)


def fairness(looks: Sequence[Look], ends: Mapping[int, int]) -> str:
    """When half of the backlog was applied and how much of each partition; who stood still longest.

    `looks` reach until every partition's frontier is at its end.
    """
    seen = [(look.at, {each.partition: each.frontier for each in look.streams}) for look in looks]
    seen = [(at, frontiers) for at, frontiers in seen if frontiers]
    starts = seen[0][1]
    moving = [(at, frontiers) for at, frontiers in seen if frontiers != starts]
    began = moving[0][0]
    waiting = {partition: end - starts[partition] for partition, end in ends.items()}

    def applied(frontiers: Mapping[int, int]) -> dict[int, int]:
        return {each: min(frontiers[each], ends[each]) - starts[each] for each in ends}

    total = sum(waiting.values())
    half_at, half = next(
        (at, done) for at, found in moving if sum((done := applied(found)).values()) * 2 >= total
    )
    shares = ", ".join(f"{100 * half[each] // waiting[each]} %" for each in ends)
    still_s = {
        each: _longest_still_s([(at, found[each]) for at, found in moving], began, ends[each])
        for each in ends
    }
    slowest = max(still_s, key=lambda each: still_s[each])
    return (
        f"{total:,} updates waited; half of them were applied {half_at - began:.1f} s after the first, "
        f"of the partitions {shares}; with messages waiting, partition {slowest} stood still longest, "
        f"for {still_s[slowest]:.1f} s"
    )


def _longest_still_s(frontiers: Sequence[tuple[float, int]], began: float, end: int) -> float:
    """The longest time between two movements of a partition before its frontier reached `end`."""
    longest, since, last = 0.0, began, frontiers[0][1]
    for at, frontier in frontiers:
        longest = max(longest, at - since)
        if frontier >= end:
            break
        if frontier != last:
            since, last = at, frontier
    return longest


def _add_variant(name: str) -> None:
    """The row, striking when all windows are full and the workers have just begun to drain them."""
    plain = ROWS[name]

    def act(scene: Scene) -> object:
        scene.freeze_until_end(*scene.workers)
        scene.fill_windows()
        scene.undo()
        return plain.act(scene)

    row(
        f"backlog-{name}",
        f"{plain.fault}, while a backlog fills every window",
        bound_s=BOUND_S,
        kind=Kind.BACKLOG,
        alone=plain.alone,
    )(act)


for _name in UNDER_A_BACKLOG:
    _add_variant(_name)
