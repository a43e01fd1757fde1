"""Three brokers (docker/compose.three-brokers.yaml): each of them is stopped under load."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from devstack import containers
from devstack.containers import Engine
from tests.qa.containers.load import (
    AGAIN,
    RECORDS,
    Load,
    known_app,
    records,
    sending,
    sessions,
    settled,
)
from tests.waiting import wait_for

BROKERS: Final = ("kafka", "kafka-2", "kafka-3")
PER_S: Final = 100
#: Accepted while a broker is away, and after it is back.
BETWEEN: Final = 500
#: Containers start slowly on a busy machine.
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def brokers(engine: Engine) -> Iterator[Engine]:
    """A new stack with three brokers, in place of the other one, which has the same ports.

    The other one runs again at the end, with its data.
    """
    files = (containers.COMPOSE, containers.THREE_BROKERS)
    brokers = dataclasses.replace(engine, files=files, project="notify-three-brokers")
    left_out = containers.missing(engine)
    containers.down(engine, reset=False)
    containers.down(brokers, reset=True)
    try:
        containers.up(brokers, left_out=left_out, say=print)
        yield brokers
    finally:
        containers.down(brokers, reset=True)
        containers.up(engine, left_out=left_out, say=print)


#: Prints min.insync.replicas of the topic, and of each partition the brokers that have it and those in sync.
_DESCRIBE: Final = """
import json, os
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
admin = KafkaAdminClient(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(","))
name = "notify-sdk-updates"
(topic,) = admin.describe_topics([name])
asked = [ConfigResource(ConfigResourceType.TOPIC, name)]
configs = admin.describe_configs(asked, config_filter="all")["topic"][name]
print(json.dumps({
    "min": int(configs["min.insync.replicas"]["value"]),
    "partitions": [[each["replica_nodes"], each["isr_nodes"]] for each in topic["partitions"]],
}))
"""


class Replicas(NamedTuple):
    """`partitions` has for each partition the brokers that have it, and those of them that are in sync."""

    min_in_sync: int
    partitions: list[tuple[set[int], set[int]]]

    @property
    def are_in_sync(self) -> bool:
        """Whether a broker more may be stopped."""
        return all(replicas == in_sync for replicas, in_sync in self.partitions)


def _replicas(engine: Engine) -> Replicas:
    web = engine.containers("web")[0]
    said = json.loads(
        containers.repeated(lambda: engine.run("exec", web, "python", "-c", _DESCRIBE), print)
    )
    return Replicas(said["min"], [(set(all_), set(isr)) for all_, isr in said["partitions"]])


def test_each_broker_stops_under_load_and_everything_is_applied(brokers: Engine) -> None:
    replicas = _replicas(brokers)
    assert replicas.min_in_sync == 2
    assert replicas.partitions
    assert all(having == {1, 2, 3} for having, _ in replicas.partitions)
    app = known_app(brokers)
    with sending(Load(app, records(RECORDS), per_s=PER_S, again=AGAIN)) as load:
        for service in BROKERS:
            (container,) = brokers.containers(service)
            brokers.run("stop", "--time", "60", container)
            load.wait_for_more(BETWEEN)
            assert not _replicas(brokers).are_in_sync
            brokers.run("start", container)
            containers.wait_healthy(brokers, container)
            # A broker answers long before it has caught up.
            wait_for(lambda: _replicas(brokers).are_in_sync, timeout_s=180)
            load.wait_for_more(BETWEEN)
            print(f"{container}: stopped and started; answers: {dict(load.statuses)}")
    settled(brokers, load)
    print(json.dumps({"sent": load.accepted, "applied": sessions(brokers, load)}))
