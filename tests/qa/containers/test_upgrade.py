"""The image is upgraded and rolled back under load, with the commands of docs/operations.md."""

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from typing import Final

import pytest

from devstack import ROOT, containers
from devstack.containers import Engine
from tests.qa.containers.load import RECORDS, Load, is_fine, records, sending, sessions, settled
from tests.waiting import wait_for

#: The new release: the same code under another name.
NEXT: Final = "notify:next"
#: Tells one image from the other.
LABEL: Final = "org.opencontainers.image.version"
#: Updates a second, and how many are accepted between two commands.
PER_S: Final = 100
BETWEEN: Final = 300
OURS: Final = ("web", "web-2", "bridge", "watch", "flower", "worker")
#: Containers start slowly on a busy machine.
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def before(engine: Engine) -> Iterator[str]:
    """The image that the stack runs; docker/.env names it again at the end."""
    text = containers.ENV.read_text()
    named = re.search(r"^NOTIFY_IMAGE=(.*)$", text, re.MULTILINE)
    yield "notify" if named is None else named[1]
    containers.ENV.write_text(text)


def _commands() -> tuple[list[str], list[str]]:
    """Those of the upgrade and of the rollback, from the document."""
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text.partition("\n### With Docker Compose\n")[2].partition("\n## ")[0]
    upgrade, rollback = re.findall(r"^```\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return upgrade.splitlines(), rollback.splitlines()


def _do(engine: Engine, command: str) -> None:
    """Runs one of the commands, with this machine's engine in place of Docker."""
    match shlex.split(command):
        case ["docker", "compose", "-f", "docker/compose.yaml", ("run" | "exec") as verb, *words]:
            containers.repeated(lambda: engine.service(verb, "-T", *words), print)
        case ["docker", "compose", "-f", "docker/compose.yaml", *words]:
            engine.service(*words)
            for service in set(words) & set(OURS):
                for container in engine.containers(service):
                    containers.wait_healthy(engine, container)
        case ["docker", "build", *words]:
            network = () if engine.binary == "docker" else ("--network", "host")
            engine.run("build", *network, "--label", f"{LABEL}=next", *words)
        case words:
            compose = shlex.join(engine.compose_command)
            subprocess.run(words, cwd=ROOT, env={**engine.environ, "COMPOSE": compose}, check=True)


def _versions(engine: Engine) -> set[str]:
    """The labels of the images that our containers run."""
    form = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    found = [each for service in OURS for each in engine.containers(service)]
    return {engine.run("inspect", "--format", form, each).strip() for each in found}


def _lag_seconds(engine: Engine) -> float:
    web = engine.containers("web")[0]
    command = ("exec", web, "python", "manage.py", "status", "--json")
    status = json.loads(containers.repeated(lambda: engine.run(*command), print))
    return max((each["lag_seconds"] or 0 for each in status["partitions"]), default=0)


def _wait_for_the_old_web(engine: Engine) -> None:
    """Returns when no update of the new web waits."""
    since = time.monotonic()
    wait_for(
        lambda: is_fine(engine) and _lag_seconds(engine) < time.monotonic() - since, timeout_s=180
    )


def test_the_image_is_upgraded_and_rolled_back_under_load(
    engine: Engine, app: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (old,) = _versions(engine)
    upgrade, rollback = _commands()
    # No status but 200, and no request without an answer.
    with sending(Load(app, records(RECORDS), per_s=PER_S, again=frozenset())) as load:

        def follow(command: str) -> None:
            began = time.monotonic()
            load.wait_for_more(BETWEEN)
            _do(engine, command)
            print(f"{time.monotonic() - began:.0f} s, {dict(load.statuses)}: {command}", flush=True)

        for command in upgrade:
            if command.endswith("status"):
                wait_for(lambda: is_fine(engine), timeout_s=180)
            follow(command.replace("notify:NEW", NEXT))
        assert _versions(engine) == {"next"}

        for command in rollback:
            if command.endswith("bridge watch flower"):
                _wait_for_the_old_web(engine)
            if command.endswith("status"):
                wait_for(lambda: is_fine(engine), timeout_s=180)
            follow(command.replace("notify:OLD", before))
        assert _versions(engine) == {old}
    settled(engine, load)
    assert set(load.statuses) == {200}
    print(json.dumps({"sent": load.accepted, "applied": sessions(engine, load)}))
