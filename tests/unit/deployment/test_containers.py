"""`make containers`: the parts that need no containers."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devstack import containers
from devstack.services import DevstackError
from tests.unit.deployment.test_docker import OPTIONAL, SECRETS


def test_each_stand_in_stands_for_an_image_of_the_files() -> None:
    text = (containers.STANDINS / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM .* AS (\S+)$", text, re.MULTILINE))
    assert stages - {"debian"} <= set(containers.images().values())
    # What the product needs has one, so that it runs where no image can be pulled.
    assert {"python", "kafka", "postgres", "redis", "haproxy"} <= stages


def test_every_secret_is_filled_in_and_no_receiver_of_alerts() -> None:
    filled = containers.filled((containers.DOCKER / "env.example").read_text())
    values = dict(re.findall(r"^(\w+)=(.*)$", filled, re.MULTILINE))
    made = [values[name] for name in SECRETS]
    assert all(len(value) > 32 for value in made)
    assert len(set(made)) == len(SECRETS)
    assert not any(values[name] for name in OPTIONAL)


def test_images_have_the_registry_that_is_meant() -> None:
    assert containers.qualified("redis:7-alpine") == "docker.io/library/redis:7-alpine"
    assert containers.qualified("apache/kafka:1") == "docker.io/apache/kafka:1"


def test_without_docker_and_podman_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(DevstackError, match=r"install podman \(Debian: apt"):
        containers.find({}, tmp_path)


def test_the_order_of_starts_has_every_service() -> None:
    assert {*containers.STORES, "setup", "haproxy"} <= containers.services().keys()


def test_a_trial_has_what_its_services_need_and_knows_their_ports() -> None:
    chosen = {name: containers.services()[name] for name in containers.TRIAL}
    for name, service in chosen.items():
        assert chosen.keys() >= set(service.get("depends_on", ())), name
    published = [port for service in chosen.values() for port in service.get("ports", ())]
    assert sorted(int(str(port).split(":")[-2]) for port in published) == sorted(
        containers.TRIAL_PORTS
    )
    # A trial leaves services out by their image.
    left_out = [each for name, each in containers.services().items() if name not in chosen]
    assert not {each["image"] for each in left_out} & {each["image"] for each in chosen.values()}


def test_a_trial_that_cannot_run_says_why_and_does_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert containers.main(["--trial"]) == 0
    assert "SKIPPED: no Docker daemon answers" in capsys.readouterr().out
    assert containers.main([]) == 1


def _a_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes only while the code sleeps. Returns how long it slept each time."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept))
    monkeypatch.setattr(containers, "time", clock)
    return slept


def test_a_command_that_fails_in_a_container_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    _a_clock(monkeypatch)
    said: list[str] = []

    def command() -> str:
        if len(said) < 2:
            raise DevstackError("failed to resolve host 'postgres'")
        return "an app's id"

    assert containers.repeated(command, said.append) == "an app's id"
    assert said == ["trying again: failed to resolve host 'postgres'"] * 2


def test_a_command_that_keeps_failing_is_an_error_after_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept = _a_clock(monkeypatch)

    def command() -> None:
        raise DevstackError("Kafka does not answer")

    with pytest.raises(DevstackError, match="Kafka does not answer"):
        containers.repeated(command, lambda _: None)
    assert sum(slept) == pytest.approx(containers.REPEATED_S, abs=1)


def test_a_command_that_fails_for_another_reason_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept = _a_clock(monkeypatch)

    def command() -> None:
        raise DevstackError("the topic has another number of partitions")

    with pytest.raises(DevstackError, match="partitions"):
        containers.repeated(command, lambda _: None)
    assert not slept


def _three_brokers() -> dict[str, dict[str, Any]]:
    return containers.services([containers.THREE_BROKERS])


def test_the_two_other_brokers_are_like_the_first() -> None:
    first, added = containers.services()["kafka"], _three_brokers()
    settings = first["environment"] | added["kafka"]["environment"]
    for node, name in ((2, "kafka-2"), (3, "kafka-3")):
        assert {**added[name], "environment": {}, "volumes": []} == {
            **first,
            "environment": {},
            "volumes": [],
        }
        assert added[name]["volumes"] == [f"{name}:/var/lib/kafka/data"]
        assert added[name]["environment"] == settings | {
            "KAFKA_NODE_ID": node,
            "KAFKA_ADVERTISED_LISTENERS": f"CLIENT://{name}:9092",
        }
    voters = settings["KAFKA_CONTROLLER_QUORUM_VOTERS"]
    assert voters == "1@kafka:9093,2@kafka-2:9093,3@kafka-3:9093"


def test_every_process_knows_the_three_brokers() -> None:
    added = _three_brokers()
    using = {
        name
        for name, service in containers.services().items()
        if "KAFKA_BOOTSTRAP_SERVERS" in (service.get("environment") or {})
    }
    servers = "kafka:9092,kafka-2:9092,kafka-3:9092"
    for name in using:
        assert added[name]["environment"]["KAFKA_BOOTSTRAP_SERVERS"] == servers
    assert added["setup"]["environment"]["NOTIFY_REPLICATION"] == 3
    assert added.keys() == using | {"kafka", "kafka-2", "kafka-3", "kafka-exporter"}


def test_the_services_of_several_files_are_merged() -> None:
    one = containers.services()
    both = containers.services((containers.COMPOSE, containers.THREE_BROKERS))
    assert both.keys() == one.keys() | {"kafka-2", "kafka-3"}
    assert both["kafka-3"]["image"] == both["kafka"]["image"]
    assert both["web"]["image"] == one["web"]["image"]
