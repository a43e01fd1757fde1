"""Compares the model behind docs/capacity.md with a real drain of this machine, on these services.

    .venv/bin/python -m devstack run -- .venv/bin/python -m tests.qa.benchmarks.capacity_check

It drains prepared updates with some bridges and two workers, prints the model's rate beside the measured one,
and exits with 1 if they differ by more than a quarter. It also prints the bytes of a row, and what an update
cost here, as the lines of a file of costs of your own.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil

from notify.management import capacity
from tests.qa.benchmarks.capacity_model import PIPELINE, Machines, drain_rate
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
        real, cpu_us = _drain(run, arguments.updates, bridges)
    print(costs_file(cpu_us, real, cores))
    off = model / real - 1
    print(f"model {model:,.0f}/s, measured {real:,.0f}/s on {cores} cores: {off:+.0%}")
    return int(abs(off) > TOLERANCE)


def costs_file(cpu_us: Mapping[str, float], per_s: float, cores: int) -> str:
    """The lines of a file of costs that a drain measures: microseconds an update, by part, and the share."""
    busy = per_s * sum(cpu_us.values()) / 1e6 / cores
    lines = [f"{part} = {us:.0f}" for part, us in cpu_us.items()]
    return "\n".join(("[cpu_us]", *lines, "", "[share]", f"busy = {min(busy, 1):.2f}", ""))


def _drain(run: Running, updates: int, bridges: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Updates a second, and what one costs each part of the pipeline, without the processes' start."""
    preload(kafka(run), run.topic, updates, hot_share=0)
    ends = log_ends(run)
    start(run, bridges)
    processes = _processes(run, bridges)
    run.wait("the first plan", lambda: bool(run.rows("SELECT 1 FROM plan_log LIMIT 1")))
    before = {part: sum(map(_cpu_s, own)) for part, own in processes.items()}
    run.wait("all applied", lambda: frontiers(run) == ends, timeout_s=DRAIN_S)
    ((took,),) = run.rows("SELECT extract(epoch FROM clock_timestamp() - min(at)) FROM plan_log")
    spent = {part: sum(map(_cpu_s, own)) - before[part] for part, own in processes.items()}
    ((rows, size),) = run.rows("SELECT count(*), pg_total_relation_size('record') FROM record")
    print(f"{rows:,} rows of {size / rows:,.0f} bytes, indexes included")
    stop(run, bridges)
    return updates / float(took), {part: cpu / updates * 1e6 for part, cpu in spent.items()}


def _processes(run: Running, bridges: Sequence[str]) -> dict[str, list[psutil.Process]]:
    """By part of the pipeline: the first process of each, whose children belong to it."""
    own = {"bridge": bridges, "worker": WORKERS}
    services = {
        "postgres": "DATABASE_URL",
        "kafka": "KAFKA_BOOTSTRAP_SERVERS",
        "redis": "REDIS_URL",
    }
    found = {
        part: [psutil.Process(run.stack.child(name).pid) for name in names]
        for part, names in own.items()
    }
    found |= {part: [_listener(run.stack.env[name])] for part, name in services.items()}
    return {part: found[part] for part in PIPELINE}


def _listener(address: str) -> psutil.Process:
    """The process of this machine at a URL, or at `HOST:PORT`."""
    port = urlsplit(address if "//" in address else f"//{address}").port
    for each in psutil.net_connections("tcp"):
        if (
            each.status == psutil.CONN_LISTEN
            and each.laddr
            and each.laddr.port == port
            and each.pid
        ):
            return psutil.Process(each.pid)
    raise LookupError(f"no process of this machine and user listens on port {port} of {address}")


def _cpu_s(parent: psutil.Process) -> float:
    """With its children, and those of them that have ended."""
    total = 0.0
    for each in (parent, *parent.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system
    ended = parent.cpu_times()
    return total + ended.children_user + ended.children_system


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
