"""Each row of the fault matrix. `make faults` runs all of them, `make test` in CI the fast ones.

`make faults` writes docs/reliability.md; ARGS="-k NAME" repeats a row.
"""

import os
from collections.abc import Iterator

import pytest

from devstack import apache_kafka
from devstack.services import DevstackError
from tests.qa.faults import (
    report,
    rows_clocks,
    rows_disk,
    rows_edge,
    rows_kafka,
    rows_names,
    rows_network,
    rows_poison,
    rows_postgres,
    rows_processes,
    rows_redis,
    rows_storm,
    rows_under_backlog,
)
from tests.qa.faults.matrix import ROWS, Row, Scenes, play
from tests.running import IS_APACHE

IS_ALL = os.environ.get("NOTIFY_FAULTS") == "all"
_MODULES = (
    rows_processes,
    rows_kafka,
    rows_redis,
    rows_postgres,
    rows_names,
    rows_network,
    rows_disk,
    rows_edge,
    rows_poison,
    rows_clocks,
    rows_under_backlog,
    rows_storm,
)

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def scenes() -> Iterator[Scenes]:
    """Ends the last scene after the last row."""
    if not IS_ALL and not IS_APACHE:
        pytest.skip("rows need Apache Kafka: run `make faults`, or set NOTIFY_KAFKA=apache")
    try:
        apache_kafka.jars(os.environ)
    except DevstackError as error:
        pytest.skip(str(error))
    made = Scenes()
    yield made
    made.drop()


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_nothing_is_lost_and_nothing_is_done_twice(row: Row, scenes: Scenes) -> None:
    if not (IS_ALL or row.fast):
        pytest.skip("not one of the fast rows: run `make faults`")
    if lacking := row.needs():
        pytest.skip(lacking)
    result = play(row, scenes)
    print(report.line(result))
    if IS_ALL:
        report.add(result)
