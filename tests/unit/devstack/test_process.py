"""Nothing that the devstack starts outlives it, and nothing else is ever ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from devstack import ROOT
from devstack.process import ProcessIdentity
from devstack.services import DevstackError
from devstack.stack import Stack

#: Starts a process of its own, tells its id, ignores SIGTERM if asked, and stays.
STUBBORN = """
import signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""
#: Longer than the keeper's patience with a group that was asked to end.
GONE_S = 60.0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, environ=os.environ) as stack:
        yield stack


def wait_until(true: Callable[[], bool], *, timeout_s: float = GONE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def grandchild(stack: Stack, name: str) -> ProcessIdentity:
    """The process that STUBBORN started."""
    wait_until(lambda: stack.tail(name).strip().isdigit())
    return ProcessIdentity.of(int(stack.tail(name)))


def gone(identity: ProcessIdentity) -> Callable[[], bool]:
    return lambda: not identity.running()


def test_stop_ends_a_process_and_what_it_started(stack: Stack) -> None:
    child = stack.spawn("it", [sys.executable, "-c", STUBBORN])
    below = grandchild(stack, "it")
    child.stop()
    assert child.exit_code == -signal.SIGTERM
    wait_until(gone(below))


def test_stop_kills_what_does_not_listen(stack: Stack) -> None:
    child = stack.spawn("it", [sys.executable, "-c", STUBBORN, "stubborn"])
    below = grandchild(stack, "it")
    child.stop(timeout_s=0.2)
    assert child.exit_code == -signal.SIGKILL
    wait_until(gone(below))


def test_kill_takes_the_group_and_other_signals_the_main_process_only(stack: Stack) -> None:
    child = stack.spawn("it", [sys.executable, "-c", STUBBORN])
    below = grandchild(stack, "it")
    stack.kill("it", signal.SIGSTOP)
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    assert psutil.Process(below.pid).status() != psutil.STATUS_STOPPED
    stack.kill("it")
    assert not child.running
    wait_until(gone(below))


def test_a_process_that_ended_by_itself_leaves_nothing_either(stack: Stack) -> None:
    code = STUBBORN.replace("time.sleep(600)\n", "sys.exit(7)\n")
    child = stack.spawn("it", [sys.executable, "-c", code])
    assert child.wait(GONE_S) == 7
    assert stack.ended() == ["it"]
    stack.remove("it")
    assert stack.ended() == []
    wait_until(
        gone(ProcessIdentity.of(int(stack.tail("it")))) if stack.tail("it") else lambda: True
    )


def test_restart_starts_the_same_again(stack: Stack) -> None:
    code = "import os, time; print(os.environ['MARK'], flush=True); time.sleep(600)"
    first = stack.spawn("it", [sys.executable, "-c", code], env={"MARK": "here"})
    wait_until(lambda: "here" in stack.tail("it"))
    second = stack.restart("it")
    wait_until(lambda: stack.tail("it").split() == ["here", "here"])
    assert not first.running
    assert second.running
    assert stack.identities() == {"it": second.identity}


def test_a_name_runs_once(stack: Stack) -> None:
    stack.spawn("it", ["sleep", "600"])
    with pytest.raises(DevstackError, match="it runs already"):
        stack.spawn("it", ["sleep", "600"])


def test_kill_minus_nine_of_the_owner_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import os, time
from pathlib import Path
from devstack.stack import Stack
stack = Stack(Path({str(tmp_path / "gone")!r}), environ=os.environ)
stack.remove_at_end()
stack.spawn("it", {[sys.executable, "-c", STUBBORN, "stubborn"]!r})
while not stack.tail("it").strip().isdigit():
    time.sleep(0.01)
print(stack.child("it").pid, stack.tail("it"), flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        left = [ProcessIdentity.of(int(word)) for word in owner.stdout.readline().split()]
        assert len(left) == 2
        owner.kill()
    for identity in left:
        wait_until(gone(identity))
    wait_until(lambda: not (tmp_path / "gone").exists())


def test_a_recycled_process_id_is_left_alone(stack: Stack) -> None:
    child = stack.spawn("it", ["sleep", "600"])
    stale = replace(child.identity, started=child.identity.started - 60)
    assert not stale.running()
    stale.end()
    assert child.running
    child.identity.end()
    assert not child.running
