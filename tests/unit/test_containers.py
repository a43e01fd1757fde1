"""`make containers`: the parts that need no containers."""

import re
import shutil
from pathlib import Path

import pytest

from devstack import containers
from devstack.services import DevstackError
from tests.unit.test_docker import OPTIONAL, SECRETS


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
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DevstackError, match=r"install podman and podman-compose \(Debian: apt"):
        containers.find({}, tmp_path)


def test_the_order_of_starts_has_every_service() -> None:
    assert {*containers.STORES, "setup", "haproxy"} <= containers.services().keys()
