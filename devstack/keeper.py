"""Ends what its parent started, once the parent is gone in whatever way (kill -9 too).

Run as a script, standard library only. Reads lines from standard input, whose other end only the
parent and a child that is being started hold: `maybe TARGET SIGNAL` whom to end and how, said by
such a child; `watch TARGET SIGNAL` the same, said by the parent once the child runs; `clear` the
child does not run, forget every maybe; `forget TARGET` it has ended; `remove PATH` a directory to
remove. A target is as kill(2) has it: N a process, -N a group. At end of file the keeper acts on
what is left. It is in a session of its own and ignores the signals that a terminal or a polite
`kill` sends, so it outlives its parent.
"""

import os
import shutil
import signal
import sys
import time
from typing import Final

#: How long a target may take over its signal before it is killed.
GRACE_S: Final = 5.0


def send(target: int, number: int) -> bool:
    """Signals the target; False where it has no process left that we may signal."""
    try:
        os.kill(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def end(targets: dict[int, int]) -> None:
    """Sends each target its signal and, to those still there after GRACE_S, SIGKILL."""
    left = [target for target, number in targets.items() if send(target, number)]
    deadline = time.monotonic() + GRACE_S
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [target for target in left if send(target, 0)]
    for target in left:
        send(target, signal.SIGKILL)


def main() -> None:
    """Returns once the parent is gone and all that it left has been ended."""
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
