"""6,000 schedules of the whole protocol; every one ends as a serial replay of the logs.

Each run of the tests takes other seeds: pytest's header names the first, and NOTIFY_SIMULATE_FROM
repeats them.
"""

import os

import pytest

from tests.simulation.fleet import broken_in
from tests.simulation.schedule import Broken, run
from tests.simulation.shrink import from_text

SCHEDULES = 6_000
#: Schedules a test: small enough that workers share them evenly.
SHARE = 250


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", range(0, SCHEDULES, SHARE))
def test_the_database_is_the_serial_replay_of_the_logs(share: int) -> None:
    first = int(os.environ["NOTIFY_SIMULATE_FROM"]) + share
    found = broken_in(range(first, first + SHARE))
    assert not found, "\n".join(map(_told, found[:3]))


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(419903, "15,18,20,23,28-29,38-39,125,131,144,146,158,161-162,171")],
    ids=["commits lost between two halts of a stream"],
)
def test_a_schedule_that_once_looked_broken_holds(seed: int, steps: str) -> None:
    assert run(seed, steps=from_text(steps)) is None


def _told(broken: Broken) -> str:
    return (
        f"{broken.violations[0]}\nfor the shortest schedule: "
        f'make simulate SEEDS="{broken.seed} {broken.seed}"'
    )
