"""A unit test leaves no thread behind: it would run on in the tests that follow in its process."""

import threading
from collections.abc import Iterator

import pytest

from tests.waiting import wait_for

#: The server of probes runs as long as its process, and only answers.
STAY = "probes"


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """What the test starts has ended some seconds after it."""
    before = set(threading.enumerate())

    def left() -> list[threading.Thread]:
        now = set(threading.enumerate()) - before
        return [thread for thread in now if not thread.name.startswith(STAY)]

    yield
    wait_for(lambda: not left(), timeout_s=10)
