"""Metrics of several processes, and the server that shows them, with real processes and real HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest
from celery.worker import state
from django.conf import settings

from ingest.management.commands import bridge
from notify.telemetry import metrics, probes
from notify.telemetry.probes import Progress
from notify.telemetry.unfinished_tasks import UnfinishedTasks

COUNTING: Final = """
import sys, time
from notify.telemetry import metrics
metrics.WORKER_PROCESSES.set(1)
metrics.WORKER_BATCHES.labels(outcome="applied").inc(int(sys.argv[1]))
while time.process_time() < 0.3: pass
metrics.count_cpu("worker")
metrics.count_cpu("worker")
print("counted", flush=True)
time.sleep(600)
"""
SERVING: Final = """
import os, sys
from notify.telemetry import metrics
print(metrics.serve(0, process="worker"), flush=True)
sys.stdin.read()
"""


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def value(text: str, name: str) -> float:
    """The sample's value; `name` with its labels."""
    found = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert len(found) == 1, f"{name}: {found}"
    return float(found[0])


class Group:
    """Processes that share a directory of metrics; killed at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._all: list[subprocess.Popen[str]] = []

    def start(self, code: str, *words: str) -> tuple["subprocess.Popen[str]", str]:
        """A process, and the first line that it printed."""
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(self.directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._all.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def end(self) -> None:
        for process in self._all:
            process.kill()
            process.communicate()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    found = Group(tmp_path)
    yield found
    found.end()


def test_processes_add_up_and_gauges_of_a_killed_one_are_gone(group: Group) -> None:
    _, line = group.start(SERVING)
    first, said = group.start(COUNTING, "3")
    group.start(COUNTING, "4")
    assert said == "counted"
    _, text = get(int(line), "/metrics")
    assert value(text, "notify_worker_processes") == 2
    assert value(text, 'notify_worker_batches_total{outcome="applied"}') == 7
    spent_s = value(text, 'notify_process_cpu_seconds_total{process="worker"}')
    assert spent_s >= 0.6
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert list(group.directory.glob(f"gauge_live*_{first.pid}.db"))
    _, text = get(int(line), "/metrics")
    assert value(text, "notify_worker_processes") == 1
    assert value(text, 'notify_worker_batches_total{outcome="applied"}') == 7
    assert value(text, 'notify_process_cpu_seconds_total{process="worker"}') >= spent_s
    assert not list(group.directory.glob(f"gauge_live*_{first.pid}.db"))


def test_no_series_of_a_group_is_of_one_process(group: Group) -> None:
    """A label with a process id would grow with every child that is replaced."""
    _, line = group.start(SERVING)
    group.start(COUNTING, "1")
    assert "pid=" not in get(int(line), "/metrics")[1]


def test_what_alarms_count_begins_at_zero(group: Group) -> None:
    _, line = group.start(SERVING)
    _, text = get(int(line), "/metrics")
    assert value(text, 'notify_worker_batches_total{outcome="dead_lettered"}') == 0
    assert value(text, 'notify_web_refused_total{reason="kafka_away"}') == 0


def test_a_fork_waits_for_a_scrape_that_sets_gauges() -> None:
    """Else a child could begin with a metric's lock held, by nobody."""
    code = """
import os, threading
from notify.telemetry import metrics
held, go = threading.Event(), threading.Event()
def refresh():
    with metrics.WORKER_BUSY_SINCE._value._lock:
        held.set()
        go.wait()
port = metrics.serve(0, refresh=refresh)
import urllib.request
scrape = threading.Thread(target=lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read())
scrape.start()
held.wait()
threading.Timer(0.3, go.set).start()
pid = os.fork()
if pid == 0:
    took = metrics.WORKER_BUSY_SINCE._value._lock.acquire(timeout=2)
    os._exit(0 if took else 1)
print(os.waitpid(pid, 0)[1])
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_live_progress_and_metrics_are_different_questions() -> None:
    clock = Clock()
    progress = Progress("the loop", after_s=8, clock=clock)
    port = metrics.serve(0, problem=progress.problem)
    clock.now_s += 8
    assert get(port, "/healthz/progress") == (200, '{"status": "ok"}')
    clock.now_s += 1
    status, body = get(port, "/healthz/progress")
    assert status == 503
    assert json.loads(body) == {
        "errors": ["the loop has been stuck for 9 s, although the process runs"]
    }
    assert get(port, "/healthz/live") == (200, '{"status": "ok"}')
    assert "notify_bridge_writes_total" in get(port, "/metrics")[1]
    progress.note()
    assert get(port, "/healthz/progress?x=1")[0] == 200
    status, body = get(port, "/")
    assert status == 404
    assert "/healthz/progress" in body


def test_a_page_that_fails_ends_nothing() -> None:
    def scrape() -> bytes:
        raise OSError("disk full")

    port = probes.serve(0, scrape=scrape, content_type="text/plain", problem=lambda: None)
    status, body = get(port, "/metrics")
    assert (status, json.loads(body)) == (500, {"errors": ["OSError: disk full"]})
    assert get(port, "/healthz/live")[0] == 200


def test_a_bridge_whose_step_blocks_lives_without_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command's own loop, in a thread; its clock is moved while a step blocks."""
    clock = Clock()
    progress = Progress("the loop", after_s=8, clock=clock)
    port = metrics.serve(0, process="bridge", problem=progress.problem)
    stopped: list[int] = []
    blocked, go, ended = threading.Event(), threading.Event(), threading.Event()

    class Blocking:
        behind = True
        in_flight = 0

        def step(self, poll_ms: int) -> None:
            if go.is_set():
                stopped.append(signal.SIGTERM)
                return
            blocked.set()
            go.wait()

        def drain(self) -> None:
            pass

        def commit_offsets(self) -> None:
            ended.set()

    def run() -> None:
        bridge._run(Blocking(), stopped, progress)  # type: ignore[arg-type]

    loop = threading.Thread(target=run)
    loop.start()
    assert blocked.wait(30)
    clock.now_s += 9
    assert get(port, "/healthz/progress")[0] == 503
    assert get(port, "/healthz/live")[0] == 200
    go.set()
    loop.join(30)
    assert ended.is_set()
    assert get(port, "/healthz/progress")[0] == 200
    assert value(get(port, "/metrics")[1], "notify_bridge_step_timestamp_seconds") > 0


def test_by_default_a_hang_is_seen_within_ten_seconds() -> None:
    assert settings.NOTIFY_PROGRESS_AFTER_MS < 10_000
    assert settings.NOTIFY_STALLED_AFTER_MS < 10_000


class Request:
    """What Celery's parent remembers of a task."""

    def __init__(self, time_start: float | None = None) -> None:
        self.time_start = time_start


def test_a_worker_is_busy_since_its_oldest_task(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: dict[str, Request] = {}
    monkeypatch.setattr(state, "requests", requests)
    clock = Clock()
    tasks = UnfinishedTasks(after_s=8, clock=clock)
    assert tasks.oldest() is None
    assert tasks.problem() is None
    requests["a"] = waiting = Request()
    tasks.note(waiting)
    assert tasks.oldest() == 100
    clock.now_s = 109
    assert "has not finished for 9 s" in str(tasks.problem())
    waiting.time_start = 105.0
    assert tasks.oldest() == 105
    assert tasks.problem() is None
    requests["b"] = Request(time_start=100.5)
    assert "has not finished for 8 s" in str(tasks.problem())
    requests.clear()
    assert tasks.problem() is None
