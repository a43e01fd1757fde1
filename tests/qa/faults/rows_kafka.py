"""Brokers that die and come back: one of three, all of three, the only one."""

import re
import signal
import time
from collections import Counter
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.qa.faults.load import Outcome, slowest_s, told
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import Kind, Scene
from tests.qa.faults.wire import Wire

#: Longer than broker.session.timeout.ms (9 s), after which the controller names new leaders.
PAST_FENCING_S = 13.0
#: Their names on the stack by node id.
BROKERS = {1: "kafka", 2: "kafka-2", 3: "kafka-3"}


@row(
    "kafka-one-of-three-killed",
    "one of three brokers killed (SIGKILL) while it led partitions, started again after 13 s",
    bound_s=15,
    kind=Kind.THREE,
)
def _one_of_three_killed(scene: Scene) -> str:
    led = Counter(_leaders(scene).values())
    number, partitions = led.most_common(1)[0]
    began = time.monotonic()
    scene.kill(BROKERS[number])
    scene.flow(PAST_FENCING_S)
    assert number not in _leaders(scene).values(), "the dead broker still leads"
    calls = scene.calls_since(began)
    late = [call for call in calls if call.began > began + PAST_FENCING_S - 2]
    assert any(call.outcome is Outcome.OK for call in late), "the topic is not writable"
    scene.restart(BROKERS[number])
    return (
        f"it led {partitions} of 4 partitions; {told(calls)} while it was away, "
        f"the slowest after {slowest_s(calls):.1f} s"
    )


@row(
    "kafka-all-restarted-in-turn",
    "all three brokers restarted (SIGTERM), one after the other",
    bound_s=15,
    kind=Kind.THREE,
)
def _all_restarted_in_turn(scene: Scene) -> str:
    began = time.monotonic()
    for name in BROKERS.values():
        restart_broker(scene, name)
        scene.flow(3)
    calls = scene.calls_since(began)
    return f"{told(calls)} meanwhile, the slowest after {slowest_s(calls):.1f} s"


@row(
    "kafka-all-killed",
    "all three brokers killed (SIGKILL) at once, started again after 3 s",
    bound_s=20,
    kind=Kind.THREE,
)
def _all_killed(scene: Scene) -> str:
    began = time.monotonic()
    for name in BROKERS.values():
        scene.kill(name)
    scene.flow(3)
    for name in BROKERS.values():
        scene.stack.start(name, scene.stack.child(name).launch)
    scene.stack.settle(scene.stack.services["kafka"])
    return f"{told(scene.calls_since(began))} until all three were back"


@row(
    "kafka-only-broker-killed",
    "the only broker killed (SIGKILL), started again after 5 s",
    bound_s=15,
    fast=True,
)
def _only_broker_killed(scene: Scene) -> str:
    began = time.monotonic()
    scene.kill("kafka")
    scene.flow(5)
    while_away = [call for call in scene.calls_since(began + 0.5) if call.outcome is Outcome.OK]
    assert not while_away, f"{len(while_away)} calls were acked by nobody"
    scene.restart("kafka")
    return f"{told(scene.calls_since(began))} while it was away; its log was on disk"


@row(
    "kafka-only-broker-restarted",
    "the only broker restarted (SIGTERM), 3 times",
    bound_s=15,
)
def _only_broker_restarted(scene: Scene) -> str:
    began = time.monotonic()
    for _ in range(3):
        scene.kill("kafka", signal.SIGTERM)
        scene.restart("kafka")
        scene.flow(3)
    return f"{told(scene.calls_since(began))} meanwhile"


@row(
    "kafka-moved",
    "the only broker comes back at another address, to which the bootstrap address leads; the old one "
    "takes connections and answers nothing",
    bound_s=60,
    kind=Kind.WIRED,
    alone=True,
)
def _moved(scene: Scene) -> str:
    old = _move(scene)
    scene.recovered(time.monotonic(), timeout_s=60)
    began = time.monotonic()
    for wire in old:
        wire.cut()
    _move(scene)
    return f"{told(scene.calls_since(began))} until it was back"


def _move(scene: Scene) -> list[Wire]:
    """Starts the broker again with another address for web and another for the bridges: these."""
    config = scene.directory / "kafka" / "server.properties"
    text = config.read_text()
    wires = []
    for part in ("web", "bridge"):
        wire = Wire(scene.wires[part, "kafka"].target)
        scene.at_close(wire.close)
        wires.append(wire)
        text = re.sub(
            rf"(?m)^(advertised\.listeners=.*{part.upper()}://127\.0\.0\.1:)\d+",
            rf"\g<1>{wire.port}",
            text,
        )
    config.write_text(text)
    scene.kill("kafka", signal.SIGTERM)
    scene.restart("kafka")
    return wires


def restart_broker(scene: Scene, name: str) -> None:
    """Stops it in order and starts it; returns when all replicas of all partitions are in sync."""
    scene.restart(name)
    scene.wait("all replicas are in sync", lambda: _is_in_sync(scene), timeout_s=60)


def _is_in_sync(scene: Scene) -> bool:
    try:
        topics = _topics(scene, None)
    except KafkaError:
        return False
    return all(
        len(each["isr_nodes"]) == len(each["replica_nodes"])
        for topic in topics
        for each in topic["partitions"]
    )


def _topics(scene: Scene, names: list[str] | None) -> list[dict[str, Any]]:
    """What Kafka says of the topics; of all for None."""
    admin = KafkaAdminClient(bootstrap_servers=scene.servers.split(","), request_timeout_ms=5_000)
    try:
        found: list[dict[str, Any]] = admin.describe_topics(names)
    finally:
        admin.close()
    return found


def _leaders(scene: Scene) -> dict[int, int]:
    """The leader of each partition of the topic."""
    (topic,) = _topics(scene, [scene.topic])
    return {each["partition_index"]: each["leader_id"] for each in topic["partitions"]}
