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
    bridges = [f"bridge-{number}" for number in range(arguments.bridges)]
    costs = capacity.read_costs(arguments.costs)
    cores = os.cpu_count() or 1
    machines = Machines(
        cores, len(WORKERS), cores, [1 / PARTITIONS] * PARTITIONS, len(bridges), shared=cores
    )
    model = drain_rate(arguments.updates, machines, costs)
    with measured() as run:
        real, cpu_us = _drain(run, arguments.updates, bridges)
    print("\n".join(("", *cost_lines(cpu_us, real, cores), "")))
    off = model / real - 1
    print(f"model {model:,.0f}/s, measured {real:,.0f}/s on {cores} cores: {off:+.0%}")
    return int(abs(off) > TOLERANCE)


def cost_lines(cpu_us: Mapping[str, float], per_s: float, cores: int) -> list[str]:
    """Lines of a file of costs: microseconds an update, by part, and the share, if all parts are known."""
    lines = ["[cpu_us]", *(f"{part} = {max(us, 0.1):.1f}" for part, us in cpu_us.items())]
    if cpu_us.keys() == {*PIPELINE}:
        busy = per_s * sum(cpu_us.values()) / 1e6 / cores
        lines += ["", "[share]", f"busy = {min(busy, 1):.2f}"]
        if busy > 1:
            lines.append(f"# These parts used {busy:.2f} of {cores} cores. Do they run on others?")
    return lines


def _drain(run: Running, updates: int, bridges: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Updates a second, and what one costs each part of the pipeline, without the processes' start."""
    services = _services(run)
    preload(kafka(run), run.topic, updates, hot_share=0)
    ends = log_ends(run)
    start(run, bridges)
    own = {
        part: [psutil.Process(run.stack.child(name).pid) for name in names]
        for part, names in {"bridge": bridges, "worker": WORKERS}.items()
    }
    roots = own | {part: [process] for part, process in services.items()}
    run.wait("the first plan", lambda: bool(run.rows("SELECT 1 FROM plan_log LIMIT 1")))
    before = {part: sum(map(_cpu_s, each)) for part, each in roots.items()}
    run.wait("all applied", lambda: frontiers(run) == ends, timeout_s=DRAIN_S)
    ((took,),) = run.rows("SELECT extract(epoch FROM clock_timestamp() - min(at)) FROM plan_log")
    spent = {part: sum(map(_cpu_s, each)) - before[part] for part, each in roots.items()}
    ((rows, size),) = run.rows("SELECT count(*), pg_total_relation_size('record') FROM record")
    print(f"{rows:,} rows of {size / rows:,.0f} bytes, indexes included")
    stop(run, bridges)
    return updates / float(took), {part: cpu / updates * 1e6 for part, cpu in spent.items()}


def _services(run: Running) -> dict[str, psutil.Process]:
    """The root process of each service, if it is on this machine."""
    env = run.stack.env
    addresses = {
        "postgres": env["DATABASE_URL"],
        "kafka": f"kafka://{env['KAFKA_BOOTSTRAP_SERVERS'].partition(',')[0]}",
        "redis": env["REDIS_URL"],
    }
    listening = {
        each.laddr.port: psutil.Process(each.pid)
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr and each.pid
    }
    found = {}
    for part, address in addresses.items():
        port = urlsplit(address).port
        if port in listening:
            found[part] = listening[port]
        else:
            print(f"{part} is not measured: no process that we can see listens on port {port}")
    return found


def _cpu_s(root: psutil.Process) -> float:
    """With its children, and those of them that have ended."""
    times = root.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for each in root.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system
    return float(total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
