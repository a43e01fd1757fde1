"""What a background stack leaves on disk is read back as it was written."""

import subprocess
from pathlib import Path

import pytest

from devstack.process import ProcessIdentity
from devstack.state import OWN, StackState, inherited_environ, only_one, write_env


def test_what_is_written_is_read(tmp_path: Path) -> None:
    state = StackState(
        processes={"web": ProcessIdentity(3, 2.5)},
        ports={"web": 1},
        environ={"NOTIFY_LANES": "4"},
        env={"WEB_URL": "http://127.0.0.1:1", "NOTIFY_SECRET_KEY": "a'b $c"},
        forgets=True,
    )
    state.write(tmp_path)
    assert StackState.read(tmp_path) == state


def test_env_can_be_sourced_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    StackState(environ={"ODD": "secret"}).write(tmp_path)
    write_env(tmp_path, {"ODD": 'a\'b $c "d"'})
    script = f'. {tmp_path / "env"}; printf %s "$ODD"'
    assert subprocess.check_output(["sh", "-c", script], text=True) == 'a\'b $c "d"'
    for name in ("env", "state.json"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_a_shell_that_sourced_env_has_given_nothing() -> None:
    sourced = {OWN: "DATABASE_URL,REDIS_URL", "DATABASE_URL": "a", "REDIS_URL": "b"}
    external = {"KAFKA_BOOTSTRAP_SERVERS": "c", "PATH": "d"}
    assert inherited_environ(sourced | external) == external
    assert inherited_environ(external) == external


@pytest.mark.parametrize("text", ["", "{", "[]", '{"processes": 1}', '{"processes": {}, "odd": 1}'])
def test_a_torn_state_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert StackState.read(tmp_path) == StackState()


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
