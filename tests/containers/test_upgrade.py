"""An upgrade of the image under load, and the rollback, with the commands of docs/operations.md."""

import json
import time
from collections.abc import Iterator
from typing import Final

import pytest

from devstack import ROOT, containers
from devstack.containers import Engine
from tests.containers.load import AGAIN, RECORDS, Load, is_fine, records, sending, sessions, settled
from tests.waiting import wait_for

NEXT: Final = "notify:next"
#: What tells one image from the other.
LABEL: Final = "org.opencontainers.image.version"
#: Updates a second, and how many are accepted between two steps.
PER_S: Final = 100
BETWEEN: Final = 300


@pytest.fixture
def before(engine: Engine) -> Iterator[str]:
    """The image that the stack runs; docker/.env names it again at the end."""
    before = containers.name_image(NEXT)
    containers.name_image(before)
    yield before
    containers.name_image(before)


def _versions(engine: Engine, service: str) -> set[str]:
    """The label of the image of each of the service's containers."""
    found = engine.containers(service)
    assert found
    form = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    return {engine.run("inspect", "--format", form, each).strip() for each in found}


def _replace(engine: Engine, load: Load, *services: str, version: str) -> None:
    """Creates their containers anew and waits until they are healthy."""
    began = time.monotonic()
    engine.service("up", "--detach", "--no-deps", *services)
    for service in services:
        for container in engine.containers(service):
            containers.wait_healthy(engine, container)
        assert _versions(engine, service) == {version}
    took = time.monotonic() - began
    load.wait_for_more(BETWEEN)
    print(f"{', '.join(services)}: {version!r} after {took:.0f} s; {dict(load.statuses)}")


def _lag_seconds(engine: Engine) -> float:
    web = engine.containers("web")[0]
    status = json.loads(engine.run("exec", web, "python", "manage.py", "status", "--json"))
    return max((each["lag_seconds"] or 0 for each in status["partitions"]), default=0)


def test_the_image_is_upgraded_and_rolled_back_under_load(
    engine: Engine, app: str, before: str
) -> None:
    (old,) = _versions(engine, "web")
    haproxy = engine.run("inspect", "--format", "{{.Id}}", *engine.containers("haproxy"))
    dockerfile = str(containers.DOCKER / "Dockerfile")
    network = () if engine.binary == "docker" else ("--network", "host")
    engine.run(
        *("build", *network, "--file", dockerfile, "--label", f"{LABEL}=next", "--tag", NEXT),
        str(ROOT),
    )
    # HAProxy runs all the time, so every request has an answer.
    with sending(Load(app, records(RECORDS), per_s=PER_S, again=AGAIN)) as load:
        load.wait_for_more(BETWEEN)

        containers.name_image(NEXT)
        engine.service("run", "--rm", "--no-deps", "-T", "setup")
        _replace(engine, load, "worker", version="next")
        _replace(engine, load, "bridge", "watch", "flower", version="next")
        _replace(engine, load, "web", version="next")
        wait_for(lambda: is_fine(engine), timeout_s=180)

        containers.name_image(before)
        _replace(engine, load, "web", version=old)
        since = time.monotonic()
        wait_for(
            lambda: is_fine(engine) and _lag_seconds(engine) < time.monotonic() - since,
            timeout_s=180,
        )
        _replace(engine, load, "bridge", "watch", "flower", version=old)
        _replace(engine, load, "worker", version=old)
        wait_for(lambda: is_fine(engine), timeout_s=180)
    assert haproxy == engine.run("inspect", "--format", "{{.Id}}", *engine.containers("haproxy"))
    settled(engine, load)
    print(json.dumps({"sent": load.accepted, "applied": sessions(engine, load)}))
