"""Processes of two releases side by side, as during an upgrade and a rollback: nothing is lost."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from devstack import ROOT, product
from devstack.oracle.compare import compare
from devstack.services import DevstackError
from ingest import task_body
from ingest.ports import Part, Task
from notify.domain.engine.task import encode
from notify.domain.engine.window import Batch
from notify.domain.records.decide import Write
from notify.domain.records.patch import SET, Patch
from tests import releases
from tests.acceptance.random_traffic import Customer, Device, World
from tests.acceptance.senders import Client
from tests.running import Running, running

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

BEFORE, THIS, NEXT = "before", "this", "next"
WEB, BRIDGE, WORKER = "web", "bridge", "worker"
BATCH, BATCHES, DEVICES = 100, 6, 2
#: A bridge that is told to stop does not wait for batches in flight: no worker may be there.
ENVIRON: Final = {"NOTIFY_DRAIN_MS": "0"}


@dataclass
class Deployment:
    """One process of each kind, each of some release."""

    run: Running
    code: Mapping[str, Path]
    releases: dict[str, str] = field(default_factory=dict)
    web_url: str = ""
    accepted: int = 0

    def __post_init__(self) -> None:
        words = ("app", "create", "Another", "--json")
        # The tables are those of the release before, where it is there, until they are migrated.
        made = json.loads(product.manage(self.run.stack, *words, code=self.code.get(BEFORE, ROOT)))
        customers = [
            Customer(self.run.app.app_id, self.run.app.key),
            Customer(made["id"], made["key"]),
        ]
        self._dice = random.Random(7)
        self._world = World(customers, 7, kinds=False)

    def deploy(self, kind: str, release: str) -> None:
        """Stop the process of this kind, start that of the release, and wait until it works."""
        self.stop(kind)
        self.releases[kind] = release
        stack, name, code = self.run.stack, f"{kind}-{release}", self.code[release]
        if kind == WEB:
            self.web_url = product.start_web(stack, name, code=code)
            self.run.wait(name, lambda: product.answers(f"{self.web_url}/healthz/ready"))
        elif kind == BRIDGE:
            product.start_bridge(stack, name, code=code)
        else:
            product.start_worker(stack, name, code=code)

    def deploy_in_flight(self, release: str) -> None:
        """Deploy the bridge between plan and apply: it goes on with what the one before has planned."""
        worker = self.releases[WORKER]
        self.stop(WORKER)
        self.send()
        self.run.wait_planned()
        assert self.run.rows("SELECT 1 FROM plan")
        self.deploy(BRIDGE, release)
        self.deploy(WORKER, worker)

    def stop(self, kind: str) -> None:
        """Stop the process of this kind, if there is one."""
        if kind in self.releases:
            self.run.stack.remove(f"{kind}-{self.releases.pop(kind)}")

    def send(self) -> None:
        """Have web accept batches of servers and the calls of some SDKs."""
        client = Client(self.web_url)
        try:
            for _ in range(BATCHES):
                customer, items = self._world.batch(self._dice, BATCH)
                path = f"/apps/{customer.app}/batch"
                answer = client.call("POST", path, {"updates": items}, key=customer.key)
                assert answer["rejected"] == 0, answer
                self.accepted += answer["accepted"]
            for customer in self._world.customers * DEVICES:
                Device(customer.app, self._dice, client.call).live()
        finally:
            client.close()

    def assert_all_applied(self) -> None:
        """Every accepted update is a row, once and in order; nothing was listed as dead or halted."""
        self.run.wait_drained()
        env = self.run.stack.env
        report = compare(env["DATABASE_URL"], env["KAFKA_BOOTSTRAP_SERVERS"], self.run.topic)
        assert report.equal, str(report)
        assert report.messages >= self.accepted
        assert self.run.rows("SELECT error FROM dead_letter") == []
        assert self.run.rows("SELECT halted FROM stream WHERE halted IS NOT NULL") == []
        assert self.run.events("housekeeping_failed", "view_failed") == []


def _is_digested(run: Running) -> bool:
    """Whether it was a bridge of this release, not of the one before, that planned last."""
    ((found,),) = run.rows("SELECT bool_or(last_planned = planned AND planned > 0) FROM stream")
    return bool(found)


def test_the_release_before_runs_beside_this_one_both_ways(
    postgres: str, redis_url: str, kafka: list[str], tmp_path: Path, namespace: str
) -> None:
    """An upgrade and a rollback in the order of docs/operations.md; and web before all others."""
    before = releases.before(tmp_path / "before")
    with running(tmp_path / "stack", namespace, environ=ENVIRON, code=before) as run:
        fleet = Deployment(run, {BEFORE: before, THIS: ROOT})
        for kind in (WORKER, BRIDGE, WEB):
            fleet.deploy(kind, BEFORE)
        fleet.send()
        run.wait_drained()
        product.manage(run.stack, "migrate", "--no-input")
        words, env = product.grant_logins(run.stack)
        product.manage(run.stack, *words, env=env)
        for kind, release in (
            (WEB, THIS),  # beside a bridge and a worker of the release before
            (WEB, BEFORE),
            (WORKER, THIS),
            (BRIDGE, THIS),  # and a worker, beside web of the release before
            (WEB, THIS),
            (WEB, BEFORE),  # the rollback
            (BRIDGE, BEFORE),
            (WORKER, BEFORE),
            (BRIDGE, THIS),
        ):
            if kind == BRIDGE:
                fleet.deploy_in_flight(release)
            else:
                fleet.deploy(kind, release)
            fleet.send()
            run.wait_drained()
            assert _is_digested(run) is (fleet.releases[BRIDGE] == THIS)
        fleet.assert_all_applied()


#: Lets a worker take tasks, and prints for each whether it came as far as PostgreSQL.
_TAKES: Final = """
import json, sys
import django; django.setup()
from workers import tasks
class Reached(BaseException): pass
def lanes(): raise Reached
tasks._lanes = lanes
for body in json.load(sys.stdin):
    try: tasks.apply.run(**body)
    except Reached: print("taken")
    except Exception: print("refused")
"""


def test_a_worker_of_the_release_before_takes_tasks_of_one_lane_only(tmp_path: Path) -> None:
    """It would write the rows of all lanes as soon as the first was moved (decision 0050)."""
    write = Write("a", "r", Patch(False, {"tags.a": (SET, 1)}))
    three, five = (Part(0, 11, Batch(1, n, -1, 0, 0, 1, merged=(write,))) for n in (3, 5))
    other = Part(1, 11, Batch(2, 3, -1, 0, 0, 1, merged=(write,)))
    bodies = [
        encode(task_body.of(Task(3, parts, attempt=1), dead_letters_max=1))
        for parts in ([three], [three, other], [three, five])
    ]
    worker = subprocess.run(
        [sys.executable, "-c", _TAKES],
        cwd=releases.before(tmp_path / "before"),
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "notify.settings", "PYTHONPATH": "."},
        input=json.dumps(bodies),
        capture_output=True,
        text=True,
        check=True,
    )
    took = [line for line in worker.stdout.splitlines() if line in {"taken", "refused"}]
    assert took == ["taken", "taken", "refused"]


@pytest.mark.parametrize(("ci", "ends"), [("", pytest.skip), ("true", pytest.fail)])
def test_a_clone_without_the_history_says_what_to_do(
    ci: str, ends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "BEFORE", "0" * 40)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(
        ends.Exception, match=r"commit 0000000, is not in .* `git fetch --unshallow`"
    ):
        releases.before(tmp_path)


RECORD: Final = "0d000000-0000-4000-8000-000000000001"
HALTED: Final = "SELECT frontier, planned FROM stream WHERE halted LIKE 'needs an upgrade:%%'"


def _count(fleet: Deployment, times: int) -> None:
    """Add so often one session to the record."""
    client, app = Client(fleet.web_url), fleet.run.app
    items = [{"record": RECORD, "counters": {"session_count": 1}}] * times
    client.call("POST", f"/apps/{app.app_id}/batch", {"updates": items}, key=app.key)
    client.close()


def _counted(run: Running) -> int:
    found = run.rows("SELECT session_count FROM record WHERE id = %s", RECORD)
    return int(found[0][0]) if found else 0


def test_updates_of_the_next_release_wait_for_a_bridge_that_reads_them(
    postgres: str, redis_url: str, kafka: list[str], tmp_path: Path, namespace: str
) -> None:
    following = releases.following(tmp_path / "next")
    with running(tmp_path / "stack", namespace, environ=ENVIRON) as run:
        fleet = Deployment(run, {THIS: ROOT, NEXT: following})
        for kind in (WORKER, BRIDGE, WEB):
            fleet.deploy(kind, THIS)
        _count(fleet, 3)
        run.wait_drained()
        fleet.deploy(WEB, NEXT)
        _count(fleet, 5)
        run.wait("the halt", lambda: bool(run.rows(HALTED)))
        ((frontier, planned),) = run.rows(HALTED)
        assert (_counted(run), frontier) == (3, planned)
        with pytest.raises(DevstackError, match=r"halted: needs an\s+upgrade"):
            product.manage(run.stack, "status")

        fleet.deploy(BRIDGE, NEXT)
        run.wait_drained()
        assert _counted(run) == 8

        fleet.stop(WORKER)
        _count(fleet, 7)
        run.wait_planned()
        fleet.deploy(BRIDGE, THIS)
        run.wait("the halt", lambda: bool(run.rows(HALTED)))
        fleet.deploy(WORKER, THIS)
        fleet.deploy(BRIDGE, NEXT)
        run.wait_drained()
        assert _counted(run) == 15
        assert run.rows("SELECT halted FROM stream WHERE halted IS NOT NULL") == []
        assert run.rows("SELECT error FROM dead_letter") == []
