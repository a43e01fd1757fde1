"""Each container is restarted under load, and then all of them: what was accepted is applied, once."""

import itertools
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from devstack import containers
from devstack.containers import Engine
from tests.waiting import wait_for

#: Restarted one after the other: every service that an update passes.
SERVICES: Final = ("web", "bridge", "worker", "redis", "kafka", "postgres", "haproxy", "watch")
SENDERS: Final = 8
RECORDS: Final = 200
#: Updates of one record, as of the demo's incident.
HOT: Final = 3_000
#: Accepted after a container is healthy again, before the next one is restarted.
BETWEEN: Final = 100


@dataclass(slots=True)
class Load:
    """Counters of records, each request sent with the same key until it was accepted."""

    app: str
    records: tuple[str, ...]
    accepted: int = 0
    again: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, record: str) -> None:
        """Returns when it is accepted."""
        key = str(uuid.uuid4())
        body = {"app_id": self.app}
        path = f"/players/{record}/on_session"
        while (
            status := containers.request("POST", path, body, **{"Idempotency-Key": key})[0]
        ) != 200:
            # A request without an answer, or with 503, is to be sent again; anything else is a fault.
            assert status in (0, 429, 503), status
            self.again += 1
            time.sleep(0.2)
        with self.lock:
            self.accepted += 1

    def run(self) -> None:
        """Sends until it is told to end."""
        for record in itertools.cycle(self.records):
            if self.ended.is_set():
                return
            self.send(record)


@contextmanager
def _load(app: str, records: tuple[str, ...]) -> Iterator[Load]:
    load = Load(app, records)
    with ThreadPoolExecutor(SENDERS) as pool:
        running = [pool.submit(load.run) for _ in range(SENDERS)]
        try:
            yield load
        finally:
            load.ended.set()
    for each in running:
        each.result()


@pytest.fixture
def app(engine: Engine) -> str:
    """An app that web knows."""
    app = containers.app(engine)
    probe = f"/players/{uuid.uuid4()}"
    body = {"app_id": app, "device_type": 1}
    wait_for(lambda: containers.request("PUT", probe, body)[0] == 200, timeout_s=60)
    return app


def _records(count: int) -> tuple[str, ...]:
    return tuple(str(uuid.uuid4()) for _ in range(count))


def _sessions(engine: Engine, load: Load) -> int:
    ids = ", ".join(f"'{each}'" for each in load.records)
    found = containers.psql(
        engine,
        f"SELECT coalesce(sum(session_count), 0) FROM record WHERE id IN ({ids})",
    )
    return int(found)


def _settled(engine: Engine, load: Load) -> None:
    """All that was accepted is applied; what came after it would be too much."""
    wait_for(lambda: _sessions(engine, load) >= load.accepted, timeout_s=180)
    status = ("python", "manage.py", "status", "--json")
    web = engine.containers("web")[0]
    wait_for(lambda: engine.succeeds("exec", web, *status), timeout_s=180)
    assert _sessions(engine, load) == load.accepted


def _wait_until_accepted(load: Load, updates: int) -> None:
    wait_for(lambda: load.accepted >= updates, timeout_s=180)


def test_an_update_of_one_record_after_the_other_is_applied_once(engine: Engine, app: str) -> None:
    load = Load(app, _records(1))
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(load.send, load.records * HOT))
    assert load.accepted == HOT
    _settled(engine, load)


def test_each_container_is_restarted_and_nothing_is_lost(engine: Engine, app: str) -> None:
    with _load(app, _records(RECORDS)) as load:
        for service in SERVICES:
            for container in engine.containers(service):
                enough = load.accepted + BETWEEN
                engine.run("restart", "--time", "20", container)
                containers.wait_healthy(engine, container)
                _wait_until_accepted(load, enough)
                print(f"{container}: restarted, {load.accepted} accepted, {load.again} sent again")
    _settled(engine, load)
    print(json.dumps({"sent": load.accepted, "applied": _sessions(engine, load)}))


def test_down_and_up_keeps_the_data(engine: Engine, app: str) -> None:
    load = Load(app, _records(RECORDS))
    for record in load.records:
        load.send(record)
    # Some of them still wait: in Kafka, since Redis forgets.
    containers.down(engine, reset=False)
    assert not engine.containers("postgres")
    missing = {
        name
        for name in containers.images()
        if not engine.succeeds("image", "inspect", containers.qualified(name))
    }
    containers.up(engine, left_out=missing, say=print)
    assert containers.app(engine) == app
    _settled(engine, load)
