"""`make conditions`: takes every condition of the engine away, one at a time, and runs the tests.

Arguments are files of the engine, or FILE:LINE for the conditions of one line; without arguments all
files. A change is found if a fast test of its module fails, or else if a seed of the simulation breaks.
The modules that decide which record an update belongs to are changed too, but only tests judge them.
Exit codes: 0 every change is found, 1 a change survives or the list of equivalent changes is stale,
2 bad arguments.
"""

import argparse
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import pytest
from hypothesis import Phase, settings

from tests.simulation.changes import Change, changed, changes
from tests.simulation.equivalent import EQUIVALENT
from tests.simulation.fleet import prepare
from tests.simulation.schedule import run

ROOT: Final = Path(__file__).parents[2]
#: The engine, and the tests that look at each of its modules, the nearest first.
ENGINE: Final[dict[str, tuple[str, ...]]] = {
    "ingest/bridge.py": ("unit/ingest/test_bridge.py",),
    "ingest/assigned_partition.py": (
        "unit/ingest/test_assigned_partition.py",
        "unit/ingest/test_bridge.py",
    ),
    "ingest/packing.py": ("unit/ingest/test_packing.py", "unit/ingest/test_bridge.py"),
    "ingest/stream_memory.py": (
        "unit/ingest/test_stream_memory.py",
        "unit/ingest/test_bridge.py",
    ),
    "ingest/task_body.py": ("unit/workers/test_tasks.py", "unit/ingest/test_bridge.py"),
    "ingest/planner.py": ("unit/ingest/test_planner.py", "unit/ingest/test_bridge.py"),
    "notify/domain/engine/digest.py": (
        "unit/domain/test_digest.py",
        "unit/ingest/test_stream_memory.py",
    ),
    "notify/domain/engine/lanes.py": ("property/test_lanes_stable.py",),
    "notify/domain/engine/task.py": ("unit/workers/test_tasks.py",),
    "notify/domain/engine/stream.py": ("unit/domain/test_stream.py", "unit/ingest/test_bridge.py"),
    "notify/domain/engine/window.py": (
        "unit/domain/test_window.py",
        "unit/domain/test_stream.py",
        "property/test_window.py",
    ),
    "workers/apply.py": ("unit/workers/test_apply.py",),
}
#: Which record an update belongs to. The simulation compares the engine with a replay that calls these
#: modules too, so it has the same fault on both sides, and no seed can find it: only tests count.
RECORDS: Final[dict[str, tuple[str, ...]]] = {
    "notify/domain/records/aliases.py": (
        "unit/domain/test_aliases.py",
        "unit/domain/test_addresses.py",
        "unit/domain/test_logins.py",
    ),
    "notify/domain/records/logins.py": (
        "unit/domain/test_logins.py",
        "unit/domain/test_aliases.py",
    ),
}
#: All modules whose conditions are changed, and their tests.
MODULES: Final = ENGINE | RECORDS
SEEDS: Final = 1_500
#: Seconds of CPU time for one test or one seed, and bytes of memory: a change that needs more does not end.
CPU_S: Final = 20
MEMORY_BYTES: Final = 4 * 1024**3
#: No conftest and no plugin: the engine's tests need neither Django nor a service, and start at once.
_PYTEST: Final = ("-x", "-q", "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider")


class _Watch:
    """Notes the first test that fails; each has its own share of CPU time."""

    failed: str | None = None

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        _limit()

    def pytest_exception_interact(self, report: Any) -> None:
        self.failed = self.failed or report.nodeid or "a test that cannot be imported"


def _limit() -> None:
    """SIGPROF ends this process if it uses as much CPU time from now on."""
    signal.setitimer(signal.ITIMER_PROF, CPU_S)


def _look(path: str, change: Change | None, seeds: int, told: Connection) -> None:
    """Send which test or seed fails with the change; None if none does."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    _limit()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    if change is not None:
        _apply(change)
    told.send(_failing_test(path) or _broken_seed(0 if path in RECORDS else seeds))


def _failing_test(path: str) -> str | None:
    watch = _Watch()
    code = pytest.main([*_PYTEST, *(str(ROOT / "tests" / test) for test in MODULES[path])], [watch])
    return watch.failed or (
        None if code == pytest.ExitCode.OK else f"pytest, which ended with {code}"
    )


def _broken_seed(seeds: int) -> str | None:
    for seed in range(seeds):
        _limit()
        broken = run(seed)
        if broken is not None:
            return f"seed {seed}: {broken.violations[0][:60]}"
    return None


def found_by(path: str, change: Change | None, seeds: int) -> str | None:
    """What fails after the change of the module at `path`, looked for in a process of its own."""
    context = multiprocessing.get_context("fork")
    told, end = context.Pipe(duplex=False)
    process = context.Process(target=_look, args=(path, change, seeds, end))
    process.start()
    end.close()
    try:
        found: str | None = told.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGPROF:
            return f"{CPU_S} s of CPU time: it does not end"
        return f"the process, which ended with {process.exitcode}"
    process.join()
    return found


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.conditions", description=__doc__
    )
    parser.add_argument("files", nargs="*", metavar="FILE[:LINE]", help="default: the whole engine")
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help="of the simulation, for each change"
    )
    arguments = parser.parse_args(argv)
    every = [change for path in MODULES for change in changes(path, (ROOT / path).read_text())]
    wanted = _wanted(parser, arguments.files, every)
    _prepare()
    for path in dict.fromkeys(change.path for change in wanted):
        found = found_by(path, None, min(arguments.seeds, 10))
        if found is not None:
            print(f"{path}: without any change {found} fails: repair that first")
            return 1
    wrong = [change for change in wanted if not _is_well(change, arguments.seeds)]
    stale = EQUIVALENT.keys() - {change.key for change in every}
    for key in sorted(stale):
        print(f"no such change, take it from tests/simulation/equivalent.py: {key}")
    print(f"{len(wanted)} changes, {len(wrong)} of them to look at, {len(stale)} stale entries")
    return 1 if wrong or stale else 0


def _is_well(change: Change, seeds: int) -> bool:
    """Print what finds the change. False if nothing does, or if it is listed as equivalent and found."""
    began = time.monotonic()
    found = found_by(change.path, change, seeds)
    listed = change.key in EQUIVALENT
    if found is None:
        what = "equivalent" if listed else "SURVIVES"
    else:
        what = f"LISTED AS EQUIVALENT, BUT found by {found}" if listed else f"found by {found}"
    line = f"{change.path}:{change.line}: {change.condition}: {change.how}: {what}"
    print(f"{line} ({time.monotonic() - began:.1f} s)", flush=True)
    return (found is None) is listed


def _wanted(
    parser: argparse.ArgumentParser, files: Sequence[str], every: Sequence[Change]
) -> list[Change]:
    wanted = []
    for each in files or MODULES:
        path, _, line = each.partition(":")
        found = [
            change for change in every if change.path == path and line in ("", str(change.line))
        ]
        if not found:
            parser.error(f"{each} has no condition of the engine; its files: {', '.join(MODULES)}")
        wanted += found
    return wanted


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _function(names: Mapping[str, Any], path: str) -> FunctionType:
    """The function Class.method or function of a module's names."""
    found = None
    for name in path.split("."):
        found = names[name]
        names = getattr(found, "__dict__", {})
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    assert isinstance(found, FunctionType), f"{path} is no function"
    return found


def _apply(change: Change) -> None:
    """Give the engine's function the changed code; whoever has imported the function runs that."""
    module = sys.modules[_module(change.path)]
    source = changed((ROOT / change.path).read_text(), change.number)
    names: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(source, change.path, "exec"), names)
    _function(vars(module), change.function).__code__ = _function(names, change.function).__code__


def _prepare() -> None:
    """Import all that the processes share, once: the engine, its tests, and libraries."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    settings.register_profile(
        "conditions", derandomize=True, database=None, deadline=None, phases=[Phase.generate]
    )
    settings.load_profile("conditions")
    for path, tests in MODULES.items():
        for name in (path, *(f"tests/{test}" for test in tests)):
            importlib.import_module(_module(name))
    prepare()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
