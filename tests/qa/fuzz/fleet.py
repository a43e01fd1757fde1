"""Many inputs, spread over processes. Each has Django, fakes and nothing else."""

import logging
import multiprocessing
import os
import signal
import traceback
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from itertools import count, islice
from typing import TYPE_CHECKING

import django
import psutil
import structlog
from structlog.typing import EventDict

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify.settings")
django.setup()

if TYPE_CHECKING:
    from tests.qa.fuzz.target import Target

#: Inputs that a process takes at a time.
SHARE = 1_000
_BUGS: deque[object] = deque(maxlen=1)


@dataclass
class Share:
    """What came of a share of inputs. `reached` are operations that were accepted, of `operations`."""

    done: int
    outcomes: Counter[str]
    reached: set[str]
    failures: list[tuple[int, str]]
    process: int
    rss_bytes: int
    operations: frozenset[str]


def prepare() -> None:
    """What a process does first: of our logs only errors count. Ctrl-C is for the parent."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR), processors=[_remember]
    )
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _target()


def _remember(logger: object, name: str, event: EventDict) -> EventDict:
    """Keep the last bug that a view logged, to show it with the input that found it."""
    _BUGS.append(event.get("exc_info"))
    raise structlog.DropEvent


def _shown() -> str:
    """The failure that is handled now, and the bug in a view that was behind it."""
    bugs = [each for each in _BUGS if isinstance(each, BaseException)]
    return "".join(line for bug in bugs for line in traceback.format_exception(bug)[-4:]) + (
        traceback.format_exc(limit=-2)
    )


@cache
def _target() -> "Target":
    from tests.qa.fuzz.target import Target  # it needs Django's settings

    target = Target()
    target.use()
    return target


def one(seed: int, number: int) -> tuple[str, str]:
    """(what does not hold of the input, else nothing; what came of it)."""
    from tests.qa.fuzz.inputs import made

    try:
        return "", _target().look(made(seed, number))
    except Exception:  # noqa: BLE001 - whatever is let out is what we look for
        return _shown(), "failed"


def run(seed: int, numbers: range) -> Share:
    """Try these inputs."""
    from tests.qa.fuzz.inputs import Request, made

    outcomes: Counter[str] = Counter()
    reached: set[str] = set()
    failures = []
    target = _target()
    for number in numbers:
        given = made(seed, number)
        _BUGS.clear()
        try:
            outcome = target.look(given)
        except Exception:  # noqa: BLE001
            outcome = "failed"
            failures.append((number, _shown()))
        outcomes[outcome] += 1
        if outcome in ("200", "202") and isinstance(given, Request) and given.is_as_asked:
            reached.add(given.asked.name)
    process = psutil.Process()
    return Share(
        done=len(numbers),
        outcomes=outcomes,
        reached=reached,
        failures=failures,
        process=process.pid,
        rss_bytes=process.memory_info().rss,
        operations=_names(),
    )


@cache
def _names() -> frozenset[str]:
    from tests.qa.fuzz.operations import operations

    return frozenset(each.name for each in operations())


def pool(processes: int | None) -> ProcessPoolExecutor:
    """One process a core, or so many."""
    return ProcessPoolExecutor(
        processes or os.cpu_count(), multiprocessing.get_context("spawn"), prepare
    )


def end(processes: ProcessPoolExecutor) -> None:
    """Nobody waits for the inputs under way."""
    for process in list((processes._processes or {}).values()):
        process.terminate()
    processes.shutdown(cancel_futures=True)


def spread(seed: int, inputs: int, processes: ProcessPoolExecutor) -> Iterator[Share]:
    """Inputs 0 to `inputs` - 1, share by share, in whatever order they end."""
    shares = (
        range(first, min(first + SHARE, inputs))
        for first in islice(count(0, SHARE), -(-inputs // SHARE))
    )
    running: set[Future[Share]] = {
        processes.submit(run, seed, share) for share in islice(shares, 2 * (os.cpu_count() or 1))
    }
    while running:
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            running |= {processes.submit(run, seed, share) for share in islice(shares, 1)}
            yield future.result()
