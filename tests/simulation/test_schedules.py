"""6,000 schedules of the whole protocol; every one ends as a serial replay of the logs."""

import pytest

from tests.simulation.fleet import pool, spread
from tests.simulation.schedule import Broken

SCHEDULES = 6_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_database_is_the_serial_replay_of_the_logs() -> None:
    found: list[Broken] = []
    with pool() as processes:
        for _, broken in spread(range(SCHEDULES), processes):
            found += broken
    assert not found, "\n".join(map(_told, found[:3]))


def _told(broken: Broken) -> str:
    return (
        f"{broken.violations[0]}\nfor the shortest schedule: "
        f'make simulate SEEDS="{broken.seed} {broken.seed}"'
    )
