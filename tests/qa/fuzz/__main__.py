"""`make fuzz INPUTS=1000000`: requests and messages that are nearly good, spread over the cores.

It runs for so many inputs, or for SECONDS. Each input follows from SEED and its number; a failing
one is printed with the command that repeats it. Exit codes: 0 all held and memory stayed flat,
1 something did not hold, 2 bad arguments, 130 interrupted.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.qa.fuzz.fleet import Share, end, one, pool, spread
from tests.qa.fuzz.inputs import as_text, made

#: Failures after which a run stops: there is something to look at.
ENOUGH = 3
TELL_EVERY_S = 10.0
#: From this number of inputs on, each operation must have been accepted once, or the fuzz is blind
#: to what comes after its checks; and memory must have stayed flat.
LONG = 8_000
GROWTH_BYTES_MAX = 4 * 1024 * 1024
#: Sizes are compared after this share of the run, when caches are full.
WARM = 0.1


@dataclass
class Tally:
    """What came of all inputs so far; `sizes` are of each process, with the inputs done by then."""

    done: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reached: set[str] = field(default_factory=set)
    failures: list[tuple[int, str]] = field(default_factory=list)
    sizes: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    operations: frozenset[str] = frozenset()

    def add(self, share: Share) -> None:
        """One more share."""
        self.done += share.done
        self.outcomes.update(share.outcomes)
        self.reached |= share.reached
        self.failures += share.failures
        self.operations = share.operations
        self.sizes.setdefault(share.process, []).append((self.done, share.rss_bytes))

    def warm(self, process: int) -> list[int]:
        """The sizes of a process after its caches were full."""
        return [size for done, size in self.sizes[process] if done >= self.done * WARM]


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=None, help="how many; 200,000 by default")
    parser.add_argument("--seconds", type=float, default=None, help="instead of a number of inputs")
    parser.add_argument("--seed", type=int, default=None, help="by default from the clock")
    parser.add_argument("--input", type=int, default=None, help="only this one, shown")
    parser.add_argument("--processes", type=int, default=None, help="one a core by default")
    arguments = parser.parse_args(argv)
    if arguments.input is not None:
        if arguments.seed is None:
            parser.error("an input goes with its SEED")
        return _replay(arguments.seed, arguments.input)
    seed = int(time.time()) if arguments.seed is None else arguments.seed
    inputs = arguments.inputs or (200_000 if arguments.seconds is None else 10**12)
    try:
        return _fuzz(seed, inputs, arguments.seconds, arguments.processes)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def _replay(seed: int, number: int) -> int:
    with pool(1) as process:
        failure, outcome = process.submit(one, seed, number).result()
    print(as_text(made(seed, number)))
    print(failure or f"all held: {outcome}")
    return 1 if failure else 0


def _fuzz(seed: int, inputs: int, seconds: float | None, processes: int | None) -> int:
    of = f"{inputs:,} inputs" if seconds is None else f"inputs for {seconds:,.0f} s"
    print(f"fuzz: {of}, SEED={seed}", flush=True)
    began = told = time.monotonic()
    tally = Tally()
    workers = pool(processes)
    try:
        for share in spread(seed, inputs, workers):
            tally.add(share)
            now = time.monotonic()
            if now - told > TELL_EVERY_S:
                told = now
                _tell(tally, now - began)
            if len(tally.failures) >= ENOUGH or (seconds is not None and now - began > seconds):
                break
    finally:
        end(workers)
    _tell(tally, time.monotonic() - began)
    return _report(tally, seed)


def _tell(tally: Tally, seconds: float) -> None:
    rate = tally.done / max(seconds, 0.001)
    print(
        f"{tally.done:,} inputs in {seconds:,.0f} s, {rate:,.0f}/s, {len(tally.failures)} failed",
        flush=True,
    )


def _report(tally: Tally, seed: int) -> int:
    print("came of them:", ", ".join(f"{what} {n:,}" for what, n in sorted(tally.outcomes.items())))
    problems = [_shown(seed, *failure) for failure in tally.failures[:ENOUGH]]
    for process in tally.sizes:
        sizes = tally.warm(process)
        first, middle, last = (round(sizes[at] / 2**20, 1) for at in (0, len(sizes) // 2, -1))
        print(f"resident memory of process {process}: {first} MB, {middle} MB, {last} MB")
        if tally.done >= LONG and sizes[-1] - sizes[0] > GROWTH_BYTES_MAX:
            problems.append(f"process {process} grew from {first} MB to {last} MB")
    if tally.done >= LONG and (missed := sorted(tally.operations - tally.reached)):
        problems.append(f"never accepted, so hardly tried: {', '.join(missed)}")
    print(*problems, sep="\n\n")
    if not problems:
        print("all held")
    return 1 if problems else 0


def _shown(seed: int, number: int, failure: str) -> str:
    again = f"again: make fuzz SEED={seed} INPUT={number}"
    return f"{failure}\n{as_text(made(seed, number))}\n{again}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
