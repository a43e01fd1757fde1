"""Flower as a process, as the stacks start it: who gets in, and what it shows of lanes and tasks."""

import json
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from devstack import product
from notify.domain.engine.lanes import queue_of
from notify.domain.records.update import Update
from tests.running import Running, running

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
LANES = 8


@pytest.fixture
def run(
    tmp_path: Path, namespace: str, kafka: list[str], redis_url: str, postgres: str
) -> Iterator[Running]:
    with running(tmp_path, namespace, environ={"NOTIFY_LANES": str(LANES)}) as run:
        yield run


@pytest.fixture
def flower(run: Running) -> Iterator[httpx.Client]:
    """Logged in to the Flower of the stack."""
    url = product.start_flower(run.stack)
    run.wait("Flower answers, and lets nobody in", lambda: product.answers(url, status=401))
    with httpx.Client(base_url=url, auth=(product.USER, product.PASSWORD), timeout=180) as client:
        yield client


def produce(run: Running, n: int) -> None:
    run.produce(
        [Update(run.app.app_id, str(uuid.uuid4()), 1_700_000_000_000, "m") for _ in range(n)]
    )


def shown(flower: httpx.Client) -> dict[str, int]:
    """Depth by queue, as Flower has it."""
    answer = flower.get("/api/queues/length").raise_for_status().json()
    return {each["name"]: each["messages"] for each in answer["active_queues"]}


def waiting(run: Running) -> dict[str, int]:
    """Depth of each lane's queue, as Redis has it."""
    prefix = run.stack.env["NOTIFY_NAMESPACE"]
    with redis.Redis.from_url(run.stack.env["REDIS_URL"]) as client:
        lengths: dict[str, Any] = {
            queue_of(lane): client.llen(f"{prefix}.{queue_of(lane)}") for lane in range(LANES)
        }
    return lengths


def test_without_the_password_nothing_is_shown(flower: httpx.Client) -> None:
    for path in ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/metrics"):
        for auth in (None, (product.USER, "wrong")):
            url = f"{flower.base_url}{path}"
            status = httpx.get(url, auth=auth, timeout=180).status_code
            assert (path, status) == (path, 200 if path == "/metrics" else 401)
    assert flower.get("/workers").status_code == 200


def test_every_lane_with_its_depth_while_no_worker_runs(run: Running, flower: httpx.Client) -> None:
    product.start_bridge(run.stack)
    run.wait_settled()
    produce(run, 400)
    run.wait("tasks wait in all lanes", lambda: all(waiting(run).values()))
    run.stack.kill("bridge")  # it would send them again, which makes more of them
    depths = waiting(run)
    found = shown(flower)
    assert {queue: found.get(queue) for queue in depths} == depths
    page = flower.get("/broker").text
    rows = re.findall(r"<td>(lane\.\d\d)</td>\s*<td[^>]*>\s*(\d+)\s*</td>", page)
    assert {queue: int(n) for queue, n in rows if queue in depths} == depths


def test_tasks_are_named_by_lane_and_partition(run: Running, flower: httpx.Client) -> None:
    product.start_bridge(run.stack)
    product.start_worker(run.stack, "worker-1")
    run.wait_settled()
    run.wait("Flower sees the worker", lambda: any("worker-1@" in name for name in workers(flower)))
    produce(run, 100)
    run.wait_applied(100)
    run.wait("Flower sees tasks", lambda: bool(tasks(flower)))
    for task in tasks(flower):
        assert task["name"] == "workers.apply"
        assert re.fullmatch(f"({ONE_LANE}|{LANES_SHARED}) \\d+ rows( send \\d+)?", task["kwargs"])
        assert task["args"] == "()"
    assert "tags" not in json.dumps(tasks(flower))
    page = flower.post("/tasks/datatable", data=DATATABLE).json()
    assert any(re.match(f"{ONE_LANE}|{LANES_SHARED}", each["kwargs"]) for each in page["data"])
    run.stack.kill("worker-1", signal.SIGTERM)


#: How a task is shown before its number of rows, whether lanes share it or not.
ONE_LANE = r"lane 0[0-7]( p[0-3]\(-?\d+\.\.\d+\])+"
LANES_SHARED = r"lanes 0[0-7](,0[0-7])+( p[0-3])+"
#: What the page /tasks asks its table for.
DATATABLE = {
    "draw": "1", "start": "0", "length": "10", "search[value]": "", "order[0][column]": "0",
    "order[0][dir]": "asc", "columns[0][data]": "name",
}  # fmt: skip


def workers(flower: httpx.Client) -> list[str]:
    """Those that answer it now; none while it does not know them."""
    answer = flower.get("/api/workers?refresh=1")
    return list(answer.json()) if answer.is_success else []


def tasks(flower: httpx.Client) -> list[dict[str, Any]]:
    """Those that Flower has seen."""
    return list(flower.get("/api/tasks").raise_for_status().json().values())
