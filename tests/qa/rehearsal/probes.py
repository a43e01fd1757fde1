"""How late other apps' updates are: each probe is sent over HTTP and looked for in PostgreSQL."""

import random
import threading
import time
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from devstack.demo.traffic import DemoClient, TrafficCounts

#: Between two probes; between two looks for one.
EVERY_S = 0.05
LOOK_S = 0.005
LOST_S = 30.0
THREADS = 2


class Probe(NamedTuple):
    """When it was sent, how long web took, and how long until the row showed it."""

    sent: float
    answered_s: float
    applied_s: float


class Probes:
    """Threads that probe random apps until they are stopped, one probe each at a time."""

    def __init__(self, web_url: str, database_url: str, apps: Sequence[str]) -> None:
        self.found: list[Probe] = []
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(web_url, database_url, list(apps)), daemon=True
            )
            for _ in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when the last probes are in."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def p99(self, since: float, until: float) -> float:
        """Of seconds from sending to the row, of the probes sent in between; 0 if there are none."""
        taken = sorted(probe.applied_s for probe in self.found if since <= probe.sent < until)
        return taken[min(len(taken) - 1, len(taken) * 99 // 100)] if taken else 0.0

    def _run(self, web_url: str, database_url: str, apps: list[str]) -> None:
        client = DemoClient(web_url, TrafficCounts())
        devices = {app: str(uuid.uuid4()) for app in apps}
        with psycopg.connect(database_url, autocommit=True) as sql:
            while not self._stopped.wait(EVERY_S):
                app = random.choice(apps)
                self._probe(client, sql, app, devices[app])

    def _probe(self, client: DemoClient, sql: psycopg.Connection, app: str, device: str) -> None:
        mark = uuid.uuid4().hex
        sent = time.monotonic()
        client.call("PUT", f"/players/{device}", {"app_id": app, "tags": {"probe": mark}})
        answered = time.monotonic()
        while time.monotonic() - sent < LOST_S:
            row = sql.execute(
                "SELECT tags->>'probe' FROM record WHERE app = %s AND id = %s", (app, device)
            ).fetchone()
            if row is not None and row[0] == mark:
                break
            time.sleep(LOOK_S)
        self.found.append(Probe(sent, answered - sent, time.monotonic() - sent))
