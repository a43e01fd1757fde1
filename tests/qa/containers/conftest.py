"""The stack in containers, started where it does not run. It is left running, with its data."""

import os
from pathlib import Path

import pytest

from devstack import containers
from devstack.containers import Engine
from devstack.services import DevstackError
from tests.qa.containers.load import known_app


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Docker or podman, with every service healthy."""
    scratch: Path = tmp_path_factory.mktemp("engine")
    try:
        engine = containers.find(os.environ, scratch)
    except DevstackError as error:
        pytest.skip(str(error))
    if not engine.containers("haproxy"):
        pytest.skip("the stack does not run: start it with `make containers`")
    return engine


@pytest.fixture
def app(engine: Engine) -> str:
    """An app that web knows."""
    return known_app(engine)
