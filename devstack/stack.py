"""A stack: the three services and any number of processes, in one directory, ended together."""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self

from devstack import ROOT, apache_kafka, postgres
from devstack.process import Child, Identity, Keeper, Launch
from devstack.services import (
    DevstackError,
    Service,
    find_kafka,
    find_redis,
    free_port,
    wait_ready,
)

#: Another process may take a free port before the service does: then it is started anew.
ATTEMPTS: Final = 3
#: Lines of a log that an error shows.
TAIL_LINES: Final = 30


class Finder(Protocol):
    """Where a service is, or how to start it on the port that it asks for."""

    def __call__(
        self, directory: Path, environ: Mapping[str, str], port: Callable[[], int] = free_port
    ) -> Service:
        """Raises DevstackError where there is none."""


def _find_kafka(
    directory: Path, environ: Mapping[str, str], port: Callable[[], int] = free_port
) -> Service:
    if environ.get("NOTIFY_KAFKA") == "apache" and not environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return apache_kafka.broker(directory, environ, port)
    return find_kafka(directory, environ, port)


FINDERS: Final[Mapping[str, Finder]] = {
    "kafka": _find_kafka,
    "postgres": postgres.find_postgres,
    "redis": find_redis,
}


class Stack:
    """Starts services and processes; whatever happens to this process, none of them outlives it.

    `env` is what every process gets: the environment given, the services' URLs, and what was
    added to it before the process was spawned. Logs are `directory/logs/NAME.log`, appended to.
    Usable from several threads only if they take turns.
    """

    def __init__(
        self,
        directory: Path,
        *,
        environ: Mapping[str, str],
        say: Callable[[str], None] = print,
        keeper: Keeper | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.env: dict[str, str] = dict(environ)
        self.services: dict[str, Service] = {}
        self._children: dict[str, Child] = {}
        self._keeper = keeper or Keeper()
        self._say = say
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def port(self, name: str) -> int:
        """The loopback port for a service or process that is about to be started."""
        return free_port()

    def log(self, name: str) -> Path:
        """Where the process's output goes."""
        return self.directory / "logs" / f"{name}.log"

    def tail(self, name: str, lines: int = TAIL_LINES) -> str:
        """The log's last lines; empty where there is none."""
        if not self.log(name).exists():
            return ""
        text = self.log(name).read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def start_services(self) -> None:
        """Returns with all three answering and their URLs in `env`; says what each one is.

        Raises DevstackError, with the log's tail, where one can't be started.
        """
        for name in FINDERS:
            if name not in self.services:
                self.launch(name)
        for name in FINDERS:
            self.settle(self.services[name])

    def start_cluster(
        self, *, brokers: int, doors: Mapping[str, apache_kafka.Door] = MappingProxyType({})
    ) -> str:
        """Starts that many brokers of Apache Kafka and returns their bootstrap servers.

        They take the place of the stack's Kafka in `env`; `kafka`, `kafka-2`, ... can be killed
        and restarted. Call it before `start_services`, which then keeps them.
        """
        cluster = apache_kafka.cluster(self.directory, self.env, brokers=brokers, doors=doors)
        for service in cluster:
            self.add(service)
        for service in cluster:
            self.settle(service)
        return cluster[0].url

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        code: Path = ROOT,
    ) -> Child:
        """Starts a process in the checkout, or in another one, with `env` on top of the stack's own.

        Raises DevstackError where one of that name runs.
        """
        launch = Launch(argv, self.env | dict(env or {}), self.log(name), code)
        return self.start(name, launch)

    def start(self, name: str, launch: Launch) -> Child:
        """As `spawn`, in every detail as the launch says."""
        if name in self._children:
            if self._children[name].running:
                raise DevstackError(f"{name} runs already: restart it, or take another name")
            self._children[name].kill()
        self._children[name] = Child(launch, self._keeper)
        return self._children[name]

    def child(self, name: str) -> Child:
        """Raises KeyError where nothing of that name was started."""
        return self._children[name]

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """SIGKILL: to the process and all it started, returning when they are gone.

        Any other signal: to its main process alone, returning at once.
        """
        if number == signal.SIGKILL:
            self.child(name).kill()
        else:
            self.child(name).signal(number)

    def restart(self, name: str) -> Child:
        """Stops it if it runs, starts it as it was started; waits for a service to answer."""
        self.child(name).stop()
        child = self.start(name, self.child(name).launch)
        service = self.services.get(name)
        if service and not wait_ready(service, partial(self._alive, service)):
            raise self._failure(service)
        return child

    def remove(self, name: str) -> None:
        """Stops it and knows it no longer, so that it is not among those that ended."""
        self.child(name).stop()
        del self._children[name]

    def identities(self) -> dict[str, Identity]:
        """What runs, by name, in the order it was started."""
        return {
            name: child.identity for name, child in list(self._children.items()) if child.running
        }

    def ended(self) -> list[str]:
        """Names of those that no longer run, killed or by themselves, and were not restarted."""
        # A watch asks this from a thread of its own while others are started.
        return [name for name, child in list(self._children.items()) if not child.running]

    def stop(self) -> None:
        """Stops everything, last started first; returns with nothing left. May be called again."""
        for child in reversed(self._children.values()):
            child.stop()
        self._children.clear()
        self._keeper.close()

    def remove_at_end(self) -> None:
        """The directory, and PostgreSQL's where that is apart, go with the stack."""
        for directory in (postgres.home_of(self.directory), self.directory):
            self._keeper.remove_at_end(directory)

    @contextlib.contextmanager
    def foreground(
        self, argv: Sequence[str], *, env: Mapping[str, str]
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """A command in our own group, with our terminal and output; the caller waits for it.

        SIGTERM to it if we are gone meanwhile. Raises OSError where it can't be started.
        """
        process = self._keeper.start(argv, signal.SIGTERM, own_group=False, env=env, cwd=ROOT)
        try:
            yield process
        finally:
            self._keeper.forget(process.pid)

    def add(self, service: Service) -> None:
        """Makes it one of the stack's, started if it is ours and does not run; does not wait."""
        self.services[service.name] = service
        if service.launch and service.name not in self.identities():
            self.start(service.name, service.launch)

    def launch(self, name: str) -> Service:
        """Finds one of FINDERS and adds it."""
        service = FINDERS[name](self.directory, self.env, partial(self.port, name))
        self.add(service)
        return service

    def settle(self, service: Service) -> None:
        """Waits until a service that was added answers, and puts its URL into `env`.

        Raises DevstackError, with the log's tail, where it does not.
        """
        for _ in range(ATTEMPTS):
            if wait_ready(service, partial(self._alive, service)):
                if self.env.get(service.variable) != service.url or service.launch is None:
                    self._say(f"{service.label:<10} {service.source} ({_address(service)})")
                self.env[service.variable] = service.url
                return
            if self._alive(service) or service.name not in FINDERS:
                break
            service = self.launch(service.name)
        raise self._failure(service)

    def _alive(self, service: Service) -> bool:
        return service.launch is None or service.name in self.identities()

    def _failure(self, service: Service) -> DevstackError:
        name, label = service.name, service.label
        if service.launch is None:
            return DevstackError(f"{label} does not answer at {service.variable}: start it")
        return DevstackError(f"{label} did not start; {self.log(name)} ends:\n{self.tail(name)}")


def _address(service: Service) -> str:
    """The URL without the account and its password."""
    head, at, tail = service.url.rpartition("@")
    return f"{head.partition('://')[0]}://{tail}" if at else service.url
