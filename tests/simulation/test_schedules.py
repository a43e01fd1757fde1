"""2,000 schedules of the whole protocol; every one ends as a serial replay of the log."""

import pytest

from tests.simulation.schedule import run

GROUPS = 20
SCHEDULES = 2_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", range(GROUPS))
def test_the_database_is_the_serial_replay_of_the_log(group: int) -> None:
    for seed in range(group, SCHEDULES, GROUPS):
        found = run(seed)
        assert not found, f"seed {seed} (python -m tests.simulation {seed}): {found[:3]}"
