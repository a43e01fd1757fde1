"""Each container is restarted under load, and then all of them: what was accepted is applied, once."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from devstack import containers
from devstack.containers import Engine
from tests.qa.containers.load import RECORDS, SENDERS, Load, records, sending, sessions, settled

#: Restarted one after the other: all services that there are images for.
SERVICES: Final = (
    "web",
    "web-2",
    "bridge",
    "worker",
    "redis",
    "kafka",
    "postgres",
    "haproxy",
    "watch",
    "flower",
    "prometheus",
    "alertmanager",
    "postgres-exporter",
    "redis-exporter",
    "node-exporter",
)
#: Updates of one record, as of the demo's incident.
HOT: Final = 3_000
#: Accepted after a container is healthy again, before the next one is restarted.
BETWEEN: Final = 100


def test_an_update_of_one_record_after_the_other_is_applied_once(engine: Engine, app: str) -> None:
    load = Load(app, records(1))
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(load.send, load.records * HOT))
    assert load.accepted == HOT
    settled(engine, load)


def test_each_container_is_restarted_and_nothing_is_lost(engine: Engine, app: str) -> None:
    with sending(Load(app, records(RECORDS))) as load:
        for service in SERVICES:
            for container in engine.containers(service):
                engine.run("restart", "--time", "20", container)
                containers.wait_healthy(engine, container)
                load.wait_for_more(BETWEEN)
                print(f"{container}: restarted; answers: {dict(load.statuses)}")
    settled(engine, load)
    print(json.dumps({"sent": load.accepted, "applied": sessions(engine, load)}))


def test_down_and_up_keeps_the_data(engine: Engine, app: str) -> None:
    load = Load(app, records(RECORDS))
    for record in load.records:
        load.send(record)
    # Some of them still wait: in Kafka, since Redis forgets.
    containers.down(engine, reset=False)
    assert not engine.containers("postgres")
    containers.up(engine, left_out=containers.missing(engine), say=print)
    assert containers.app(engine) == app
    settled(engine, load)
