"""Compares the model behind docs/capacity.md with a real drain of this machine, on these services.

    .venv/bin/python -m devstack run -- .venv/bin/python -m tests.qa.benchmarks.capacity_check

It drains prepared updates with some bridges and two workers, prints the model's rate beside the measured one,
and exits with 1 if they differ by more than a quarter. It also prints the measured CPU of an update in
bridge and workers, and the bytes of a row, for a file of costs of your own.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from notify.management import capacity
from tests.qa.benchmarks.capacity_model import Machines, drain_rate
from tests.qa.benchmarks.drain import DRAIN_S, WORKERS, frontiers, kafka, log_ends, start, stop
from tests.qa.benchmarks.prepared import preload
from tests.qa.benchmarks.stack import measured
from tests.running import PARTITIONS, Running

TOLERANCE: Final = 0.25


def main(argv: Sequence[str]) -> int:
    """0 if the model's rate is within TOLERANCE of the measured one."""
    parser = argparse.ArgumentParser(prog="tests.qa.benchmarks.capacity_check", description=__doc__)
    parser.add_argument("--updates", type=int, default=600_000)
    parser.add_argument("--bridges", type=int, default=1, choices=(1, 2, 4))
    parser.add_argument("--costs", type=Path, default=capacity.COSTS)
    arguments = parser.parse_args(argv)
    if "DATABASE_URL" not in os.environ:
        print("capacity_check: run it with `python -m devstack run --` before it", file=sys.stderr)
        return 2
    bridges = [f"bridge-{number}" for number in range(arguments.bridges)]
    costs = capacity.read_costs(arguments.costs)
    cores = os.cpu_count() or 1
    machines = Machines(
        cores, len(WORKERS), cores, [1 / PARTITIONS] * PARTITIONS, len(bridges), shared=cores
    )
    model = drain_rate(arguments.updates, machines, costs)
    with measured() as run:
        real = _drain(run, arguments.updates, bridges)
    off = model / real - 1
    print(f"model {model:,.0f}/s, measured {real:,.0f}/s on {cores} cores: {off:+.0%}")
    return int(abs(off) > TOLERANCE)


def _drain(run: Running, updates: int, bridges: Sequence[str]) -> float:
    preload(kafka(run), run.topic, updates, hot_share=0)
    ends = log_ends(run)
    start(run, bridges)
    run.wait("the first plan", lambda: bool(run.rows("SELECT 1 FROM plan_log LIMIT 1")))
    before = {name: _cpu_s(run, name) for name in (*bridges, *WORKERS)}
    run.wait("all applied", lambda: frontiers(run) == ends, timeout_s=DRAIN_S)
    ((took,),) = run.rows("SELECT extract(epoch FROM clock_timestamp() - min(at)) FROM plan_log")
    spent = {name: _cpu_s(run, name) - was for name, was in before.items()}
    workers = sum(spent[name] for name in WORKERS)
    decides = sum(spent[name] for name in bridges)
    print(f"bridges, without their start: {decides * 1e6 / updates:.0f} us of CPU an update")
    print(f"workers: {workers * 1e6 / updates:.0f} us of CPU an update")
    ((rows, size),) = run.rows("SELECT count(*), pg_total_relation_size('record') FROM record")
    print(f"{rows:,} rows of {size / rows:,.0f} bytes, indexes included")
    stop(run, bridges)
    return updates / float(took)


def _cpu_s(run: Running, name: str) -> float:
    parent = psutil.Process(run.stack.child(name).pid)
    times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
