"""Waiting for what becomes true."""

import time
from collections.abc import Callable


def wait_for(holds: Callable[[], bool], *, timeout_s: float = 180, every_s: float = 0.05) -> None:
    """Returns once it holds; fails where it does not in time.

    The time limit is for a busy machine: it costs nothing where the test passes.
    """
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(every_s)
