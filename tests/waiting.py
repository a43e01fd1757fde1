"""Waiting for what becomes true."""

import time
from collections.abc import Callable


def wait_for(holds: Callable[[], bool], *, timeout_s: float = 60) -> None:
    """Returns once it holds; fails where it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.1)
