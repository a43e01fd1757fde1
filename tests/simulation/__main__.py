"""`python -m tests.simulation SEED [LAST]`: run schedules and print what they violate.

One failing seed is replayed by its number: the same schedule, step by step.
"""

import logging
import sys

import structlog

from tests.simulation.schedule import run


def main(first: int, last: int) -> int:
    """Run the seeds first..last; 1 if one of them fails."""
    failed = 0
    for seed in range(first, last + 1):
        found = run(seed)
        if found:
            failed += 1
            print(f"seed {seed}:", *found, sep="\n  ")
        elif seed % 1_000 == 0 or first == last:
            print(f"seed {seed}: the database is the serial replay of the log")
    return 1 if failed else 0


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.exit(main(int(sys.argv[1]), int(sys.argv[-1])))
