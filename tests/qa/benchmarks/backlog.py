"""`make bench BENCH=backlog`: the memory of a bridge while it drains a backlog of one record."""

import argparse
import sys
import time
from collections.abc import Sequence
from statistics import mean
from typing import Final

import psutil

from tests.qa.benchmarks.drain import frontiers, kafka, log_ends, machine, start, stop
from tests.qa.benchmarks.prepared import preload
from tests.qa.benchmarks.stack import measured
from tests.running import Running

#: The parts of the drain whose memory is shown.
PARTS: Final = 10
_MB: Final = 1024 * 1024


def main(argv: Sequence[str]) -> int:
    """0 once all is measured."""
    parser = argparse.ArgumentParser(prog="tests.qa.benchmarks.backlog", description=__doc__)
    parser.add_argument("--updates", type=int, default=4_800_000, help="of one record")
    arguments = parser.parse_args(argv)
    with measured() as run:
        preload(kafka(run), run.topic, arguments.updates, hot_share=1)
        print(_report(_drain(run, arguments.updates), machine(run)))
    return 0


def _drain(run: Running, updates: int) -> tuple[list[list[int]], float]:
    """The bridge's resident bytes, sampled, for each part of the drain; and updates a second."""
    ends = log_ends(run)
    start(run)
    bridge = psutil.Process(run.stack.child("bridge").pid)
    found: list[list[int]] = [[] for _ in range(PARTS)]
    began = time.monotonic()
    while (now := frontiers(run)) != ends:
        applied = sum(now.values())
        found[min(PARTS * applied // updates, PARTS - 1)].append(bridge.memory_info().rss)
        time.sleep(0.5)
    took = time.monotonic() - began
    stop(run)
    return found, updates / took


def _report(drained: tuple[list[list[int]], float], facts: Sequence[str]) -> str:
    found, per_s = drained
    lines = ["the bridge's memory in MB while a backlog of one record drains", ""]
    lines.append(f"{'part':>6}{'mean':>8}{'most':>8}")
    for part, sizes in enumerate(found, start=1):
        if sizes:
            lines.append(f"{part}/{PARTS:<3}{mean(sizes) / _MB:>8.0f}{max(sizes) / _MB:>8.0f}")
    return "\n".join([*lines, "", f"{per_s:,.0f} updates/s, with the start", *facts])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
