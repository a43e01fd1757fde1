"""Processes that live and make no progress are seen: real ones, stopped by SIGSTOP."""

import json
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException

import psutil
import pytest

from devstack import product
from devstack.services import free_port
from notify.domain.records.patch import ADD, Patch
from notify.domain.records.update import Update
from tests.running import Running, running

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


class Answering:
    """A process's own port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, *, timeout_s: float = 60) -> tuple[int, str]:
        """Status and body; 0 where nothing answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def value(self, name: str) -> float | None:
        """A sample without labels."""
        found = re.findall(rf"^{name} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[0]) if found else None


class Scene:
    """A bridge, a worker of two children and web, each with its port."""

    def __init__(self, run: Running, bridge: Answering, worker: Answering, web: Answering) -> None:
        self.run, self.bridge, self.worker, self.web = run, bridge, worker, web

    def children(self) -> list[psutil.Process]:
        """The worker's, which run the tasks."""
        found = psutil.Process(self.run.stack.child("worker").pid).children()
        return [child for child in found if _lives(child)]

    def send(self) -> None:
        """One update of each of 40 records, so that all lanes get tasks."""
        patch = Patch(False, {"session_count": (ADD, 1)})
        app = self.run.app.app_id
        self.run.produce(
            [Update(app, str(uuid.uuid4()), 1_700_000_000_000, "m", patch=patch) for _ in range(40)]
        )

    def seen(self, answers: Callable[[], tuple[int, str]]) -> list[str]:
        """The reasons of the first 503; how long it took is printed: 6 to 9 s with the defaults
        (test_metrics holds them below 10 s)."""
        began = time.monotonic()
        body = ""

        def is_seen() -> bool:
            nonlocal body
            status, body = answers()
            return status == 503

        self.run.wait("503", is_seen)
        print(f"seen after {time.monotonic() - began:.1f} s: {body}")
        errors: list[str] = json.loads(body)["errors"]
        return errors

    def well(self) -> None:
        """All three say that all goes on."""
        for path, process in (
            ("/healthz/progress", self.bridge),
            ("/healthz/progress", self.worker),
            ("/healthz/pipeline", self.web),
        ):
            self.run.wait(f"{path} 200", lambda: process.get(path)[0] == 200)  # noqa: B023


def _lives(child: psutil.Process) -> bool:
    try:
        return bool(child.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def scene(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    shared = tmp_path_factory.mktemp("metrics")
    with running(tmp_path_factory.mktemp("stack"), f"t{uuid.uuid4().hex[:10]}") as run:
        bridge, worker = Answering(free_port()), Answering(free_port())
        product.start_bridge(run.stack, env={"NOTIFY_METRICS_PORT": str(bridge.port)})
        run.wait_settled()
        run.stack.spawn(
            "worker",
            [product.PYTHON, "-m", "celery", "-A", "notify", "worker", "--concurrency=2"],
            env={
                "NOTIFY_METRICS_PORT": str(worker.port),
                "PROMETHEUS_MULTIPROC_DIR": str(shared),
            },
        )
        web = Answering(int(product.start_web(run.stack).rpartition(":")[2]))
        found = Scene(run, bridge, worker, web)
        found.send()
        run.wait_applied(40)
        found.well()
        yield found


def test_figures_of_a_worker_are_those_of_its_children(scene: Scene) -> None:
    scene.run.wait("both", lambda: scene.worker.value("notify_worker_processes") == 2)
    text = scene.worker.get("/metrics")[1]
    assert re.search(r'^notify_worker_batches_total{outcome="applied"} [1-9]', text, re.MULTILINE)
    assert 'notify_process_cpu_seconds_total{process="worker"}' in text
    assert "pid=" not in text
    cpu = 'notify_process_cpu_seconds_total{process="bridge"}'
    assert cpu in scene.bridge.get("/metrics")[1]
    assert scene.bridge.value("notify_bridge_step_timestamp_seconds")


def test_children_that_are_stopped_are_seen(scene: Scene) -> None:
    """They were idle: the tasks that they are handed never begin."""
    children = scene.children()
    assert len(children) == 2
    for child in children:
        child.suspend()
    try:
        scene.send()
        scene.run.wait(
            "busy", lambda: bool(scene.worker.value("notify_worker_busy_since_timestamp_seconds"))
        )
        (reason,) = scene.seen(lambda: scene.worker.get("/healthz/progress"))
        assert "a task has not finished" in reason
        assert scene.worker.get("/healthz/live")[0] == 200
        scene.run.wait("the bridge", lambda: scene.bridge.get("/healthz/progress")[0] == 200)
        stuck = "is stuck: decided updates at offset"
        scene.run.wait("web says it", lambda: stuck in scene.web.get("/healthz/pipeline")[1])
    finally:
        for child in children:
            child.resume()
    scene.well()
    scene.run.wait(
        "idle", lambda: scene.worker.value("notify_worker_busy_since_timestamp_seconds") == 0
    )


def test_one_stopped_child_of_two_is_seen(scene: Scene) -> None:
    """Its sibling goes on, so the pipeline may look well for a while: the worker itself says it."""
    stopped = scene.children()[0]
    stopped.suspend()
    try:
        scene.run.wait("a task waits", lambda: _handed(scene))
        (reason,) = scene.seen(lambda: scene.worker.get("/healthz/progress"))
        assert "a task has not finished" in reason
    finally:
        stopped.resume()
    scene.well()


def _handed(scene: Scene) -> bool:
    """Whether a task was taken a second ago and has not ended, while others come."""
    scene.send()
    since = scene.worker.value("notify_worker_busy_since_timestamp_seconds")
    return bool(since) and time.time() - float(since or 0) > 1


def test_a_killed_child_leaves_no_gauge(scene: Scene) -> None:
    killed = scene.children()[0]
    killed.kill()
    scene.run.wait("a new child", lambda: len({*scene.children()} - {killed}) == 2)
    scene.run.wait("two", lambda: scene.worker.value("notify_worker_processes") == 2)
    scene.send()
    scene.well()


def test_a_bridge_that_is_stopped_is_seen(scene: Scene) -> None:
    """It cannot answer itself: Kafka's group may even hold it for alive. The pipeline tells it."""
    scene.run.stack.kill("bridge", signal.SIGSTOP)
    try:
        stalled = "is stalled: no bridge has been active"
        scene.run.wait("web says it", lambda: stalled in scene.web.get("/healthz/pipeline")[1])
        assert scene.web.get("/healthz/pipeline")[0] == 503
        assert scene.bridge.get("/healthz/live", timeout_s=2)[0] == 0
        assert scene.web.get("/healthz/live")[0] == 200
    finally:
        scene.run.stack.kill("bridge", signal.SIGCONT)
    scene.well()


def test_a_bridge_that_postgresql_does_not_answer_lives_without_progress(scene: Scene) -> None:
    """Its session's process is stopped: the connection stands, and no answer comes."""
    sessions = [
        psutil.Process(pid)
        for (pid,) in scene.run.rows(
            "SELECT pid FROM pg_stat_activity "
            "WHERE application_name = 'notify-bridge' AND datname = current_database()"
        )
    ]
    assert sessions
    for session in sessions:
        session.suspend()
    try:
        (reason,) = scene.seen(lambda: scene.bridge.get("/healthz/progress"))
        assert "has been stuck" in reason
        assert scene.bridge.get("/healthz/live")[0] == 200
    finally:
        for session in sessions:
            session.resume()
    scene.well()
