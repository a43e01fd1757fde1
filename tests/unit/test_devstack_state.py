"""A background stack that was killed is found, ended by process id, and forgotten."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devstack import background
from devstack.process import Identity
from devstack.state import OWN, State, given, only_one


@pytest.fixture
def sleeper() -> Iterator[Identity]:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield Identity.of(process.pid)
        process.kill()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    state = State(
        Identity(2, 1.5),
        "ready",
        {"web": Identity(3, 2.5)},
        {"WEB_URL": "http://127.0.0.1:1", "NOTIFY_SECRET_KEY": "a'b $c"},
    )
    state.write(tmp_path)
    assert State.read(tmp_path) == state


def test_env_can_be_sourced_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    State(Identity(2, 1.5), "ready", {}, {"ODD": 'a\'b $c "d"'}).write(tmp_path)
    script = f'. {tmp_path / "env"}; printf %s "$ODD"'
    assert subprocess.check_output(["sh", "-c", script], text=True) == 'a\'b $c "d"'
    for name in ("env", "state.json"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_env_is_there_only_when_ready(tmp_path: Path) -> None:
    State(Identity(2, 1.5), "starting", {}, {"WEB_URL": "x"}).write(tmp_path)
    assert not (tmp_path / "env").exists()


def test_a_shell_that_sourced_env_has_given_nothing() -> None:
    sourced = {OWN: "DATABASE_URL,REDIS_URL", "DATABASE_URL": "a", "REDIS_URL": "b"}
    external = {"KAFKA_BOOTSTRAP_SERVERS": "c", "PATH": "d"}
    assert given(sourced | external) == external
    assert given(external) == external


@pytest.mark.parametrize("text", ["", "{", "[]", '{"supervisor": 1}'])
def test_a_torn_state_is_no_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert State.read(tmp_path) is None


def test_down_ends_what_a_killed_supervisor_left(tmp_path: Path, sleeper: Identity) -> None:
    dead = replace(sleeper, started=sleeper.started - 60)
    State(dead, "ready", {"web": sleeper, "bridge": dead}, {"WEB_URL": "x"}).write(tmp_path)
    said: list[str] = []
    background.down(tmp_path, said.append)
    assert said == ["stopping 1 processes"]
    assert not sleeper.running()
    assert State.read(tmp_path) is None
    assert not (tmp_path / "env").exists()


def test_down_ends_what_is_left_of_a_process_that_was_killed(tmp_path: Path) -> None:
    argv = ["sh", "-c", "sleep 600 & echo $!; wait"]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout
        below = Identity.of(int(process.stdout.readline()))
        main = Identity.of(process.pid)
        process.kill()
    assert below.running()
    State(main, "ready", {"web": main}).write(tmp_path)
    background.down(tmp_path, print)
    assert below.wait(10)


def test_down_leaves_a_recycled_process_id_alone(tmp_path: Path, sleeper: Identity) -> None:
    stale = replace(sleeper, started=sleeper.started - 60)
    State(stale, "ready", {"web": stale}).write(tmp_path)
    said: list[str] = []
    background.down(tmp_path, said.append)
    assert said == ["nothing was up"]
    assert sleeper.running()


def test_down_where_nothing_was_up(tmp_path: Path) -> None:
    said: list[str] = []
    background.down(tmp_path / "new", said.append)
    assert said == ["nothing was up"]
    assert not background.status(tmp_path / "new", said.append)
    assert said[-1] == "down"


def test_one_at_a_time(tmp_path: Path) -> None:
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w');"
        " fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    with only_one(tmp_path):
        done = subprocess.run(
            ["python3", "-c", code, tmp_path / "lock"], capture_output=True, check=False
        )
    assert b"BlockingIOError" in done.stderr
