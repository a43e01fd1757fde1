"""`devstack run -- CMD`: starts the three services, runs a command, and stops and deletes everything."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from devstack.stack import Stack

#: How long the command may take to stop after a signal, before it is killed.
STOP_S: Final = 30.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs the command and returns its exit code; 128 + N if signal N ended it or this process.

    Its environment has the services' URLs and NOTIFY_SERVICES=1. Raises DevstackError if a service cannot
    be started, OSError if the command cannot.
    """
    try:
        for number in _SIGNALS:
            signal.signal(number, _interrupt)
        return _run_in(Path(tempfile.mkdtemp(prefix="notify-devstack-")), argv, environ)
    except _Interrupted as interrupted:
        return 128 + interrupted.number


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise _Interrupted(number)


def _run_in(directory: Path, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    directory.chmod(0o711)
    stack = Stack(directory, environ=environ, say=lambda line: print(line, file=sys.stderr))
    stack.remove_at_end()
    try:
        stack.start_services()
        return _command(stack, argv)
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        stack.stop()


def _command(stack: Stack, argv: Sequence[str]) -> int:
    with stack.foreground(argv, env=stack.env | {"NOTIFY_SERVICES": "1"}) as process:
        return _wait(process)


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """Waits for the command and returns its exit code. Passes stop signals on to it."""
    deadline: float | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        nonlocal deadline
        deadline = deadline or time.monotonic() + STOP_S
        if not (number == signal.SIGINT and _terminal_told_all()):
            process.send_signal(number)

    for number in _SIGNALS:
        signal.signal(number, pass_on)
    while True:
        try:
            code = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            if deadline and time.monotonic() > deadline:
                process.kill()
        else:
            return code if code >= 0 else 128 - code


def _terminal_told_all() -> bool:
    """Whether the terminal sends Ctrl-C to the command too: both are in its foreground group."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
