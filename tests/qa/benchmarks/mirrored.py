"""`make bench BENCH=mirrored`: what it costs that every update is mirrored to one parent, as in the incident.

The link limit is raised. Each round has an app of its own, which is in one partition, and drains the same
updates of its records again and again: without links, with links to one parent that are new, and with the
links that exist now. At the end all updates must be counted, and the mirrored ones by the parent too.

Nothing here fails for being slow; the target is printed beside what was measured.
"""

import argparse
import random
import sys
import uuid
from collections.abc import Sequence
from statistics import median

from tests.qa.benchmarks.drain import drain_waiting, kafka, machine
from tests.qa.benchmarks.prepared import RECORDS, Target, append
from tests.qa.benchmarks.stack import measured
from tests.running import Running

#: The drains of a round, in this order. The first is not reported: it creates the rows.
ROWS, PLAIN, NEW, EXISTING = DRAINS = ("new rows", "no links", "new links", "links that exist")


def main(argv: Sequence[str]) -> int:
    """0 once all is measured."""
    parser = argparse.ArgumentParser(prog="tests.qa.benchmarks.mirrored", description=__doc__)
    parser.add_argument("--updates", type=int, default=100_000, help="of each drain")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    rates: dict[str, list[float]] = {name: [] for name in DRAINS[1:]}
    with measured() as run:
        run.limit_links(RECORDS, author="benchmark", reason="every device links to one record")
        for number in range(arguments.rounds):
            found = _round(run, number, arguments.updates)
            for name, every in rates.items():
                every.append(found[name])
        print(_report(rates, machine(run)))
    return 0


def _round(run: Running, number: int, updates: int) -> dict[str, float]:
    """Updates a second of each drain."""
    dice = random.Random(number)
    app, parent, *records = (
        str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(RECORDS + 2)
    )
    targets = [Target(app, dice.choice(records)) for _ in range(updates)]
    found = {}
    for name in DRAINS:
        own = parent if name in (NEW, EXISTING) else None
        append(kafka(run), run.topic, targets, parent=own)
        found[name] = drain_waiting(run, updates)
        print(f"round {number + 1}, {name}: {found[name]:,.0f}/s", file=sys.stderr, flush=True)
    ((mirrored,),) = run.rows(
        "SELECT mirrored_updates FROM record WHERE app = %s AND id = %s", app, parent
    )
    assert mirrored == 2 * updates, f"{mirrored} of {2 * updates} updates were mirrored"
    ((applied,),) = run.rows(
        "SELECT sum(session_count) FROM record WHERE app = %s AND id <> %s", app, parent
    )
    assert applied == len(DRAINS) * updates, f"{applied} of {len(DRAINS) * updates} were applied"
    return found


def _report(rates: dict[str, list[float]], facts: Sequence[str]) -> str:
    middle = {name: median(found) for name, found in rates.items()}
    lines = ["", "every update mirrored to one parent, updates/s (median, lowest and highest)"]
    lines += [
        f"  {name:20}{middle[name]:>10,.0f}{min(found):>10,.0f}{max(found):>10,.0f}"
        for name, found in rates.items()
    ]
    lines += [
        f"{name} / {PLAIN}: {middle[name] / middle[PLAIN]:.2f}x (target: at least 0.9x)"
        for name in (EXISTING, NEW)
    ]
    return "\n".join([*lines, "", *facts])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
