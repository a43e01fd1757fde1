"""Clients for tests: skipped with a reason where this machine cannot run one; in CI that fails."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.qa.clients.drivers import COMMANDS, Driver, Lacking, Missing, driver

#: Needs a compiler that Debian's own packages are too old for.
_OPTIONAL = "rust"


@pytest.fixture(scope="session")
def _drivers() -> Iterator[tuple[ExitStack, dict[str, Driver | Missing]]]:
    with ExitStack() as running:
        yield running, {}


@pytest.fixture(scope="session", params=COMMANDS)
def client(
    request: pytest.FixtureRequest, _drivers: tuple[ExitStack, dict[str, Driver | Missing]]
) -> Driver:
    """Each client in turn, started once."""
    running, started = _drivers
    name: str = request.param
    if name not in started:
        try:
            started[name] = running.enter_context(driver(name))
        except Missing as missing:
            started[name] = missing
    found = started[name]
    if isinstance(found, Driver):
        return found
    if os.environ.get("CI") == "true" and not (name == _OPTIONAL and isinstance(found, Lacking)):
        pytest.fail(f"the {name} client: {found}")
    pytest.skip(f"the {name} client: {found}")
