"""Processes of ours that die, stop, or come and go."""

import contextlib
import random
import signal
import time
from typing import Final

import psutil

from notify.domain.engine.lanes import LANES_MAX, queue_of
from tests.qa.faults.load import send_once
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import PARTITIONS, Scene

#: Longer than the group's session (NOTIFY_SESSION_TIMEOUT_MS, 6 s).
PAST_SESSION_S = 9.0
#: Longer than the first two re-dispatches (NOTIFY_RESEND_AFTER_MS, 2 s, then 4 s).
PAST_RESEND_S = 7.0
#: Taking over a partition means to read its whole window again, while other work shares the machine.
TAKEN_OVER_S = 30.0
_TICKED: Final = "SELECT count(*) FROM stream WHERE ticked_at > now() - interval '3 s'"


@row("web-killed", "web killed (SIGKILL) under load, started again", bound_s=20, fast=True)
def _web_killed(scene: Scene) -> str:
    scene.kill("web")
    scene.flow(1)
    scene.restart("web")
    return "calls under way end unknown; none acked is missing"


@row("bridge-killed", "one of two bridges killed (SIGKILL), started again", bound_s=20, fast=True)
def _bridge_killed(scene: Scene) -> str:
    scene.kill("bridge-1")
    scene.flow(2)
    scene.restart("bridge-1")
    return "the other takes its partitions over after the session timeout"


@row("bridge-zombie", "a bridge stopped past its session, then continued", bound_s=20)
def _bridge_zombie(scene: Scene) -> str:
    began = time.monotonic()
    scene.freeze_until_end("bridge-1")
    scene.flow(PAST_SESSION_S)
    scene.wait(
        "the other bridge ticks all streams",
        lambda: scene.sql(_TICKED) == [(PARTITIONS,)],
        timeout_s=TAKEN_OVER_S,
    )
    return f"the other bridge ticked all streams while it stood {time.monotonic() - began:.0f} s"


@row("bridges-come-and-go", "bridges killed and started every 2 s for a minute", bound_s=30)
def _bridges_come_and_go(scene: Scene) -> str:
    dice = random.Random(1)
    rounds = 30
    for _ in range(rounds):
        name = dice.choice(scene.bridges)
        scene.kill(name, dice.choice([signal.SIGKILL, signal.SIGTERM]))
        scene.stack.child(name).wait(10)
        scene.flow(2)
        scene.restart(name)
    return f"{rounds} stops, half of them SIGKILL"


@row(
    "worker-killed",
    "a worker killed with its child (SIGKILL), started again",
    bound_s=20,
    fast=True,
)
def _worker_killed(scene: Scene) -> str:
    scene.kill("worker-1")
    scene.flow(2)
    scene.restart("worker-1")
    return "its batch is sent again"


@row("worker-child-killed", "the children of both workers killed, 5 times", bound_s=20)
def _worker_child_killed(scene: Scene) -> str:
    killed = 0
    for _ in range(5):
        for name in scene.workers:
            for child in psutil.Process(scene.stack.child(name).pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
                    killed += 1
        scene.flow(1)
    letters = scene.sql("SELECT count(*) FROM dead_letter")
    assert letters == [(0,)], f"dead letters: {letters}"
    return f"{killed} children killed; Celery made new ones; nothing dead-lettered"


@row("worker-stopped", "both workers stopped past two re-dispatches, then continued", bound_s=30)
def _worker_stopped(scene: Scene) -> str:
    scene.freeze_until_end(*scene.workers)
    scene.flow(PAST_RESEND_S)
    with scene.redis() as client:
        queued = sum(client.llen(f"faults.{queue_of(lane)}") for lane in range(LANES_MAX))
    return f"{queued} tasks, duplicates among them, waited in Redis"


@row(
    "deliveries-disturbed",
    "tasks duplicated and reordered in Redis for 10 s, after the workers stood",
    bound_s=30,
    fast=True,
)
def _deliveries_disturbed(scene: Scene) -> str:
    dice = random.Random(2)
    doubled = moved = 0
    scene.freeze_until_end(*scene.workers)
    # Lanes with few rows share a task, so only batches that are sent again, alone, make many tasks.
    scene.flow(PAST_RESEND_S)
    scene.thaw("worker-2")
    kept: list[tuple[str, bytes]] = []
    ends = time.monotonic() + 10
    with scene.redis() as client:
        while time.monotonic() < ends:
            for lane in range(LANES_MAX):
                queue = f"faults.{queue_of(lane)}"
                task = client.rpop(queue)
                if task is None:
                    continue
                kept.append((queue, task))
                # Copies are copied too: without an end the row itself would fill the queues.
                if doubled < 500 and dice.random() < 0.5:
                    client.lpush(queue, task, task)
                    doubled += 1
            dice.shuffle(kept)
            while len(kept) > 20 or (kept and dice.random() < 0.5):
                client.rpush(*kept.pop())
                moved += 1
        for queue, task in kept:
            client.rpush(queue, task)
    assert doubled > 20, "too little was disturbed to say anything"
    return f"{doubled} tasks doubled, {moved} put back late and out of order"


@row("poison-bytes", "messages that are no update, in every partition", bound_s=15, fast=True)
def _poison_bytes(scene: Scene) -> str:
    from kafka import KafkaProducer

    before = scene.sql("SELECT count(*) FROM dead_letter")[0][0]
    producer = KafkaProducer(bootstrap_servers=scene.servers.split(","))
    for number in range(8):
        producer.send(scene.topic, b"\xff{%d" % number, partition=number % 4).get(10)
    producer.close()
    scene.wait(
        "eight dead letters",
        lambda: scene.sql("SELECT count(*) FROM dead_letter")[0][0] == before + 8,
        timeout_s=30,
    )
    return "8 dead letters, one each; the lanes go on"


@row(
    "poison-constraint",
    "a write that PostgreSQL refuses (a CHECK constraint)",
    bound_s=20,
    fast=True,
)
def _poison_constraint(scene: Scene) -> str:
    before = scene.sql("SELECT count(*) FROM dead_letter")[0][0]
    scene.sql("ALTER TABLE record ADD CONSTRAINT poison CHECK (identifier <> 'poison')")
    scene.later(lambda: (scene.sql("ALTER TABLE record DROP CONSTRAINT poison"), None)[1])
    app = scene.apps[0]
    update = {"record": scene.poison(app.app_id), "kind": "push", "identifier": "poison"}
    assert send_once(scene.web_urls[0], app, [update]) == 202
    scene.wait(
        "one dead letter",
        lambda: scene.sql("SELECT count(*) FROM dead_letter")[0][0] == before + 1,
        timeout_s=30,
    )
    letter = scene.sql("SELECT error FROM dead_letter ORDER BY id DESC LIMIT 1")[0][0]
    assert letter.startswith("23514"), letter
    return "isolated: 1 dead letter, its lane goes on"
