"""Starts child processes that end, with all that they started, when this process ends in any way."""

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

#: How long a child may take to stop before it is killed.
STOP_S: Final = 15.0
#: Two readings of a process's start time may differ by this, because the clock may have been set.
START_TIME_TOLERANCE_S: Final = 1.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a child runs as. Only root can choose another one than its own."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Identifies a process, also after another process got the same id."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity":
        """The identity of a running process. Raises psutil.NoSuchProcess if there is none."""
        return cls(pid, psutil.Process(pid).create_time())

    def running(self) -> bool:
        """Whether exactly this process still runs. A zombie does not."""
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) < START_TIME_TOLERANCE_S
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False

    def wait(self, timeout_s: float) -> bool:
        """Waits until the process ends. Returns False after the timeout."""
        deadline = time.monotonic() + timeout_s
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def end(self, number: int = signal.SIGTERM, *, timeout_s: float = STOP_S) -> None:
        """Stops the process with the signal, and kills it after the timeout. Returns when it is gone.

        If it leads a process group, as every Child does, the whole group ends, also if the leader ended
        before.
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
        """Waits until an ended process is no longer a zombie, at most for the timeout."""
        deadline = time.monotonic() + timeout_s
        while psutil.pid_exists(self.pid) and not self.running() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _end_session(self) -> None:
        """Kills what is left of the session that the process led. Returns when that is gone.

        The system does not reuse the id while the session exists. So if another process has the id now,
        nothing was left.
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
    """Ends the children when this process ends. devstack/keeper.py, a separate process, does the work: it
    reads from a pipe that closes with this process."""

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
        """Starts a process like Popen. When this process ends, the child gets the signal, later SIGKILL.

        That is so even while the child starts. With `own_group`, the child has its own session and group,
        and the whole group gets the signals. Raises OSError like Popen.
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
        """Notes that the target has ended, since another process may get its id now."""
        self._write(f"forget {target}")

    def remove_at_end(self, directory: Path) -> None:
        """Deletes the directory after this process and all groups have ended."""
        self._write(f"remove {directory}")

    def close(self) -> None:
        """Lets the keeper end what is left, and waits until it has."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    def _write(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(f"{line}\n".encode())
            self._pipe.flush()


class NoKeeper(Keeper):
    """For children that outlive this process. They must be stopped by their Identity."""

    def __init__(self) -> None:
        """Starts nothing."""

    def start(
        self, argv: Sequence[str], number: int, *, own_group: bool = True, **how: Any
    ) -> "subprocess.Popen[bytes]":
        """Starts a process like Popen, in its own session."""
        process = subprocess.Popen(argv, start_new_session=own_group, **how)
        process.returncode = 0  # it outlives us: Popen must not wait for it or warn
        return process

    def close(self) -> None:
        """Ends nothing."""

    def _write(self, line: str) -> None:
        """Does nothing: there is no keeper."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a process is started, so that it can be started again in the same way."""

    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path = ROOT
    account: Account | None = None
    #: The signal for a clean stop, and the one to use if the parent is gone and nobody waits.
    stop_signal: int = signal.SIGTERM
    orphan_signal: int = signal.SIGKILL


class Child:
    """A process that was started from a Launch. It leads its own session; its output goes to the log.

    It is reaped only after its group was killed, so that no other group can get the same id.
    """

    def __init__(self, launch: Launch, keeper: Keeper) -> None:
        """Starts the process. Raises OSError if the program cannot be started."""
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
        self.identity = ProcessIdentity.of(self.pid)

    @property
    def pid(self) -> int:
        """The id of the process and of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the main process runs."""
        return self._process.returncode is None and self.identity.running()

    @property
    def exit_code(self) -> int | None:
        """The exit code as in subprocess (-N for signal N). None before `stop`, `kill` or `wait`."""
        return self._process.returncode

    def wait(self, timeout_s: float) -> int | None:
        """Waits for the end of the process, then kills its group. Returns the exit code; None if it still
        runs after the timeout."""
        if self._process.returncode is None and self.identity.wait(timeout_s):
            self._reap()
        return self._process.returncode

    def signal(self, number: int) -> None:
        """Sends a signal to the main process only, if it runs."""
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills the whole group with SIGKILL. Returns when it is gone."""
        if self._process.returncode is None:
            self._reap()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Sends the stop signal, waits for the main process at most for the timeout, then kills the group."""
        self.signal(self.launch.stop_signal)
        if self._process.returncode is None:
            self.identity.wait(timeout_s)
            self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._keeper.forget(-self.pid)
