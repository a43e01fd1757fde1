"""6,000 schedules of the whole protocol; every one ends as a serial replay of the logs.

Each run of the tests takes other seeds: pytest's header names the first, and NOTIFY_SIMULATE_FROM
repeats them.
"""

import os

import pytest

from tests.simulation.fleet import broken_in
from tests.simulation.schedule import Broken

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


def _told(broken: Broken) -> str:
    return (
        f"{broken.violations[0]}\nfor the shortest schedule: "
        f'make simulate SEEDS="{broken.seed} {broken.seed}"'
    )
