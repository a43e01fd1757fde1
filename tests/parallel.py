"""What `make test` runs, and how it spreads it over worker processes (pytest-xdist).

Suites that take minutes or measure time run only where they are named, one test after the other:
`make test-all` runs them all.

The tests of a file run in one worker, one after the other, so its stack is started once. Files whose
tests share nothing are split test by test. Tests marked `slow` are handed out first, or the last worker
would still be busy with one while the others have nothing left.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

#: Most slow tests wait for processes, so more workers than cores keep the cores busy.
WORKERS_PER_CORE: Final = 2
#: Every test below these paths may run in any worker.
SHARE_NOTHING: Final = (
    "tests/simulation/",
    "tests/contract/test_lanes.py",
    "tests/integration/test_watch.py",
    "tests/integration/test_watch_outage.py",
    "tests/integration/test_alertmanager.py",
    "tests/integration/test_redis_security.py",
    "tests/integration/test_releases.py",
)
QA: Final = Path(__file__).parent / "qa"
#: Collected only where an argument names their folder, or something in it.
LONG: Final = (
    *(QA / "clients" / f"test_{name}.py" for name in ("answers", "compatibility", "recorded")),
    QA / "containers",
    QA / "faults",
    QA / "rehearsal",
)


class SlowFirst(LoadScopeScheduling):  # type: ignore[misc] # xdist says nothing of its types
    """Hands out files, or single tests where a file's tests share nothing, in collection order."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(SHARE_NOTHING) else nodeid.partition("::")[0]


def workers() -> int | None:
    """For `-n auto`; None leaves it to xdist, which reads PYTEST_XDIST_AUTO_NUM_WORKERS."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return WORKERS_PER_CORE * (os.cpu_count() or 1)


def is_left_out(path: Path, arguments: Sequence[str]) -> bool:
    """Whether the path is a long suite that no argument of pytest names."""
    if path not in LONG:
        return False
    folder = QA / path.relative_to(QA).parts[0]
    named = [Path(each.partition("::")[0]).resolve() for each in arguments]
    return not any(folder in (each, *each.parents) for each in named)


def slow_first(items: list[pytest.Item]) -> None:
    """Files with slow tests come first; the order is kept otherwise."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
