"""`make bench BENCH=fairness`: how long a quiet app waits while another partition's backlog of one record is
drained, beside how long it waits when nothing else happens.

Nothing here fails for being slow; the target is printed beside what was measured.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import cycle

from tests.qa.benchmarks import lag
from tests.qa.benchmarks.drain import frontiers, kafka, log_ends, machine, start, stop
from tests.qa.benchmarks.prepared import Target, partition, preload, targets
from tests.qa.benchmarks.stack import measured
from tests.running import Running


def main(argv: Sequence[str]) -> int:
    """0 once all is measured."""
    parser = argparse.ArgumentParser(prog="tests.qa.benchmarks.fairness", description=__doc__)
    parser.add_argument("--backlog", type=int, default=400_000, help="updates of one record")
    parser.add_argument("--rate", type=int, default=200, help="updates a second of the quiet app")
    parser.add_argument("--seconds", type=int, default=8)
    arguments = parser.parse_args(argv)
    flooded = partition(next(targets(1, hot_share=1)))
    with measured() as run:
        start(run)
        run.wait("every stream is loaded", lambda: _ticked(run))
        lag.warm_broker_up(run.stack.env["DATABASE_URL"], kafka(run), run.topic)
        calm = _lag(run, arguments, flooded)
        stop(run)
        preload(kafka(run), run.topic, arguments.backlog, hot_share=1)
        start(run)
        run.wait("the backlog is read", lambda: _planned(run, flooded))
        before, began = _behind(run, flooded), time.monotonic()
        meanwhile = _lag(run, arguments, flooded)
        left = _behind(run, flooded)
        drained = (before - left) / (time.monotonic() - began)
        stop(run)
        print(_report(calm, meanwhile, arguments, left))
        print(f"the backlog drained at {drained:,.0f} updates/s")
        print("\n".join(machine(run)))
    return 0


def _quiet(flooded: int) -> Iterator[Target]:
    """The records of one app of another partition, again and again."""
    elsewhere = [each for each in targets(100_000, hot_share=0) if partition(each) != flooded]
    return cycle([each for each in elsewhere if each.app == elsewhere[0].app])


def _lag(run: Running, arguments: argparse.Namespace, flooded: int) -> lag.Lag:
    return lag.measure(
        run.stack.env["DATABASE_URL"],
        kafka(run),
        run.topic,
        per_s=arguments.rate,
        seconds=arguments.seconds,
        chosen=_quiet(flooded),
    )


def _ticked(run: Running) -> bool:
    return not run.rows("SELECT 1 FROM stream WHERE ticked_at IS NULL")


def _planned(run: Running, number: int) -> bool:
    return bool(run.rows("SELECT 1 FROM stream WHERE partition = %s AND planned > 0", number))


def _behind(run: Running, flooded: int) -> int:
    """Updates of the backlog that are not applied."""
    return log_ends(run)[flooded] - frontiers(run)[flooded]


def _report(calm: lag.Lag, meanwhile: lag.Lag, arguments: argparse.Namespace, left: int) -> str:
    lines = [
        "",
        f"lag of a quiet app with {arguments.rate} updates/s, in ms",
        f"{'':50}{'p50':>8}{'p99':>8}{'max':>8}",
    ]
    for name, each in (
        ("nothing else happens", calm),
        (f"a backlog of {arguments.backlog:,} updates drains", meanwhile),
    ):
        lines.append(f"  {name:48}{each.p50_ms:8,.0f}{each.p99_ms:8,.0f}{each.max_ms:8,.0f}")
    lines.append(f"p99 of both: {meanwhile.p99_ms / calm.p99_ms:.1f}x (target: at most 2x)")
    if not left:
        lines.append("The backlog ended before the measurement did: repeat it with more updates.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
