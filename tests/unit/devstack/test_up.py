"""`up`, `restart`, `down` and `status` end what they are asked to, and lose nothing unasked."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devstack import background
from devstack.background import Background
from devstack.process import Launch, ProcessIdentity
from devstack.services import DevstackError, free_port, is_free
from devstack.state import StackState
from tests.waiting import wait_for


@pytest.fixture
def sleeper() -> Iterator[ProcessIdentity]:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield ProcessIdentity.of(process.pid)
        process.kill()


@pytest.fixture
def dead(sleeper: ProcessIdentity) -> ProcessIdentity:
    """A process that ended, whose number another has now."""
    return replace(sleeper, started=sleeper.started - 60)


@pytest.fixture
def said() -> list[str]:
    return []


def given_services() -> dict[str, str]:
    return dict.fromkeys(background.VARIABLES.values(), "there")


def test_down_ends_what_runs_and_keeps_ports_and_app(
    tmp_path: Path, sleeper: ProcessIdentity, dead: ProcessIdentity, said: list[str]
) -> None:
    (tmp_path / "env").touch()
    before = StackState(
        {"web": sleeper, "bridge": dead}, {"web": 1}, {"PATH": "x"}, {"DEMO_APP_ID": "y"}
    )
    before.write(tmp_path)
    background.down(tmp_path, said.append)
    assert said == ["stopping web", "kept: records, apps, ports and Kafka's log"]
    assert not sleeper.running()
    assert StackState.read(tmp_path) == StackState(ports={"web": 1}, env={"DEMO_APP_ID": "y"})
    assert not (tmp_path / "env").exists()


def test_down_ends_what_is_left_of_a_process_that_was_killed(tmp_path: Path) -> None:
    argv = ["sh", "-c", "sleep 600 & echo $!; wait"]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout
        below = ProcessIdentity.of(int(process.stdout.readline()))
        main = ProcessIdentity.of(process.pid)
        process.kill()
        assert main.wait(10)
        assert below.running()
        StackState({"web": main}).write(tmp_path)  # a zombie still: nobody has reaped it
        background.down(tmp_path, print)
        assert not below.running()


def test_down_leaves_a_recycled_process_id_alone(
    tmp_path: Path, sleeper: ProcessIdentity, dead: ProcessIdentity, said: list[str]
) -> None:
    StackState({"web": dead}).write(tmp_path)
    background.down(tmp_path, said.append)
    assert said == ["the stack was not running"]
    assert sleeper.running()


def test_down_where_nothing_was_up(tmp_path: Path, said: list[str]) -> None:
    background.down(tmp_path / "new", said.append)
    assert said == ["the stack was not running"]
    assert not background.status(tmp_path / "new", said.append)
    assert said[-1] == "not running: `make up` starts it"


def test_status_names_what_is_down_and_the_cure(
    tmp_path: Path, sleeper: ProcessIdentity, dead: ProcessIdentity, said: list[str]
) -> None:
    StackState({"web": sleeper, "bridge": dead}, environ=given_services()).write(tmp_path)
    assert not background.status(tmp_path, said.append)
    assert f"{'web':<18} runs, process id {sleeper.pid}" in said
    assert f"{'bridge':<18} DOWN" in said
    assert said[-1] == (
        "`make up` starts worker-1, worker-2, bridge, watch, flower and leaves the others alone."
    )
    assert not any("kafka" in line for line in said), "given services are not its own"


def test_status_says_when_the_log_is_lost(
    tmp_path: Path, dead: ProcessIdentity, said: list[str]
) -> None:
    StackState({"kafka": dead}, forgets=True).write(tmp_path)
    assert not background.status(tmp_path, said.append)
    assert "is lost" in said[-1]
    StackState({"kafka": dead}, forgets=False).write(tmp_path)
    background.status(tmp_path, said.append)
    assert "`make up` starts kafka, " in said[-1]


def test_up_refuses_to_go_on_without_the_log(tmp_path: Path, dead: ProcessIdentity) -> None:
    state = StackState({"kafka": dead}, environ={"DATABASE_URL": "postgresql://127.0.0.1:1/x"})
    replace(state, forgets=True).write(tmp_path)
    with pytest.raises(DevstackError, match=r"it is lost. Nothing was changed.(?s:.)*RESET=1"):
        background.up(tmp_path, os.environ, print)
    assert StackState.read(tmp_path) == replace(state, forgets=True)


@pytest.mark.parametrize("name", ["nobody", "kafka"])
def test_restart_of_what_there_is_not_lists_the_names(
    tmp_path: Path, sleeper: ProcessIdentity, name: str
) -> None:
    (tmp_path / "env").touch()
    StackState({"web": sleeper}, environ=given_services()).write(tmp_path)
    with pytest.raises(DevstackError, match=f"no process '{name}'.*worker-1, worker-2, bridge"):
        background.restart(tmp_path, name, print)
    assert sleeper.running()


def test_restart_does_not_lose_the_log(tmp_path: Path, sleeper: ProcessIdentity) -> None:
    (tmp_path / "env").touch()
    StackState({"kafka": sleeper}, forgets=True).write(tmp_path)
    with pytest.raises(DevstackError, match="keeps its log in memory only"):
        background.restart(tmp_path, "kafka", print)
    assert sleeper.running()


def test_restart_beside_a_service_that_is_down_stops_nothing(
    tmp_path: Path, sleeper: ProcessIdentity, dead: ProcessIdentity
) -> None:
    (tmp_path / "env").touch()
    environ = given_services() | {"REDIS_URL": ""}
    StackState({"web": sleeper, "redis": dead}, environ=environ).write(tmp_path)
    with pytest.raises(DevstackError, match="redis does not run: run `make up`"):
        background.restart(tmp_path, "web", print)
    assert sleeper.running()


def test_restart_where_nothing_is_up(tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match="start it with `make up`"):
        background.restart(tmp_path, "web", print)


def test_a_process_is_known_as_soon_as_it_runs_and_outlives_who_started_it(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from devstack.background import Background
from devstack.process import Launch
from devstack.state import StackState
home = Path({str(tmp_path)!r})
Background(home, StackState(), print).start("web", Launch(["sleep", "600"], {{}}, home / "log"))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    (identity,) = StackState.read(tmp_path).running().values()
    identity.end()


def test_ports_stay(tmp_path: Path, dead: ProcessIdentity) -> None:
    stack = Background(tmp_path, StackState({"web": dead}), print)
    port = stack.port("web")
    assert stack.port("web") == port
    assert Background(tmp_path, StackState.read(tmp_path), print).port("web") == port


def test_a_port_that_another_has_is_an_error_while_others_know_it(
    tmp_path: Path, dead: ProcessIdentity
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"web": port, "kafka": port}
        up = Background(tmp_path, StackState({"web": dead}, ports), print)
        with pytest.raises(DevstackError, match=f"web's port {port}"):
            up.port("web")
        down = Background(tmp_path, StackState({}, ports), print)
        assert down.port("web") != port
        with pytest.raises(DevstackError, match=f"kafka's port {port}"):
            down.port("kafka")


def test_the_port_of_what_runs_is_not_taken(tmp_path: Path) -> None:
    port = free_port()
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    stack = Background(tmp_path, StackState({}, {"web": port}), print)
    child = stack.start("web", Launch([sys.executable, "-c", code], os.environ, tmp_path / "log"))
    try:
        wait_for(lambda: not is_free(port))
        assert stack.port("web") == port
    finally:
        child.identity.end()


def test_a_timeout_that_is_none_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_UP_TIMEOUT_S", "soon")
    with pytest.raises(
        DevstackError, match="NOTIFY_UP_TIMEOUT_S='soon': set it to a number of seconds"
    ):
        background.up(tmp_path, given_services(), print)
    assert StackState.read(tmp_path).processes == {}
