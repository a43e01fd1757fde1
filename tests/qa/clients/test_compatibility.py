"""Each official client lives one customer's life on the running product.

NOTIFY_COMPATIBILITY=write puts what came of it into docs/compatibility.md.
"""

import os
from datetime import UTC, datetime

import pytest

from devstack import apache_kafka
from tests.qa.clients import report
from tests.qa.clients.drivers import COMMANDS, VERSION, Driver
from tests.qa.clients.life import CHECKS, Life
from tests.qa.clients.operations import OPERATIONS
from tests.running import IS_APACHE, Running


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_operation_has_its_effect(client: Driver, stack: tuple[Running, str]) -> None:
    run, url = stack
    life = Life(client, run, url, run.app.app_id, run.app.key)
    operations: dict[str, str] = {}
    try:
        for check in CHECKS:
            operations[check.operation] = "fails"
            check.play(life)
            operations[check.operation] = report.WORKS
    finally:
        if os.environ.get("NOTIFY_COMPATIBILITY") == "write":
            report.add(
                client.name,
                {
                    "version": client.version,
                    "on": client.on,
                    "services": services(run),
                    "date": datetime.now(UTC).date().isoformat(),
                    "operations": operations,
                },
            )
    assert client.version == VERSION


def services(run: Running) -> str:
    """What the product ran on."""
    (version,) = run.rows("SHOW server_version")[0]
    kafka = f"Apache Kafka {apache_kafka.VERSION}" if IS_APACHE else "the embedded broker"
    return f"{kafka}, PostgreSQL {version.split()[0]}"


def test_every_operation_is_checked_once() -> None:
    assert sorted(check.operation for check in CHECKS) == sorted(OPERATIONS)


def test_the_page_shows_the_results() -> None:
    assert report.PAGE.read_text() == report.page()


def test_every_result_holds() -> None:
    assert list(report.read()) == list(COMMANDS)
    for name, result in report.read().items():
        assert result["version"] == VERSION, name
        assert result["operations"] == dict.fromkeys(result["operations"], report.WORKS), name
        assert result["operations"].keys() == OPERATIONS.keys(), name
