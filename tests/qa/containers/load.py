"""Counters of many records, sent through HAProxy: what was accepted must be applied, once."""

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from devstack import containers
from devstack.containers import Engine
from tests.waiting import wait_for

SENDERS: Final = 8
RECORDS: Final = 200
#: What the proxy answers when a request is to be sent again; 0 stands for no answer at all.
AGAIN: Final = frozenset({429, 503})
NO_ANSWER: Final = 0


@dataclass(slots=True)
class Load:
    """Each request is sent with the same key until it was accepted. `per_s` 0 sends without a pause."""

    app: str
    records: tuple[str, ...]
    per_s: float = 0
    #: A status other than these and 200 is a fault.
    again: frozenset[int] = AGAIN | {NO_ANSWER}
    accepted: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, record: str) -> None:
        """Returns when it is accepted."""
        key = str(uuid.uuid4())
        body = {"app_id": self.app}
        path = f"/players/{record}/on_session"
        while True:
            status, answer = containers.request("POST", path, body, **{"Idempotency-Key": key})
            with self.lock:
                self.statuses[status] += 1
                self.accepted += status == 200
            if status == 200:
                return
            assert status in self.again, (status, answer)
            time.sleep(0.2)

    def run(self) -> None:
        """Sends until it is told to end."""
        due = time.monotonic()
        for record in itertools.cycle(self.records):
            if self.ended.is_set():
                return
            self.send(record)
            if self.per_s:
                # What is late is not sent at once afterwards.
                due = max(due + SENDERS / self.per_s, time.monotonic())
                self.ended.wait(due - time.monotonic())

    def wait_for_more(self, updates: int) -> None:
        """Waits until so many more are accepted."""
        enough = self.accepted + updates
        wait_for(lambda: self.accepted >= enough or self.ended.is_set(), timeout_s=180)
        assert self.accepted >= enough, self.statuses


@contextmanager
def sending(load: Load) -> Iterator[Load]:
    """The load, sent by SENDERS threads. Raises what one of them raised."""

    def run() -> None:
        try:
            load.run()
        finally:
            # After a fault of one, the others and the test need not go on.
            load.ended.set()

    with ThreadPoolExecutor(SENDERS) as pool:
        running = [pool.submit(run) for _ in range(SENDERS)]
        try:
            yield load
        finally:
            load.ended.set()
            for each in running:
                each.result()


def records(count: int) -> tuple[str, ...]:
    """Ids of records that do not exist yet."""
    return tuple(str(uuid.uuid4()) for _ in range(count))


def known_app(engine: Engine) -> str:
    """An app that web knows."""
    app = containers.app(engine)
    probe = f"/players/{uuid.uuid4()}"
    body = {"app_id": app, "device_type": 1}
    wait_for(lambda: containers.request("PUT", probe, body)[0] == 200, timeout_s=60)
    return app


def sessions(engine: Engine, load: Load) -> int:
    """How many updates of the load's records are applied."""
    ids = ", ".join(f"'{each}'" for each in load.records)
    found = containers.psql(
        engine,
        f"SELECT coalesce(sum(session_count), 0) FROM record WHERE id IN ({ids})",
    )
    return int(found)


def settled(engine: Engine, load: Load) -> None:
    """All that was accepted is applied; what came after it would be too much."""
    wait_for(lambda: sessions(engine, load) >= load.accepted, timeout_s=180)
    wait_for(lambda: is_fine(engine), timeout_s=180)
    assert sessions(engine, load) == load.accepted


def is_fine(engine: Engine) -> bool:
    """Whether `manage.py status` finds every partition well."""
    web = engine.containers("web")[0]
    return engine.succeeds("exec", web, "python", "manage.py", "status", "--json")
