"""Child processes that are ended by id, with all they started, however this process ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from devstack import ROOT

#: How long a child may take over a clean stop before it is killed.
STOP_S: Final = 15.0
#: Two readings of one process's start time differ by less (the clock may have been set between).
START_TIME_TOLERANCE_S: Final = 1.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a child runs as where that is not us; only root can ask for it."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told apart from a later one that was given the same number."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Raises psutil.NoSuchProcess where no such process runs."""
        return cls(pid, psutil.Process(pid).create_time())

    def running(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) < START_TIME_TOLERANCE_S
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within the time."""
        deadline = time.monotonic() + timeout_s
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def end(self, number: int = signal.SIGTERM, *, timeout_s: float = STOP_S) -> None:
        """Returns with the process gone: asked by the signal, after the time killed.

        A process that leads its own group, as every Child does, takes the group with it; also
        where it ended before the rest did.
        """
        if not self.running():
            self._end_session()
            return
        leads = os.getpgid(self.pid) == self.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            self.wait(timeout_s)
            if leads:
                os.killpg(self.pid, signal.SIGKILL)
            elif self.running():
                os.kill(self.pid, signal.SIGKILL)
        self.wait(timeout_s)

    def wait_reaped(self, timeout_s: float) -> None:
        """Returns once a process that ended is no zombie any more, or after the time."""
        deadline = time.monotonic() + timeout_s
        while psutil.pid_exists(self.pid) and not self.running() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _end_session(self) -> None:
        """Kills what is left of the session that it led: its number is not given again until then.

        Where another process has the number, nothing was left. Returns with the rest gone.
        """
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE:
                return
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
                if process.pid != self.pid and os.getsid(process.pid) == self.pid:
                    process.kill()
                    left.append(process)
        psutil.wait_procs(left, timeout=STOP_S)


class Keeper:
    """Our promise that children end with us: devstack/keeper.py holds the other end of a pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin

    def start(
        self,
        argv: Sequence[str],
        number: int,
        *,
        own_group: bool = True,
        **how: Any,
    ) -> "subprocess.Popen[bytes]":
        """As Popen. Once we are gone, even while it starts, it gets the signal, later SIGKILL.

        With a group of its own (and a session), the group does. Raises OSError as Popen does.
        """
        sign = -1 if own_group else 1
        pipe = self._pipe.fileno()

        def enlist() -> None:
            os.write(pipe, b"maybe %d %d\n" % (sign * os.getpid(), number))

        try:
            process = subprocess.Popen(
                argv,
                preexec_fn=enlist,  # noqa: PLW1509 - one write, which takes no lock
                start_new_session=own_group,
                **how,
            )
        except BaseException:
            self._write("clear")
            raise
        self._write(f"watch {sign * process.pid} {int(number)}")
        return process

    def forget(self, target: int) -> None:
        """The target has ended; its number may be another's from now on."""
        self._write(f"forget {target}")

    def remove_at_end(self, directory: Path) -> None:
        """The directory goes when we are gone, and all groups with us."""
        self._write(f"remove {directory}")

    def close(self) -> None:
        """Lets the keeper do what is left to do, and waits for it."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    def _write(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(f"{line}\n".encode())
            self._pipe.flush()


class NoKeeper(Keeper):
    """For children that live on after us: nobody ends them but who knows their Identity."""

    def __init__(self) -> None:
        """Starts nothing."""

    def start(
        self, argv: Sequence[str], number: int, *, own_group: bool = True, **how: Any
    ) -> "subprocess.Popen[bytes]":
        """As Popen, in a session of its own."""
        process = subprocess.Popen(argv, start_new_session=own_group, **how)
        process.returncode = 0  # it outlives us: Popen must neither wait for it nor complain
        return process

    def close(self) -> None:
        """Ends nothing."""

    def _write(self, line: str) -> None:
        """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a process is started, so that it can be started again in the same way."""

    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path = ROOT
    account: Account | None = None
    #: What asks it to stop in order, and what stops it when nobody is left to wait for it.
    stop_signal: int = signal.SIGTERM
    orphan_signal: int = signal.SIGKILL


class Child:
    """A running Launch, leader of its own session; its output is appended to the log.

    It is reaped only after its group has been killed, so the group's number can't be another's.
    """

    def __init__(self, launch: Launch, keeper: Keeper) -> None:
        """Raises OSError where the program can't be started."""
        self.launch = launch
        self._keeper = keeper
        with launch.log.open("ab") as log:
            self._process = keeper.start(
                launch.argv,
                launch.orphan_signal,
                user=launch.account and launch.account.uid,
                group=launch.account and launch.account.gid,
                extra_groups=launch.account and [],
                env=dict(launch.env),
                cwd=launch.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.identity = Identity.of(self.pid)

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its main process runs."""
        return self._process.returncode is None and self.identity.running()

    @property
    def exit_code(self) -> int | None:
        """As subprocess gives it (-N for signal N); None before `stop`, `kill` or `wait`."""
        return self._process.returncode

    def wait(self, timeout_s: float) -> int | None:
        """The exit code of the ended process, with its group gone too; None if it still runs."""
        if self._process.returncode is None and self.identity.wait(timeout_s):
            self._reap()
        return self._process.returncode

    def signal(self, number: int) -> None:
        """To its main process alone; nothing where that has ended."""
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the whole group, as to a container; returns when it is gone."""
        if self._process.returncode is None:
            self._reap()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Asks it to stop; kills the group when it ended, or has not in time. Returns when gone."""
        self.signal(self.launch.stop_signal)
        if self._process.returncode is None:
            self.identity.wait(timeout_s)
            self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._keeper.forget(-self.pid)
