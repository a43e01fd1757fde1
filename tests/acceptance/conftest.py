"""What an SDK's sequences are played against: views with fakes, and a real stack."""

import uuid
from collections.abc import Iterator

import pytest

from devstack import product
from tests.acceptance.devices import http
from tests.fake_web import Web
from tests.running import Running, running


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


@pytest.fixture(scope="module")
def stack(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, str]]:
    """One web, one bridge, one worker, and web's URL."""
    with running(tmp_path_factory.mktemp("stack"), f"t{uuid.uuid4().hex[:10]}") as run:
        url = product.start_web(run.stack)
        product.start_bridge(run.stack)
        product.start_worker(run.stack, "worker-1")
        run.wait("web is ready", lambda: http(url, "GET", "/healthz/ready")[0] == 200)
        yield run, url
