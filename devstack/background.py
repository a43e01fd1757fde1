"""`devstack up`, `down` and `status`: the whole stack in the background of this checkout."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from devstack import ROOT, product
from devstack.process import Identity
from devstack.services import DevstackError
from devstack.state import State, only_one, remove

#: How long `up` waits in all; NOTIFY_UP_TIMEOUT_S sets another.
UP_S: Final = 180.0
#: How long the supervisor may take to stop all before it is killed.
DOWN_S: Final = 90.0
#: How long a process may take that lost its supervisor: nobody waits for its work any more.
LEFTOVER_S: Final = 2.0
SHOWN: Final = ("WEB_URL", "ADMIN_URL", "FLOWER_URL")
Say = Callable[[str], None]


def up(home: Path, environ: Mapping[str, str], say: Say) -> None:
    """Returns with the stack ready, started now or before.

    What a stack that was killed left behind is ended first. Raises DevstackError where it does not
    come up; then nothing of it runs.
    """
    with only_one(home):
        state = State.read(home)
        if state and _healthy(state):
            say("already up")
        else:
            _end(home, state, say)
            state = _start(home, environ, say)
        for name in SHOWN:
            say(f"{name:<10} {state.env[name]}")
        say(f"log in     {product.USER} / {product.PASSWORD} (admin and Flower)")
        say(f"variables  . {_short(home / 'env')}; logs in {_short(home / 'logs')}/")


def down(home: Path, say: Say) -> None:
    """Returns with nothing of the stack running."""
    with only_one(home):
        state = State.read(home)
        if not _end(home, state, say):
            say("nothing was up")


def status(home: Path, say: Say) -> bool:
    """Says what runs; whether all of it does and web and pipeline are healthy."""
    state = State.read(home)
    if state is None or not state.supervisor.running():
        say("down")
        return False
    say(f"{state.phase}, supervised by process {state.supervisor.pid}")
    for name, identity in state.processes.items():
        say(f"{name:<10} {'runs' if identity.running() else 'ENDED'}, process {identity.pid}")
    for path in product.HEALTH:
        good = product.answers(state.env.get("WEB_URL", "http://127.0.0.1:9") + path)
        say(f"{path:<18} {'200' if good else 'not 200'}")
    for name in SHOWN:
        say(f"{name:<10} {state.env.get(name, '')}")
    return _healthy(state)


def _healthy(state: State) -> bool:
    return (
        state.phase == "ready"
        and state.supervisor.running()
        and all(identity.running() for identity in state.processes.values())
        and all(product.answers(state.env["WEB_URL"] + path) for path in product.HEALTH)
    )


def _end(home: Path, state: State | None, say: Say) -> bool:
    """Ends the supervisor, then whatever it left; whether there was anything to end."""
    running = [state.supervisor, *state.processes.values()] if state else []
    count = sum(identity.running() for identity in running)
    if count:
        say(f"stopping {count} processes")
    for identity in running:
        identity.end(timeout_s=DOWN_S if identity is running[0] else LEFTOVER_S)
    remove(home)
    return count > 0


def _start(home: Path, environ: Mapping[str, str], say: Say) -> State:
    logs = home / "logs"
    logs.mkdir(exist_ok=True)
    for log in logs.glob("*.log"):
        log.unlink()
    report = logs / "devstack.log"
    with report.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "devstack.supervisor", str(home)],
            cwd=ROOT,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        state = _follow(home, process, report, say, timeout_s=_timeout_s(environ))
    except BaseException:
        if process.poll() is None:
            Identity.of(process.pid).end(timeout_s=DOWN_S)
        process.poll()
        raise
    process.returncode = 0  # it outlives us: Popen must neither wait for it nor complain
    return state


def _follow(
    home: Path, process: "subprocess.Popen[bytes]", report: Path, say: Say, *, timeout_s: float
) -> State:
    """Says what the supervisor says, until it is ready."""
    deadline = time.monotonic() + timeout_s
    with report.open() as lines:
        while time.monotonic() < deadline:
            ended = process.poll() is not None
            for line in lines:
                say(line.rstrip("\n"))
            state = State.read(home)
            if ended:
                raise DevstackError(f"the stack did not come up: see {report}")
            if state and state.phase == "ready":
                return state
            time.sleep(0.1)
    raise DevstackError(f"not ready after {timeout_s:.0f} s (NOTIFY_UP_TIMEOUT_S): see {report}")


def _timeout_s(environ: Mapping[str, str]) -> float:
    raw = environ.get("NOTIFY_UP_TIMEOUT_S", str(UP_S))
    try:
        return float(raw)
    except ValueError:
        raise DevstackError(f"NOTIFY_UP_TIMEOUT_S={raw!r}: set it to seconds") from None


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
