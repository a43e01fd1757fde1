"""Prometheus and Alertmanager with our files: what the watcher cannot tell gets to people, once."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack import ROOT
from devstack.services import free_port
from devstack.stack import Stack
from tests import alertmanager
from tests.alertmanager import START, Alertmanager, names
from tests.receivers import Hook, webhook
from tests.waiting import wait_for

LACKS = alertmanager.needs()
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
RULES = ROOT / "docker" / "prometheus"


@pytest.fixture(autouse=True)
def _there() -> None:
    if LACKS:
        assert not os.environ.get("CI"), LACKS
        pytest.skip(LACKS)


@pytest.fixture
def people() -> Iterator[Hook]:
    with webhook() as hook:
        yield hook


@pytest.fixture
def beats() -> Iterator[Hook]:
    with webhook() as hook:
        yield hook


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, environ=dict(os.environ), say=lambda line: None) as stack:
        yield stack


def environ(people: Hook, beats: Hook) -> dict[str, str]:
    return {"ALERTMANAGER_WEBHOOK_URL": people.url, "ALERTMANAGER_HEARTBEAT_URL": beats.url}


def test_a_rule_that_fires_gets_to_people_and_the_watchdog_to_its_own_receiver(
    stack: Stack, people: Hook, beats: Hook
) -> None:
    """From the rules on: no process answers Prometheus here, so ProcessGone fires."""
    found = Alertmanager(stack, environ(people, beats))
    config = yaml.safe_load((RULES / "prometheus.yml").read_text())
    config["scrape_configs"] = []
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [found.address]
    for name in config["rule_files"]:
        shutil.copy(RULES / name, stack.directory)
    file = stack.directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    prometheus = shutil.which("prometheus")
    assert prometheus, "Debian's package prometheus has promtool and prometheus"
    stack.spawn(
        "prometheus",
        [
            prometheus,
            f"--config.file={file}",
            f"--storage.tsdb.path={stack.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{free_port()}",
        ],
    )
    wait_for(lambda: "Watchdog" in names(beats.bodies), timeout_s=300)
    wait_for(lambda: "ProcessGone" in names(people.bodies), timeout_s=300)
    # Bridges and workers are gone too, and their rules fire: the watcher tells that.
    assert set(names(people.bodies)) == {"ProcessGone"}


@pytest.mark.parametrize(
    ("fired", "told"),
    [
        (["StreamHalted watch", "FetchingPaused nobody"], []),
        (
            [
                "KafkaAway watch",
                "KafkaUnderReplicated",
                "ProxyWithoutServers",
                "ProxyRefuses",
                "ExporterDown alertmanager kafka",
                "ExporterDown alertmanager redis",
            ],
            ["ExporterDown"],
        ),
        (["PostgresAway watch", "AppsOld"], []),
        (
            ["ProcessGone alertmanager web", "ProxyWithoutServers", "ProxyRefuses"],
            ["ProcessGone"],
        ),
        (
            ["ProcessGone alertmanager watch", "ProxyWithoutServers", "ProxyRefuses"],
            ["ProcessGone", "ProxyWithoutServers"],
        ),
    ],
    ids=["not its own", "Kafka", "PostgreSQL", "web", "the proxy"],
)
def test_what_the_watcher_tells_and_what_follows_from_a_cause_is_not_told(
    stack: Stack, people: Hook, beats: Hook, fired: Sequence[str], told: Sequence[str]
) -> None:
    found = Alertmanager(stack, environ(people, beats))
    labels = ("alertname", "sent_by", "job")
    for each in fired:
        words = each.split()
        alert = dict(zip(labels, [*words, *("alertmanager", "any")[len(words) - 1 :]], strict=True))
        found.fire([alert])
    # All names wait for equally long, so what is told of those before has come when this one has.
    found.fire([{"alertname": "HostDiskFull", "sent_by": "alertmanager"}])
    wait_for(lambda: {*told, "HostDiskFull"} <= {*names(people.bodies)})
    assert sorted(names(people.bodies)) == sorted([*told, "HostDiskFull"])
    assert beats.bodies == []


@pytest.mark.parametrize(
    ("url", "mails", "beat"), list(product(("", "http://h/?a=1&b"), ("", "a@b"), ("", "http://b")))
)
def test_any_receiver_may_be_left_out(tmp_path: Path, url: str, mails: str, beat: str) -> None:
    password = 'p"\\&$1'
    given = {
        "ALERTMANAGER_WEBHOOK_URL": url,
        "ALERTMANAGER_EMAILS": mails,
        "ALERTMANAGER_EMAIL_FROM": "notify@example.com",
        "ALERTMANAGER_SMTP": "relay:587",
        "ALERTMANAGER_SMTP_PASSWORD": password,
        "ALERTMANAGER_HEARTBEAT_URL": beat,
    }
    target = tmp_path / "alertmanager.yml"
    done = subprocess.run(
        [*START, target, "amtool", "check-config", target],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert target.stat().st_mode & 0o077 == 0
    told: dict[str, Any] = {
        each["name"]: each for each in yaml.safe_load(target.read_text())["receivers"]
    }
    assert [each["url"] for each in told["people"]["webhook_configs"] or ()] == [url] * bool(url)
    assert [each["auth_password"] for each in told["people"]["email_configs"] or ()] == (
        [password] * bool(mails)
    )
    assert [each["url"] for each in told["heartbeat"]["webhook_configs"] or ()] == [beat] * bool(
        beat
    )


def test_every_variable_of_the_file_is_given_by_compose() -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", (alertmanager.FOLDER / "alertmanager.yml").read_text()))
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    assert services["alertmanager"]["environment"].keys() == wanted - {"NAME"}
