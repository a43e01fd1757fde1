"""`devstack up`, `restart`, `down` and `status`: this checkout's stack in the background.

No supervisor restarts its processes; `.devstack/state.json` lists them.
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import psycopg

from devstack import postgres, product, unapplied
from devstack.process import Child, Launch, NoKeeper, ProcessIdentity
from devstack.services import DevstackError, free_port, is_free
from devstack.stack import FINDERS, Stack
from devstack.state import OWN, StackState, only_one, write_env

WORKERS: Final = ("worker-1", "worker-2")
PROCESSES: Final = (*WORKERS, "bridge", "web", "watch", "flower")
VARIABLES: Final = {
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "postgres": "DATABASE_URL",
    "redis": "REDIS_URL",
}
#: What the file `env` has, besides the URLs of web, admin and Flower, and the demo app.
EXPORTED: Final = (
    *VARIABLES.values(),
    *("NOTIFY_SECRET_KEY", "NOTIFY_KEY_PEPPER", "NOTIFY_TLS", "NOTIFY_NAMESPACE"),
)
SHOWN: Final = ("WEB_URL", "ADMIN_URL", "FLOWER_URL")
#: The record in the example that `up` prints.
EXAMPLE: Final = "6a1f0000-0000-4000-8000-000000000001"
#: How long `up` and `restart` wait until everything is ready; NOTIFY_UP_TIMEOUT_S overrides it.
UP_S: Final = 180.0
#: How long `down` waits until all updates in an in-memory broker are applied.
DRAIN_S: Final = 30.0
#: How long the system may take to reap a killed process.
REAPED_S: Final = 10.0
#: What a process without an HTTP port logs when it is ready.
_WORKS: Final = re.compile(r'"event": "(stream_live|watch_started|[^"]* ready\.)"')
Say = Callable[[str], None]


class Background(Stack):
    """A stack whose processes outlive this command. It uses the processes and ports in `state`.

    Each process that it starts is recorded in the state's file at once.
    """

    def __init__(self, home: Path, state: StackState, say: Say) -> None:
        super().__init__(home, environ=state.environ, say=say, keeper=NoKeeper())
        self.state = state
        self.began_down = not state.processes
        self._marks: dict[str, int] = {}
        for name, identity in state.processes.items():
            if not identity.running():
                identity.end()  # what is left of its group would keep its port
                if name == "postgres":  # it refuses to start while its predecessor is a zombie
                    identity.wait_reaped(REAPED_S)

    def port(self, name: str) -> int:
        """The port that the process had before, or a free one.

        If another program uses that port now: a stack that was down gets a free port, except Kafka, whose
        data names its port. Otherwise raises DevstackError.
        """
        port = self.state.ports.get(name) or free_port()
        if name not in self.identities() and not is_free(port):
            if name == "kafka" or not self.began_down:
                raise DevstackError(
                    f"another process listens on {name}'s port {port}: stop it, then run `make up`"
                )
            port = free_port()
        self._note(ports={**self.state.ports, name: port})
        return port

    def start(self, name: str, launch: Launch) -> Child:
        """Starts the process and records it in the state."""
        self._marks[name] = launch.log.stat().st_size if launch.log.exists() else 0
        child = super().start(name, launch)
        if name == "kafka":
            self._note(forgets=self.services[name].forgets)
        self._note(processes={**self.state.processes, name: child.identity})
        return child

    def identities(self) -> dict[str, ProcessIdentity]:
        """The running processes, whichever command started them."""
        return self.state.running()

    def ended(self) -> list[str]:
        """The processes that were started and no longer run."""
        return [name for name in self.state.processes if name not in self.identities()]

    def missing(self) -> list[str]:
        """The parts of a whole stack that do not run."""
        return [name for name in parts(self.state) if name not in self.identities()]

    def complete(self) -> None:
        """Starts what is missing and returns when everything is ready."""
        timeout_s = _timeout_s()
        product.configure(self)
        self.start_services()
        kept = self.state.env
        app = product.DemoApp(kept.get("DEMO_APP_ID", ""), kept.get("DEMO_APP_KEY", ""))
        if not (self.directory / "env").exists():
            self._say("creating tables, topic, demo app and login")
            app = product.prepare(self, app)
        if started := [name for name in PROCESSES if name in self.missing()]:
            self._say(f"starting {', '.join(started)}")
        for name in started:
            self.start_process(name)
        url = self._url("web")
        env = {
            **{name: self.env[name] for name in EXPORTED if name in self.env},
            "WEB_URL": url,
            "ADMIN_URL": f"{url}/admin/",
            "FLOWER_URL": self._url("flower"),
            "DEMO_APP_ID": app.app_id,
            "DEMO_APP_KEY": app.key,
            OWN: ",".join(
                (
                    *(each.variable for each in self.services.values() if each.launch),
                    *("NOTIFY_SECRET_KEY", "NOTIFY_KEY_PEPPER"),
                )
            ),
        }
        self._note(env=env)
        self.wait_for(*started)
        product.wait_ready(self, url, flower_url=self._url("flower"), timeout_s=timeout_s)
        write_env(self.directory, env)

    def start_process(self, name: str) -> None:
        """Starts one of PROCESSES. Does not wait until it is ready."""
        match name:
            case "bridge":
                product.start_bridge(self)
            case "web":
                product.start_web(self)
            case "watch":
                product.start_watch(self, env={"NOTIFY_ADMIN_URL": self._url("web")})
            case "flower":
                product.start_flower(self)
            case _:
                product.start_worker(self, name)

    def wait_for(self, *names: str) -> None:
        """Waits until each of these PROCESSES, which were just started, is ready.

        Raises DevstackError if one exits or is not ready in time.
        """
        deadline = time.monotonic() + _timeout_s()
        for name in names:
            while not self._works(name):
                why = "exited" if name in self.ended() else "is not ready"
                if name in self.ended() or time.monotonic() > deadline:
                    raise DevstackError(
                        f"{name} {why}. Fix the cause, then run `make restart PROCESS={name}`. "
                        f"The end of its log, {self.log(name)}:\n{self.tail(name)}"
                    )
                time.sleep(0.1)

    def end(self, *names: str) -> None:
        """Stops these processes in this order. Returns when they are gone."""
        for name in names:
            number = postgres.STOP if name == "postgres" else signal.SIGTERM
            self.state.processes[name].end(number)

    def drain(self) -> int:
        """Waits until all updates in Kafka are applied, and returns how many are not.

        Call it after web has stopped, so that no more arrive. Stops waiting after DRAIN_S, or if a process
        that is needed does not run.
        """
        began, deadline = time.time(), time.monotonic() + DRAIN_S
        while True:
            streams = unapplied.partitions(self.state.env["DATABASE_URL"])
            known = all(each.seen and each.seen.timestamp() > began for each in streams)
            left = sum(each.end - each.frontier for each in streams)
            runs = self.identities().keys()
            goes_on = {"kafka", "redis", "bridge"} <= runs and not runs.isdisjoint(WORKERS)
            if (known and not left) or not goes_on or time.monotonic() > deadline:
                return left
            time.sleep(0.2)

    def _works(self, name: str) -> bool:
        if name == "web":
            return product.answers(self._url("web") + product.HEALTH[0])
        if name == "flower":
            return product.answers(self._url("flower"), status=401)
        with self.log(name).open("rb") as log:
            log.seek(self._marks[name])
            return bool(_WORKS.search(log.read().decode(errors="replace")))

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port(name)}"

    def _note(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]
        self.state.write(self.directory)


def _timeout_s() -> float:
    raw = os.environ.get("NOTIFY_UP_TIMEOUT_S", str(UP_S))
    try:
        return float(raw)
    except ValueError:
        raise DevstackError(f"NOTIFY_UP_TIMEOUT_S={raw!r}: set it to a number of seconds") from None


def parts(state: StackState) -> list[str]:
    """The names of all that a whole stack of this state runs, in the order of their start."""
    return [*(name for name in FINDERS if not state.environ.get(VARIABLES[name])), *PROCESSES]


def up(home: Path, environ: Mapping[str, str], say: Say, *, reset: bool = False) -> None:
    """Starts what is missing of the stack and returns when it is ready. Leaves running processes alone.

    Raises DevstackError, and changes nothing, if an in-memory broker has exited and its log is lost.
    `reset` deletes all data first. If a stack that was down does not become ready, stops it again.
    """
    with only_one(home):
        if reset:
            _down(home, say, reset=True)
        state = StackState.read(home)
        if not state.processes:
            state = replace(state, environ=dict(environ))
            for log in (home / "logs").glob("*.log"):
                log.unlink()
        stack = Background(home, state, say)
        if state.log_is_lost:
            raise DevstackError(_loss(home, state))
        if state.processes:
            missing = ", ".join(stack.missing())
            say(f"not running: {missing}" if missing else "already up")
        try:
            stack.complete()
        except BaseException:
            if stack.began_down:
                stack.end(*reversed(list(stack.state.processes)))
                _gone_down(home, stack.state)
            raise
        _show(home, stack.state, say)


def restart(home: Path, name: str, say: Say) -> None:
    """Stops one process and starts it again on the same port. Returns when it is ready.

    Raises DevstackError, and stops nothing, if that is not possible.
    """
    with only_one(home):
        state = StackState.read(home)
        if not (home / "env").exists():
            raise DevstackError("the stack does not run: start it with `make up`")
        if name not in parts(state):
            given = f" (the environment sets {VARIABLES[name]})" if name in VARIABLES else ""
            raise DevstackError(
                f"no process {name!r}{given}: choose one of {', '.join(parts(state))}"
            )
        if name == "kafka" and state.forgets:
            raise DevstackError(
                "Kafka keeps its log in memory only, so a restart loses it. To start with an empty log and "
                "keep the records: `make down`, then `make up`"
            )
        stack = Background(home, state, say)
        if down := [each for each in FINDERS if each in stack.missing() and each != name]:
            raise DevstackError(f"{', '.join(down)} does not run: run `make up`, which starts it")
        if name in state.processes:
            stack.end(name)
        if name in FINDERS:
            product.configure(stack)
            stack.start_services()
        else:
            stack.env |= state.env
            stack.start_process(name)
            stack.wait_for(name)
        say(f"{name} runs, process id {stack.state.processes[name].pid}")


def down(home: Path, say: Say, *, reset: bool = False) -> None:
    """Stops the whole stack. `reset` also deletes its data."""
    with only_one(home):
        _down(home, say, reset=reset)


def status(home: Path, say: Say) -> bool:
    """Prints what runs, and how to start what does not. Returns whether all runs and is healthy."""
    state = StackState.read(home)
    if not state.processes:
        say("not running: `make up` starts it")
        return False
    missing = [name for name in parts(state) if name not in state.running()]
    for name in parts(state):
        pid = state.processes[name].pid if name in state.processes else None
        say(f"{name:<18} {'DOWN' if name in missing else f'runs, process id {pid}'}")
    sick = []
    for path in product.HEALTH if state.env else ():
        problem = product.problem(state.env["WEB_URL"] + path)
        say(f"{path:<18} {problem or '200'}")
        sick += [path] if problem else []
    for name in SHOWN:
        say(f"{name:<18} {state.env.get(name, '')}")
    if state.log_is_lost:
        say(
            "Kafka kept its log in memory and has exited, so the log is lost: `make up` shows what to do."
        )
    elif missing:
        say(f"`make up` starts {', '.join(missing)} and leaves the others alone.")
    elif sick:
        say(
            "All processes run, but not all are healthy. See the logs; `make restart PROCESS=NAME`."
        )
    return not missing and not sick


def _down(home: Path, say: Say, *, reset: bool) -> None:
    state = StackState.read(home)
    stack = Background(home, state, say)
    running = state.running()
    if running:
        say(f"stopping {', '.join(running)}")
    lost = "unknown"
    if state.forgets and not reset and state.processes and state.env:
        stack.end(*({"web"} & running.keys()))
        try:
            lost = f"{stack.drain():,}"
        except psycopg.Error as error:
            say(f"PostgreSQL does not answer, so the number of lost updates is unknown: {error}")
    stack.end(*reversed(running))
    _gone_down(home, state)
    if reset:
        postgres.forget(home)
        shutil.rmtree(home / "kafka", ignore_errors=True)
        say("deleted: records, apps and Kafka's log")
    elif not running:
        say("the stack was not running")
    elif state.forgets:
        say(
            "kept: records, apps and ports. Kafka kept its log in memory, so the log is gone; updates in "
            f"it that were not applied: {lost}"
        )
    else:
        say("kept: records, apps, ports and Kafka's log")


def _gone_down(home: Path, state: StackState) -> None:
    (home / "env").unlink(missing_ok=True)
    replace(state, processes={}, environ={}).write(home)


def _loss(home: Path, state: StackState) -> str:
    """Why `up` refuses, and what to do. Starts PostgreSQL for a moment if it does not run."""
    lines = ["Kafka has exited. It kept its log in memory, so it is lost. Nothing was changed."]
    try:
        with Stack(home, environ=state.environ, say=lambda _: None) as stack:
            if "postgres" in parts(state) and "postgres" not in state.running():
                stack.launch("postgres")
                stack.settle(stack.services["postgres"])
            url = stack.env.get("DATABASE_URL") or state.env["DATABASE_URL"]
            lines.append(unapplied.told(url))
    except (DevstackError, KeyError, psycopg.Error) as error:
        lines.append(f"How many updates were not applied is unknown: {error}")
    return "\n  ".join(
        (
            *lines,
            "To keep the records and apps, and lose those updates: make down, then make up",
            "To delete everything and start empty: make up RESET=1",
        )
    )


def _show(home: Path, state: StackState, say: Say) -> None:
    for name in SHOWN:
        say(f"{name:<10} {state.env[name]}")
    say(f"login      {product.USER} / {product.PASSWORD} (admin and Flower)")
    say(f"variables  run `. {_short(home / 'env')}` to set them in your shell")
    say(f"logs       {_short(home / 'logs')}/")
    say("Send an update as the demo app:")
    say(
        f"  curl -X PUT {state.env['WEB_URL']}/players/{EXAMPLE} -H 'Content-Type: application/json'"
        f""" -d '{{"app_id":"{state.env["DEMO_APP_ID"]}","tags":{{"level":"3"}}}}'"""
    )


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
