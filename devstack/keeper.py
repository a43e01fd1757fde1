"""Ends the processes that its parent started when the parent ends, even by kill -9.

It runs as a script and uses only the standard library. It reads commands from standard input, a pipe whose
other end only the parent holds, and a child while it starts:

    maybe TARGET SIGNAL   a child that is starting: end TARGET with SIGNAL
    watch TARGET SIGNAL   the same from the parent, when the child runs
    clear                 the child did not start: forget every `maybe`
    forget TARGET         the target has ended
    remove PATH           delete this directory

A target is as in kill(2): N is a process, -N a process group. At the end of the input the keeper ends all
targets that are left. It has its own session and ignores SIGINT, SIGTERM and SIGHUP, so it outlives its
parent.
"""

import os
import shutil
import signal
import sys
import time
from typing import Final

#: How long a target may take to end after its signal, before it gets SIGKILL.
GRACE_S: Final = 5.0


def send(target: int, number: int) -> bool:
    """Signals the target. Returns False if no process is left that we may signal."""
    try:
        os.kill(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def end(targets: dict[int, int]) -> None:
    """Sends each target its signal, and SIGKILL to those that still run after GRACE_S."""
    left = [target for target, number in targets.items() if send(target, number)]
    deadline = time.monotonic() + GRACE_S
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [target for target in left if send(target, 0)]
    for target in left:
        send(target, signal.SIGKILL)


def main() -> None:
    """Waits until the parent is gone, then ends all that it left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    targets: dict[int, int] = {}
    maybe: dict[int, int] = {}
    directories: list[str] = []
    for line in sys.stdin:
        verb, _, rest = line.rstrip("\n").partition(" ")
        if verb in {"maybe", "watch"}:
            target, number = map(int, rest.split())
            (maybe if verb == "maybe" else targets)[target] = number
        if verb in {"clear", "watch"}:
            maybe.clear()
        elif verb == "forget":
            targets.pop(int(rest), None)
        elif verb == "remove":
            directories.append(rest)
    end(maybe | targets)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
