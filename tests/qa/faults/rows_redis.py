"""Redis that dies, stands still, forgets, or is full: nothing of it is kept, so nothing is lost."""

import base64
import json
import random
import time
from typing import Any, Final
from urllib.parse import urlsplit

import redis

from devstack import services
from devstack.services import free_port
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import Kind, Scene
from tests.qa.faults.seen import Seen

AWAY_S: Final = 3.0
#: Longer than what a connection waits for Redis (5 s).
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
    scene.freeze_until_end("redis")
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


@row(
    "redis-failover-read-only",
    "Redis fails over: its name leads to another, empty Redis; the old one, now a read-only replica of "
    "nothing, keeps its connections",
    bound_s=20,
    kind=Kind.WIRED,
    alone=True,
)
def _redis_failover_read_only(scene: Scene) -> Seen:
    seen = Seen(scene)
    other = _another(scene)
    with scene.redis() as client:
        for part in ("web", "bridge", "worker"):
            scene.wires[part, "redis"].lead_to(urlsplit(other.url).port or 0)
        client.replicaof("127.0.0.1", free_port())
        scene.redis_url = other.url
        scene.flow(FULL_S)
        refused = client.info("errorstats").get("errorstat_READONLY", {"count": 0})["count"]
    assert refused, "the old Redis was asked for nothing"
    scene.wait("workers are heard at the new one", lambda: _hears(other.url, 2), timeout_s=30)
    return seen.saying(f"{refused} commands refused")


def _hears(url: str, workers: int) -> bool:
    """Whether so many tell that they live, within 5 s; they do so every 2 s."""
    heard: set[str] = set()
    with redis.Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as ears:
        ears.psubscribe("*worker.heartbeat")
        ends = time.monotonic() + 5
        while len(heard) < workers and (left := ends - time.monotonic()) > 0:
            if message := ears.get_message(timeout=left):
                body = json.loads(base64.b64decode(json.loads(message["data"])["body"]))
                heard.add(body["hostname"])
    return len(heard) >= workers


def _another(scene: Scene) -> services.Service:
    directory = scene.directory / "redis-2"
    (directory / "logs").mkdir(parents=True)
    found = {name: text for name, text in scene.stack.env.items() if name != "REDIS_URL"}
    other = services.find_redis(directory, found)
    assert other.launch is not None
    scene.stack.start("redis-2", other.launch)
    assert services.wait_ready(other, lambda: scene.stack.child("redis-2").running)
    return other


def _refused(client: Any) -> int:
    found = client.info("errorstats").get("errorstat_OOM", {"count": 0})
    return int(found["count"])


def _unlimited(scene: Scene) -> None:
    with scene.redis() as client:
        client.config_set("maxmemory", 0)


def _ensure_started(scene: Scene) -> None:
    if "redis" in scene.stack.ended():
        scene.restart("redis")
