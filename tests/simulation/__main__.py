"""`make simulate SEEDS=100000`: schedules of the whole protocol, spread over the cores.

SEEDS is a number of schedules, or "FIRST LAST"; with STEPS one seed's schedule is replayed, only
those of its steps. A violation is shown as the shortest schedule that has it, and the command that
repeats it. Exit codes: 0 all held, 1 a violation, 2 bad arguments, 130 interrupted.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from tests.simulation.fleet import end, pool, prepare, spread
from tests.simulation.schedule import STEPS, Broken, run
from tests.simulation.shrink import as_text, from_text, shrink

#: Violations after which a long run stops: there is something to look at.
ENOUGH = 3
#: Seconds between two lines of progress where there is no terminal.
TELL_EVERY_S = 10.0


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    _check(parser, arguments)
    prepare()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or its processes would stay
    if arguments.steps is not None:
        return _replay(arguments.seeds[0], arguments.steps)
    first, last = arguments.seeds if len(arguments.seeds) == 2 else (0, arguments.seeds[0] - 1)
    try:
        return _simulate(range(first, last + 1))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument(
        "seeds", nargs="+", type=_natural, help="how many, or the first and the last"
    )
    parser.add_argument("--steps", type=_steps, help="replay these steps of one seed: 3,8-12,40")
    return parser


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    seeds = arguments.seeds
    if len(seeds) > 2 or (len(seeds) == 2 and seeds[0] > seeds[1]):
        parser.error("SEEDS is a number of schedules, or the first and the last seed")
    if arguments.steps is not None and len(seeds) != 1:
        parser.error("STEPS goes with one seed")


def _natural(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not a number")
    return int(text)


def _steps(text: str) -> list[int]:
    try:
        found = from_text(text)
    except ValueError:
        found = [-1]
    if not all(0 <= step < STEPS for step in found):
        raise argparse.ArgumentTypeError(f"{text} is not steps of 0-{STEPS - 1}, such as 3,8-12,40")
    return found


def _replay(seed: int, steps: Sequence[int]) -> int:
    broken = run(seed, steps=steps, traced=True)
    if broken is None:
        print(f"seed {seed}, steps {as_text(steps)}: the protocol held")
        return 0
    _show(broken)
    return 1


def _simulate(seeds: range) -> int:
    began = told = time.monotonic()
    done = 0
    found: list[Broken] = []
    is_terminal = sys.stdout.isatty()
    processes = pool()
    try:
        for share, broken in spread(seeds, processes):
            done += share
            found += broken
            now = time.monotonic()
            if is_terminal or now - told > TELL_EVERY_S or done == len(seeds):
                told = now
                _tell(done, len(seeds), now - began, len(found), in_place=is_terminal)
            if len(found) >= ENOUGH:
                break
    finally:
        end(processes)
    if is_terminal:
        print()
    for each in found[:ENOUGH]:
        print(f"\nseed {each.seed} broke at step {each.step}: {each.violations[0][:300]}")
        print("looking for the shortest schedule that does ...", flush=True)
        shortest = shrink(each)
        _show(run(shortest.seed, steps=shortest.steps, traced=True) or shortest)
    if not found:
        print(f"{done:,} schedules: in each the database is the serial replay of the log")
    return 1 if found else 0


def _tell(done: int, of: int, seconds: float, found: int, *, in_place: bool) -> None:
    rate = done / max(seconds, 0.001)
    left = (of - done) / max(rate, 0.001)
    line = f"{done:,} of {of:,} schedules, {rate:,.0f}/s, {left:,.0f} s left, {found} broken"
    print(f"\r{line:<78}" if in_place else line, end="" if in_place else "\n", flush=True)


def _show(broken: Broken) -> None:
    print(f"\nseed {broken.seed}, {len(broken.steps)} steps:")
    print(*broken.trace, sep="\n")
    print("violates:", *(found[:600] for found in broken.violations[:5]), sep="\n  ")
    print(f"again: make simulate SEEDS={broken.seed} STEPS={as_text(broken.steps)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
