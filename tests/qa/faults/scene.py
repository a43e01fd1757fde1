"""The stack that a row acts on: real services and real processes, with watch and load.

Services are Apache Kafka, and PostgreSQL and Redis of this machine, started for the scene alone.
"""

import json
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import redis

from devstack import product
from devstack.apache_kafka import Listener
from devstack.product import DemoApp
from devstack.services import free_port
from devstack.stack import Stack
from notify.domain.engine.window import WINDOW_OFFSETS
from notify.kafka.topic import TopicError, Topics
from tests.qa.faults.backlog import Backlog
from tests.qa.faults.checks import Message, Verdict, judge, read_topic
from tests.qa.faults.load import Call, Load, Outcome
from tests.qa.faults.name_server import NameServer
from tests.qa.faults.watch import Bounds, Look, Watch
from tests.qa.faults.wire import Wire

PARTITIONS: Final = 4
APPS: Final = 4
#: Seconds of plain traffic before a fault.
WARM_S: Final = 2.0
#: After a fault everything must have drained in this time, or the row has failed anyway.
DRAIN_S: Final = 120.0
#: Time limits of rows hold for a machine that does nothing else, which `make faults` measures. Elsewhere a
#: row that takes longer has not failed.
PATIENCE: Final = 1 if os.environ.get("NOTIFY_FAULTS") == "all" else 5
_SERVICE_VARIABLES: Final = ("DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS")


class Kind(StrEnum):
    """What a scene is made of."""

    ONE = "one broker"
    THREE = "three brokers"
    WIRED = "one broker, wires between the parts"
    NAMED = "one broker, wires between the parts, a name server"
    BACKLOG = "one broker, a backlog"
    STORM = "one broker, wires between the parts, a backlog"
    EMBEDDED = "the embedded broker, a backlog"


WITH_WIRES: Final = (Kind.WIRED, Kind.NAMED, Kind.STORM)
WITH_BACKLOG: Final = (Kind.BACKLOG, Kind.STORM, Kind.EMBEDDED)


class Scene:
    """One stack with `web`, bridges `bridge-1`, `bridge-2` and workers `worker-1`, `worker-2`."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.rows_run = 0
        self.wires: dict[tuple[str, str], Wire] = {}
        self.names: NameServer | None = None
        self._messages: list[Message] = []
        self._read_to = dict.fromkeys(range(PARTITIONS), 0)
        self._poisoned: set[tuple[str, str]] = set()
        self._load: Load | None = None
        self._watch: Watch | None = None
        self._undo: list[Callable[[], None]] = []
        self._at_close: list[Callable[[], None]] = []
        self.directory = Path(tempfile.mkdtemp(prefix="notify-faults-"))
        self.directory.chmod(0o711)
        environ = {
            name: text for name, text in os.environ.items() if name not in _SERVICE_VARIABLES
        }
        is_embedded = kind is Kind.EMBEDDED
        environ |= {
            "NOTIFY_KAFKA": "" if is_embedded else "apache",
            "NOTIFY_EMBEDDED": "1" if is_embedded else "0",
            "NOTIFY_NAMESPACE": "faults",
            "NOTIFY_PARTITIONS": str(PARTITIONS),
            # The oracle names every record.
            "NOTIFY_REFUSED_RECORDS": "1000000",
            "DJANGO_SETTINGS_MODULE": "notify.settings",
        }
        if kind is Kind.THREE:
            environ["NOTIFY_REPLICATION"] = "3"
        self.stack = Stack(self.directory, environ=environ, say=lambda line: None)
        self.stack.remove_at_end()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        stack = self.stack
        listeners = {}
        if self.kind is Kind.NAMED:
            self.names = NameServer(("kafka", "postgres", "redis"), self.directory)
            self.at_close(self.names.close)
            stack.prefix = self.names.prefix
        if self.kind in WITH_WIRES:
            for part in ("web", "bridge"):
                wire = self.wires[part, "kafka"] = Wire(free_port())
                listeners[part.upper()] = Listener(wire.target, wire.port, host=self._host("kafka"))
        if self.kind is not Kind.EMBEDDED:
            stack.start_cluster(brokers=3 if self.kind is Kind.THREE else 1, listeners=listeners)
        stack.start_services()
        product.configure(stack)
        first = product.prepare(stack)
        self.apps = [first, *(self._app(number) for number in range(1, APPS))]
        self.topic = f"{stack.env['NOTIFY_NAMESPACE']}-sdk-updates"
        self.servers = stack.env["KAFKA_BOOTSTRAP_SERVERS"]
        self.dsn = stack.env["DATABASE_URL"]
        self.redis_url = stack.env["REDIS_URL"]
        if self.kind in WITH_WIRES:
            for part, service in (
                ("web", "postgres"),
                ("bridge", "postgres"),
                ("worker", "postgres"),
                ("web", "redis"),
                ("bridge", "redis"),
                ("worker", "redis"),
            ):
                url = self.dsn if service == "postgres" else self.redis_url
                self.wires[part, service] = Wire(urlsplit(url).port or 0)
        self.web_urls = [product.start_web(stack, env=self.env_of("web"))]
        for number in (1, 2):
            product.start_bridge(stack, f"bridge-{number}", env=self.env_of("bridge"))
            product.start_worker(stack, f"worker-{number}", env=self.env_of("worker"))
        product.wait_ready(stack, self.web_urls[0], timeout_s=300)
        self.backlog = Backlog(self.servers, self.topic, partitions=PARTITIONS)
        self.at_close(self.backlog.close)

    def env_of(self, part: str) -> dict[str, str]:
        """Where the part finds its services: through its wires, if it has any."""
        found = {}
        for (of, service), wire in self.wires.items():
            if of != part:
                continue
            address = f"{self._host(service)}:{wire.port}"
            if service == "kafka":
                found["KAFKA_BOOTSTRAP_SERVERS"] = address
            else:
                variable = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}[service]
                url = urlsplit(self.stack.env[variable])
                account = url.netloc.rpartition("@")[0]
                netloc = f"{account}@{address}" if account else address
                found[variable] = urlunsplit(url._replace(netloc=netloc))
        return found

    def _host(self, service: str) -> str:
        """Where a part finds the wire to the service: by its name, if there is a name server."""
        return service if self.names else "127.0.0.1"

    def _app(self, number: int) -> DemoApp:
        made = json.loads(product.manage(self.stack, "app", "create", f"App {number}", "--json"))
        return DemoApp(made["id"], made["key"])

    def close(self) -> None:
        """End all of it."""
        self.undo()
        self.stack.stop()
        for wire in self.wires.values():
            wire.close()
        while self._at_close:
            self._at_close.pop()()
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- what rows do ----------------------------------------------------------------------------

    def later(self, act: Callable[[], None]) -> None:
        """Do it when the row has ended, in whatever way."""
        self._undo.append(act)

    def at_close(self, act: Callable[[], None]) -> None:
        """Do it when nothing of the scene runs any more."""
        self._at_close.append(act)

    def undo(self) -> None:
        """Do what was put off."""
        while self._undo:
            self._undo.pop()()

    def flow(self, seconds: float) -> None:
        """Let the traffic go on."""
        time.sleep(seconds)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """As Stack.kill."""
        self.stack.kill(name, number)

    def restart(self, name: str) -> None:
        """As Stack.restart."""
        self.stack.restart(name)

    def freeze(self, name: str) -> None:
        """SIGSTOP to the process and all its children."""
        self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT to all that `freeze` stopped."""
        self._signal(name, signal.SIGCONT)

    def freeze_until_end(self, *names: str) -> None:
        """Freezes these until the row has ended, in whatever way; `thaw` may continue one earlier."""
        for name in names:
            self.freeze(name)
            self.later(partial(self.thaw, name))

    def _signal(self, name: str, number: int) -> None:
        process = psutil.Process(self.stack.child(name).pid)
        for each in [process, *process.children(recursive=True)]:
            each.send_signal(number)

    def fill_windows(self) -> None:
        """Writes a backlog; returns when the window of every partition is full.

        Workers must be away or stopped, or it drains meanwhile.
        """
        self.backlog.write()
        self.wait("all windows are full", self._windows_are_full, timeout_s=90)

    def _windows_are_full(self) -> bool:
        held = self.sql("SELECT planned - frontier FROM stream")
        return all(offsets == WINDOW_OFFSETS for (offsets,) in held)

    def frontiers(self) -> dict[int, int]:
        """By partition, at the last look that PostgreSQL answered."""
        assert self._watch is not None
        for look in reversed(self._watch.looks):
            if look.streams:
                return {stream.partition: stream.frontier for stream in look.streams}
        return {}

    def looks_since(self, began: float) -> list[Look]:
        """What was seen since that monotonic time."""
        assert self._watch is not None
        return [look for look in self._watch.looks if look.at >= began]

    def sql(self, query: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a statement gives, on a connection of its own."""
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=30) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def redis(self) -> "redis.Redis":
        """A client of the scene's Redis."""
        return redis.Redis.from_url(self.redis_url, socket_timeout=30, socket_connect_timeout=30)

    def poison(self, app: str) -> str:
        """A new record of the app, whose writes may be dead-lettered."""
        record = str(uuid.uuid4())
        self._poisoned.add((app, record))
        return record

    def logged(self, name: str, event: str) -> int:
        """How many lines of the process's log have this event."""
        return self.stack.log(name).read_text(errors="replace").count(f'"event": "{event}"')

    def calls_since(self, began: float) -> list[Call]:
        """The load's calls that began after that monotonic time and have ended."""
        assert self._load is not None
        return [call for call in self._load.calls if call.began >= began]

    def send_to(self, urls: Sequence[str]) -> None:
        """From now on the load sends to these."""
        assert self._load is not None
        self._load.stop()
        self._load = Load(urls, self.apps, earlier=self._load.calls)
        self._load.start()

    def wait(self, what: str, holds: Callable[[], bool], *, timeout_s: float) -> float:
        """Seconds until it holds. Raises AssertionError, with the logs' ends, where it does not in
        PATIENCE times the time limit."""
        began = time.monotonic()
        timeout_s *= PATIENCE
        while not holds():
            if time.monotonic() - began > timeout_s:
                tails = "\n".join(
                    f"-- {path.stem}\n{self.stack.tail(path.stem, 6)}"
                    for path in sorted((self.directory / "logs").glob("*.log"))
                )
                raise AssertionError(
                    f"not within {timeout_s:.0f} s: {what}\n{self._state()}\n{tails[-8000:]}"
                )
            time.sleep(0.1)
        return time.monotonic() - began

    def _state(self) -> str:
        """Where everything stands, for an error."""
        try:
            streams = self.sql("SELECT partition, frontier, planned, halted FROM stream ORDER BY 1")
        except psycopg.Error as error:
            return f"PostgreSQL: {error}"
        health = [product.answers(url + path) for url in self.web_urls for path in product.HEALTH]
        return f"streams {streams}, log ends {self._ends()}, health {health}"

    # -- what the matrix does --------------------------------------------------------------------

    def begin(self) -> None:
        """Watch and load, and some plain traffic."""
        self.rows_run += 1
        self._watch = Watch(
            self.stack,
            dsn=self.dsn,
            redis_url=self.redis_url,
            namespace=self.stack.env["NOTIFY_NAMESPACE"],
        )
        self._load = Load(self.web_urls, self.apps)
        self._watch.start()
        self._load.start()
        self.flow(WARM_S)

    def recovered(self, healed: float, *, timeout_s: float) -> float:
        """Seconds from `healed` (monotonic) until all that was in Kafka then, and a call made since,
        are applied, and web says that it is ready and the pipeline moves."""
        ends: dict[int, int] = {}

        def is_back() -> bool:
            if not any(call.outcome is Outcome.OK for call in self.calls_since(healed)):
                return False
            ends.update(ends or self._ends())
            return self._applied(ends) and all(
                product.answers(url + path) for url in self.web_urls for path in product.HEALTH
            )

        self.wait("recovered", is_back, timeout_s=timeout_s)
        return time.monotonic() - healed

    def end(self) -> tuple[list[Call], Verdict]:
        """Stop the load, wait until all is applied, and judge. The calls of this row alone."""
        assert self._load is not None
        assert self._watch is not None
        self._load.stop()
        calls = self._load.calls
        ends = self._ends()
        self.wait("all is applied", lambda: self._applied(ends), timeout_s=DRAIN_S)
        self._watch.stop()
        found, self._read_to = read_topic(self.servers, self.topic, self._read_to)
        self._messages += found
        # A call whose outcome is unknown may have come to Kafka since.
        self.wait("that too is applied", lambda: self._applied(self._read_to), timeout_s=DRAIN_S)
        verdict = judge(
            calls,
            self._messages,
            self._watch.looks,
            dsn=self.dsn,
            servers=self.servers,
            topic=self.topic,
            ends=self._read_to,
            bounds=Bounds(),
            sent=self.backlog.sent,
            poisoned=self._poisoned,
            is_replayed=self.kind not in WITH_BACKLOG,
        )
        return calls, verdict

    def abandon(self) -> None:
        """Stop load and watch of a row that failed."""
        if self._load is not None:
            threading.Thread(target=self._load.stop, daemon=True).start()
        if self._watch is not None:
            self._watch.stop()

    def _ends(self) -> dict[int, int]:
        try:
            with Topics(self.servers.split(",")) as topics:
                found = topics.extents(self.topic, range(PARTITIONS))
        except TopicError:
            return {}
        return {partition: extent.end for partition, extent in found.items()}

    def _applied(self, ends: dict[int, int]) -> bool:
        try:
            rows = self.sql("SELECT partition, frontier FROM stream")
        except psycopg.Error:
            return False
        return bool(ends) and all(frontier >= ends[partition] for partition, frontier in rows)

    def versions(self) -> dict[str, str]:
        """Of the services."""
        ((postgres,),) = self.sql("SHOW server_version")
        with self.redis() as client:
            found = str(client.info("server")["redis_version"])
        return {
            "Kafka": self.stack.services["kafka"].source.split(",")[0],
            "PostgreSQL": str(postgres).split()[0],
            "Redis": found,
        }

    @property
    def bridges(self) -> Sequence[str]:
        """Names of the bridges."""
        return ("bridge-1", "bridge-2")

    @property
    def workers(self) -> Sequence[str]:
        """Names of the workers."""
        return ("worker-1", "worker-2")
