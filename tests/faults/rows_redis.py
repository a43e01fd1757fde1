"""Redis that dies, stands still, forgets, or is full: nothing of it is kept, so nothing is lost."""

import random
from typing import Any, Final

from tests.faults.matrix import row
from tests.faults.scene import Scene
from tests.faults.seen import Seen

AWAY_S: Final = 3.0
#: Longer than a socket timeout of Celery's connections (10 s).
STOPPED_S: Final = 12.0
FLUSHES: Final = 100
FLUSHING_S: Final = 30.0
FULL_S: Final = 8.0


@row("redis-killed", "Redis killed (SIGKILL), started again empty after 3 s", bound_s=20, fast=True)
def _redis_killed(scene: Scene) -> Seen:
    seen = Seen(scene)
    scene.kill("redis")
    scene.later(lambda: _ensure_started(scene))
    scene.flow(AWAY_S)
    scene.restart("redis")
    return seen.saying(f"{seen.all_acked()} meanwhile")


@row("redis-stopped", "Redis stopped for 12 s (SIGSTOP), then continued", bound_s=20)
def _redis_stopped(scene: Scene) -> Seen:
    seen = Seen(scene)
    scene.freeze("redis")
    scene.later(lambda: scene.thaw("redis"))
    scene.flow(STOPPED_S)
    return seen.saying(f"{seen.all_acked()} meanwhile")


@row("redis-flushall", "FLUSHALL at 100 random moments of 30 s", bound_s=20)
def _redis_flushall(scene: Scene) -> Seen:
    seen = Seen(scene)
    dice = random.Random(3)
    gone = 0
    with scene.redis() as client:
        for _ in range(FLUSHES):
            scene.flow(dice.expovariate(FLUSHES / FLUSHING_S))
            gone += client.dbsize()
            client.flushall()
    return seen.saying(f"{gone} keys gone")


@row("redis-out-of-memory", "Redis full for 8 s: it refuses every write (OOM)", bound_s=20)
def _redis_out_of_memory(scene: Scene) -> Seen:
    seen = Seen(scene)
    with scene.redis() as client:
        before = _refused(client)
        client.config_set("maxmemory", 1)
        scene.later(lambda: _unlimited(scene))
        scene.flow(FULL_S)
        refused = _refused(client) - before
        _unlimited(scene)
    assert refused > 0, "Redis refused nothing"
    assert not scene.stack.ended(), f"ended: {scene.stack.ended()}"
    return seen.saying(f"{refused} commands refused; no process ended")


def _refused(client: Any) -> int:
    found = client.info("errorstats").get("errorstat_OOM", {"count": 0})
    return int(found["count"])


def _unlimited(scene: Scene) -> None:
    with scene.redis() as client:
        client.config_set("maxmemory", 0)


def _ensure_started(scene: Scene) -> None:
    if "redis" in scene.stack.ended():
        scene.restart("redis")
