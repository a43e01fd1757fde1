"""What an SDK's sequences are played against: views with fakes, and the real stack of tests/conftest.py."""

import pytest

from tests.fake_web import Web


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)
