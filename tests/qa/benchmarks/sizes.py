"""`make bench BENCH=sizes`: what an update costs, by the rows in the table and by the lanes of a stream.

The cost is the CPU time of the whole machine while a backlog of uniform updates drains, so nothing else may
run on it. The first setting is measured again at the end, to show how much the machine has changed.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

import psutil

from tests.qa.benchmarks.contenders.cell import prepare
from tests.qa.benchmarks.contenders.filled import fill
from tests.qa.benchmarks.contenders.shapes import Shape
from tests.qa.benchmarks.drain import DRAIN_S, frontiers, log_ends, machine, start, stop
from tests.qa.benchmarks.stack import measured
from tests.running import Running


class Setting(NamedTuple):
    """Rows in the table, all of them as likely, and lanes of a stream."""

    rows: int
    lanes: int


class Cost(NamedTuple):
    """Of one drain."""

    cpu_us: float
    per_s: float


SETTINGS: Final = (
    *(Setting(rows, 8) for rows in (10_000, 100_000, 1_000_000, 10_000_000)),
    *(Setting(100_000, lanes) for lanes in (4, 16, 64)),
    Setting(10_000, 8),
)


def main(argv: Sequence[str]) -> int:
    """0 once all is measured."""
    parser = argparse.ArgumentParser(prog="tests.qa.benchmarks.sizes", description=__doc__)
    parser.add_argument("--updates", type=int, default=60_000, help="of each drain")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    print(f"{'rows':>12}{'lanes':>8}{'CPU us an update':>20}{'updates/s':>12}")
    for setting in SETTINGS:
        with measured({"NOTIFY_LANES": str(setting.lanes)}) as run:
            shape = Shape(f"rows-{setting.rows}", "", "", records=setting.rows, filled=True)
            fill(run, shape, "record")
            costs = [
                _drain(run, shape, arguments.updates, seed) for seed in range(arguments.rounds)
            ]
            cpu_us = median(cost.cpu_us for cost in costs)
            per_s = median(cost.per_s for cost in costs)
            print(
                f"{setting.rows:>12,}{setting.lanes:>8}{cpu_us:>20.0f}{per_s:>12,.0f}", flush=True
            )
            facts = machine(run)
    print("\n".join(facts))
    return 0


def _drain(run: Running, shape: Shape, updates: int, seed: int) -> Cost:
    """From the first plan on, when all processes run."""
    prepare(run, shape, updates, seed=seed)
    ends = log_ends(run)
    ((since,),) = run.rows("SELECT clock_timestamp()")
    start(run)
    run.wait(
        "the first plan", lambda: bool(run.rows("SELECT 1 FROM plan_log WHERE at > %s", since))
    )
    left = sum(ends.values()) - sum(frontiers(run).values())
    began, busy = time.monotonic(), _busy_s()
    run.wait("all applied", lambda: frontiers(run) == ends, timeout_s=DRAIN_S)
    took, spent = time.monotonic() - began, _busy_s() - busy
    stop(run)
    return Cost(spent / left * 1e6, left / took)


def _busy_s() -> float:
    """The CPU time of all cores that was not idle."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
