"""The fixtures are what the clients send."""

import json
from collections import Counter

import pytest

from tests.qa.clients.drivers import COMMANDS, HERE, VERSION, Driver
from tests.qa.clients.operations import OPERATIONS
from tests.qa.clients.record import FIXTURES, recording, same
from tests.qa.clients.steps import STEPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_client_still_sends_what_was_recorded(client: Driver) -> None:
    fixture = json.loads((FIXTURES / f"{client.name}.json").read_text())
    assert same(json.loads(json.dumps(recording(client))), fixture)


def test_every_operation_is_recorded_of_every_client() -> None:
    for name in COMMANDS:
        fixture = json.loads((FIXTURES / f"{name}.json").read_text())
        sent = Counter(step["operation"] for step in fixture["steps"] if "request" in step)
        assert sent.keys() == OPERATIONS.keys()
        assert [step["step"] for step in fixture["steps"]] == [step.name for step in STEPS]
        assert fixture["version"] == VERSION
    assert f'onesignal-rust-api = "={VERSION}"' in (HERE / "rust" / "Cargo.toml").read_text()
