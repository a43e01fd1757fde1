"""The address of the port of metrics and health: what processes bind, and what a wrong one is answered."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
import pytest
from django.core.exceptions import ImproperlyConfigured

from devstack import ROOT
from devstack.services import free_port
from notify import env
from notify.telemetry import probes
from tests.waiting import wait_for

#: An address of this host that is not the default.
OTHER: Final = "127.0.0.2"
#: Nothing listens there: a process serves its port before it connects to anything.
SERVICES: Final = {
    "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x",
    "REDIS_URL": "redis://u:p@127.0.0.1:1/0",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
}
COMMANDS: Final = {
    "bridge": ("manage.py", "bridge"),
    "worker": ("-m", "celery", "-A", "notify", "worker", "--pool=solo"),
    "watch": ("manage.py", "watch"),
}


@contextmanager
def _started(process: str, output: Path, port: int) -> Iterator[psutil.Popen]:
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environ |= SERVICES | {"NOTIFY_METRICS_HOST": OTHER, "NOTIFY_METRICS_PORT": str(port)}
    with output.open("wb") as file:
        child = psutil.Popen(
            [sys.executable, *COMMANDS[process]],
            cwd=ROOT,
            env=environ,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield child
    finally:
        with suppress(psutil.NoSuchProcess):
            child.kill()
        child.wait()


def _lives(host: str, port: int) -> bool:
    """Reads until the server closes, so the closed connection stays for a while at its port."""
    try:
        with socket.create_connection((host, port), timeout=30) as client:
            client.sendall(b"GET /healthz/live HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize("process", COMMANDS)
def test_a_process_binds_the_address_of_its_setting_and_no_other(
    process: str, tmp_path: Path
) -> None:
    port = free_port()
    with _started(process, tmp_path / "output", port) as child:
        wait_for(lambda: child.poll() is not None or _lives(OTHER, port))
        assert child.poll() is None, (tmp_path / "output").read_text()
        bound = {
            tuple(each.laddr)
            for each in child.net_connections("inet")
            if each.status == psutil.CONN_LISTEN
        }
    assert bound == {(OTHER, port)}
    # The next start is not refused because of connections to the last one.
    assert _serve(OTHER, port) == port


@pytest.mark.parametrize("process", COMMANDS)
def test_a_process_whose_port_is_taken_says_so_and_ends(process: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((OTHER, 0))
        taken.listen()
        with _started(process, tmp_path / "output", taken.getsockname()[1]) as child:
            assert child.wait(timeout=60) != 0
    said = (tmp_path / "output").read_text()
    assert f"cannot listen on {OTHER} port" in said
    assert "Set NOTIFY_METRICS_HOST to an address of this host" in said
    assert "Traceback" not in said


def _serve(host: str, port: int = 0) -> int:
    return probes.serve(
        port, host=host, scrape=lambda: b"", content_type="text/plain", problem=lambda: None
    )


def test_an_address_may_be_of_ipv6() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this host has no IPv6")
    assert _lives("::1", _serve("::1"))


def test_all_addresses_of_both_versions() -> None:
    assert _lives(OTHER, _serve("0.0.0.0"))
    if socket.has_dualstack_ipv6():
        assert _lives(OTHER, _serve("::"))


def test_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS server that does not answer would delay the start of every process."""

    def look_up(name: str = "") -> str:
        raise AssertionError(f"{name} was looked up")

    monkeypatch.setattr(socket, "getfqdn", look_up)
    assert _lives(OTHER, _serve(OTHER))


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 70_000)])
def test_what_cannot_be_bound_is_said(host: str, port: int) -> None:
    with pytest.raises(
        probes.CannotListen, match=rf"on {host} port {port}: .* NOTIFY_METRICS_PORT"
    ):
        _serve(host, port)


@pytest.mark.parametrize("wrong", ["", "localhost", "*", "127.0.0.1:9101", "127.0.0.300"])
def test_an_address_that_is_none_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_METRICS_HOST", wrong)
    with pytest.raises(ImproperlyConfigured, match=r"NOTIFY_METRICS_HOST=.*IP address"):
        env.address("NOTIFY_METRICS_HOST", "127.0.0.1")


@pytest.mark.parametrize("good", ["127.0.0.1", "10.0.0.7", "0.0.0.0", "::", "fd00::7"])
def test_an_address_is_taken(good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_METRICS_HOST", good)
    assert env.address("NOTIFY_METRICS_HOST", "127.0.0.1") == good
