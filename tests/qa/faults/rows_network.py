"""Partitions of the network between two parts, which heal: silence both ways, and nothing closed."""

from typing import Final

from tests.qa.faults.load import Outcome
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import Kind, Scene
from tests.qa.faults.seen import Seen

#: Longer than the deadlines of Redis (5 s), Kafka (10 s) and the acks (NOTIFY_ACK_TIMEOUT_MS, 10 s).
CUT_S: Final = 12.0


@row("web-kafka", "web cut off from Kafka for 12 s", bound_s=20, kind=Kind.WIRED)
def _web_kafka(scene: Scene) -> Seen:
    seen = _cut(scene, "web", "kafka")
    calls = seen.calls()
    acked = [call for call in calls if call.outcome is Outcome.OK]
    assert not acked, f"acked by a Kafka that was away: {acked[0]}"
    refused = sum(call.status == 503 for call in calls)
    assert refused, "no call ended with 503"
    return seen.saying(f"0 of {len(calls)} calls acked, {refused} answered 503")


@row("bridge-kafka", "both bridges cut off from Kafka for 12 s", bound_s=20, kind=Kind.WIRED)
def _bridge_kafka(scene: Scene) -> Seen:
    return _all_acked(_cut(scene, "bridge", "kafka"))


@row(
    "bridge-postgres", "both bridges cut off from PostgreSQL for 12 s", bound_s=20, kind=Kind.WIRED
)
def _bridge_postgres(scene: Scene) -> Seen:
    return _all_acked(_cut(scene, "bridge", "postgres"))


@row(
    "worker-postgres",
    "both workers cut off from PostgreSQL for 12 s",
    bound_s=20,
    kind=Kind.WIRED,
    fast=True,
)
def _worker_postgres(scene: Scene) -> Seen:
    return _all_acked(_cut(scene, "worker", "postgres"))


@row("bridge-redis", "both bridges cut off from Redis for 12 s", bound_s=20, kind=Kind.WIRED)
def _bridge_redis(scene: Scene) -> Seen:
    return _all_acked(_cut(scene, "bridge", "redis"))


@row("worker-redis", "both workers cut off from Redis for 12 s", bound_s=20, kind=Kind.WIRED)
def _worker_redis(scene: Scene) -> Seen:
    return _all_acked(_cut(scene, "worker", "redis"))


@row("web-postgres", "web cut off from PostgreSQL for 12 s", bound_s=20, kind=Kind.WIRED)
def _web_postgres(scene: Scene) -> Seen:
    return _all_acked(_cut(scene, "web", "postgres"))


#: How long connections that are dead may hold anything up.
HALF_OPEN_BOUND_S: Final = 60
_HALF_OPEN: Final = (
    ("worker", "postgres"),
    ("bridge", "postgres"),
    ("web", "postgres"),
    ("worker", "redis"),
    ("bridge", "redis"),
    ("bridge", "kafka"),
    ("web", "kafka"),
)


def _add_half_open(part: str, service: str) -> None:
    def act(scene: Scene) -> Seen:
        seen = Seen(scene)
        lines = scene.wires[part, service].kill_quietly()
        assert lines, "there was no connection"
        return seen.saying(f"{lines} connections were never healed")

    row(
        f"half-open-{part}-{service}",
        f"{part}'s connections to {service.capitalize()} take all and answer nothing, for ever; new "
        "ones pass",
        bound_s=HALF_OPEN_BOUND_S,
        kind=Kind.WIRED,
    )(act)


for _part, _service in _HALF_OPEN:
    _add_half_open(_part, _service)


def _cut(scene: Scene, part: str, service: str) -> Seen:
    """Cut, let the traffic go on, heal. What ended before the healing is in `calls`."""
    wire = scene.wires[part, service]
    scene.later(wire.heal)
    wire.cut()
    seen = Seen(scene)
    scene.flow(CUT_S)
    seen.until_now()
    wire.heal()
    return seen


def _all_acked(seen: Seen) -> Seen:
    return seen.saying(f"{seen.all_acked()} meanwhile")
