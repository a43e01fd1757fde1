"""`devstack run -- CMD`: the three services around one command, and nothing left afterwards."""

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

#: How long a command that was told to stop may take before it is killed.
STOP_S: Final = 30.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The command's exit code, 128 + N where signal N ended it or us.

    The command sees the services' URLs and NOTIFY_SERVICES=1. Raises DevstackError where a service
    can't be started, OSError where the command can't.
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
    """Its exit code; meanwhile passes on the signals that tell us to stop."""
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
    """Whether Ctrl-C reaches the command without us: we share the terminal's foreground group."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
