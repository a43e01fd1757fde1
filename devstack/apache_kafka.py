"""Runs Apache Kafka in KRaft mode, one broker or several, from Maven's jars. Needs a JDK 17 or newer.

`python -m devstack.apache_kafka` downloads the jars, if they are missing, and prints their directory.
"""

import shutil
import subprocess
import sys
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from os import environ as process_environ
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from devstack import ROOT
from devstack.process import Launch
from devstack.services import DevstackError, Service, free_port, kafka_service

VERSION: Final = "4.4.0"
#: Kafka is built against slf4j 1.7, whose binding to log4j 2 is log4j-slf4j-impl.
POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>notify</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.1</version>
    </dependency>
  </dependencies>
</project>
"""
LOGGING: Final = ROOT / "docker" / "standins" / "log4j2.properties"


class Listener(NamedTuple):
    """A listener of a broker: its port, the port and host that it advertises to clients, and its protocol.

    `options` are the broker's options for this listener only.
    """

    port: int
    advertised: int
    protocol: str = "PLAINTEXT"
    options: Mapping[str, str] = MappingProxyType({})
    host: str = "127.0.0.1"


def jars(environ: Mapping[str, str]) -> Path:
    """The directory of the jars. Downloads them with Maven if they are missing.

    It is NOTIFY_KAFKA_JARS, by default ~/.cache/notify-kafka/VERSION. Raises DevstackError if Maven is
    missing or fails.
    """
    default = Path.home() / ".cache" / "notify-kafka" / VERSION
    directory = Path(environ.get("NOTIFY_KAFKA_JARS", default))
    if (directory / f"kafka_2.13-{VERSION}.jar").exists():
        return directory
    if shutil.which("mvn", path=environ.get("PATH")) is None:
        raise DevstackError(
            f"Apache Kafka: {directory} has no jars, and mvn, which downloads them, is not on PATH: "
            "install Maven"
        )
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "pom.xml").write_text(POM)
    goal = (
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={partial}",
    )
    done = subprocess.run(
        ["mvn", "-B", "-q", "-f", partial / "pom.xml", *goal],
        env=dict(environ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DevstackError(
            f"Apache Kafka: Maven failed:\n{done.stdout[-2000:]}{done.stderr[-500:]}"
        )
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    return directory


def broker(
    directory: Path, environ: Mapping[str, str], port: Callable[[], int] = free_port
) -> Service:
    """One broker, ready to start. It continues the log that the directory has of a broker at this port;
    without one, its log is empty."""
    at = port()
    config = directory / "kafka" / "server.properties"
    formatted = directory / "kafka" / "data" / "meta.properties"
    address = f"127.0.0.1:{at}"
    if not formatted.exists() or f"listeners=CLIENT://{address}," not in config.read_text():
        return cluster(directory, environ, brokers=1, port=at)[0]
    return kafka_service(address, f"Apache Kafka {VERSION}", _launch(config, environ), own=address)


def cluster(
    directory: Path,
    environ: Mapping[str, str],
    *,
    brokers: int,
    listeners: Mapping[str, Listener] = MappingProxyType({}),
    scram: Sequence[str] = (),
    port: int = 0,
) -> list[Service]:
    """Brokers kafka, kafka-2, ..., which are also controllers, formatted and ready to start.

    `port` is the first broker's port, by default a free one. `listeners` are more listeners of the first
    broker, by a name in capitals. `scram` are users in the format of Kafka's storage tool:
    "SCRAM-SHA-512=[name=...,password=...]".

    The URL of each service names all brokers. With three brokers, a topic of replication factor 3 stays
    writable while one is killed. Their logs are kept in the directory.
    """
    names = ["kafka", *(f"kafka-{number}" for number in range(2, brokers + 1))]
    ports = {name: (free_port(), free_port()) for name in names}
    ports["kafka"] = (port or free_port(), free_port())
    servers = ",".join(f"127.0.0.1:{client}" for client, _ in ports.values())
    voters = ",".join(
        f"{number}@127.0.0.1:{control}:{_kafka_uuid()}"
        for number, (_, control) in enumerate(ports.values(), start=1)
    )
    cluster_id = _kafka_uuid()
    services = []
    for number, name in enumerate(names, start=1):
        home = directory / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        config = _configured(
            home,
            number,
            ports[name],
            controllers=voters,
            brokers=brokers,
            listeners=listeners if number == 1 else {},
        )
        java = _java(environ)
        storage = ("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config))
        users = [word for user in scram for word in ("--add-scram", user)]
        _format([*java, *storage, "--initial-controllers", voters, *users], environ)
        source = f"Apache Kafka {VERSION}, broker {number} of {brokers}"
        services.append(
            kafka_service(
                servers,
                source,
                _launch(config, environ),
                brokers=brokers,
                name=name,
                own=f"127.0.0.1:{ports[name][0]}",
                empty=True,
            )
        )
    return services


def _configured(
    home: Path,
    number: int,
    ports: tuple[int, int],
    *,
    controllers: str,
    brokers: int,
    listeners: Mapping[str, Listener],
) -> Path:
    """Writes the broker's configuration."""
    client, control = ports
    addresses = ",".join(voter.split("@")[1].rpartition(":")[0] for voter in controllers.split(","))
    own = {"CLIENT": Listener(client, client), "CONTROL": Listener(control, control), **listeners}
    options = {
        "process.roles": "broker,controller",
        "node.id": number,
        "listeners": ",".join(
            f"{name}://127.0.0.1:{listener.port}" for name, listener in own.items()
        ),
        "advertised.listeners": ",".join(
            f"{name}://{listener.host}:{listener.advertised}" for name, listener in own.items()
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:{listener.protocol}" for name, listener in own.items()
        ),
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROL",
        "controller.quorum.bootstrap.servers": addresses,
        "log.dirs": home / "data",
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": min(brokers, 3),
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": min(brokers, 3),
        "transaction.state.log.min.isr": min(brokers, 2),
        "share.coordinator.state.topic.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": min(brokers, 3),
        "share.coordinator.state.topic.min.isr": min(brokers, 2),
        "min.insync.replicas": min(brokers, 2),
        "group.initial.rebalance.delay.ms": 0,
    }
    for name, listener in listeners.items():
        options |= {
            f"listener.name.{name.lower()}.{key}": text for key, text in listener.options.items()
        }
    config = home / "server.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in options.items()))
    return config


def _launch(config: Path, environ: Mapping[str, str]) -> Launch:
    """How to start, and restart, the broker of this configuration."""
    home = config.parent
    argv = [*_java(environ), "-Xmx512m", "kafka.Kafka", str(config)]
    return Launch(argv, environ, home.parent / "logs" / f"{home.name}.log")


def _java(environ: Mapping[str, str]) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={LOGGING}"
    return ["java", "-XX:+UseSerialGC", logging, "-cp", f"{jars(environ)}/*"]


def _format(argv: list[str], environ: Mapping[str, str]) -> None:
    try:
        subprocess.run(argv, env=dict(environ), capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise DevstackError(
            "Apache Kafka: java is not on PATH: install a JDK 17 or newer"
        ) from error
    except subprocess.CalledProcessError as error:
        raise DevstackError(
            f"Apache Kafka: its data directory cannot be formatted: {error.stdout}{error.stderr}"
        ) from error


def _kafka_uuid() -> str:
    """A random id in Kafka's format. None starts with a hyphen: Kafka's tools would read it as an option."""
    while (text := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


if __name__ == "__main__":
    try:
        print(jars(process_environ))
    except DevstackError as failure:
        sys.exit(f"devstack: {failure}")
