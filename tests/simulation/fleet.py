"""Many schedules, spread over the cores."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice

import structlog

from tests.simulation.schedule import Broken, run

#: Schedules that a process takes at a time.
SHARE = 50


def prepare() -> None:
    """What a process does before its first schedule: our logs would tell of every simulated fault.

    Ctrl-C is for the parent, which ends them.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def pool() -> ProcessPoolExecutor:
    """One process a core."""
    return ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"), prepare)


def end(processes: ProcessPoolExecutor) -> None:
    """Ctrl-C, or enough found: nobody waits for the schedules under way."""
    for process in list((processes._processes or {}).values()):
        process.terminate()
    processes.shutdown(cancel_futures=True)


def broken_in(seeds: range) -> list[Broken]:
    """Those of the schedules that violate the protocol."""
    return [broken for seed in seeds if (broken := run(seed)) is not None]


def spread(seeds: range, processes: ProcessPoolExecutor) -> Iterator[tuple[int, list[Broken]]]:
    """Schedules done, and those that broke, share by share, in whatever order they end."""
    shares = (seeds[at : at + SHARE] for at in range(0, len(seeds), SHARE))
    cores = os.cpu_count() or 1
    running: dict[Future[list[Broken]], int] = {
        processes.submit(broken_in, share): len(share) for share in islice(shares, 2 * cores)
    }
    while running:
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            yield running.pop(future), future.result()
            for share in islice(shares, 1):
                running[processes.submit(broken_in, share)] = len(share)
