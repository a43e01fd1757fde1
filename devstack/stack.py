"""A stack: the three services and any number of processes, in one directory, which stop together."""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self

from devstack import ROOT, apache_kafka, postgres
from devstack.process import Child, Keeper, Launch, ProcessIdentity
from devstack.services import (
    DevstackError,
    Service,
    find_kafka,
    find_redis,
    free_port,
    wait_ready,
)

#: How often to start a service: another process may take its port first.
ATTEMPTS: Final = 3
#: How many lines of a log an error shows.
TAIL_LINES: Final = 30


class Finder(Protocol):
    """Finds a service, or how to start it. It calls `port` if it needs one."""

    def __call__(
        self, directory: Path, environ: Mapping[str, str], port: Callable[[], int] = free_port
    ) -> Service:
        """Returns the service. Raises DevstackError if there is none."""


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
    """Starts services and processes. They all end when this process ends, in whatever way.

    Every process gets `env`: the given environment, the services' URLs, and what was added before it was
    started. Output is appended to `directory/logs/NAME.log`. Not thread-safe.
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
        #: Words before the command of each process that `spawn` starts, such as `nice`.
        self.prefix: Sequence[str] = ()
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
        """A loopback port for a service or process that will be started."""
        return free_port()

    def log(self, name: str) -> Path:
        """The file with the process's output."""
        return self.directory / "logs" / f"{name}.log"

    def tail(self, name: str, lines: int = TAIL_LINES) -> str:
        """The last lines of the log; empty if there is none."""
        if not self.log(name).exists():
            return ""
        text = self.log(name).read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def start_services(self) -> None:
        """Starts the three services, puts their URLs into `env`, and prints where each comes from.

        Waits until they answer. Raises DevstackError with the end of the log if one cannot be started.
        """
        for name in FINDERS:
            if name not in self.services:
                self.launch(name)
        for name in FINDERS:
            self.settle(self.services[name])

    def start_cluster(
        self, *, brokers: int, listeners: Mapping[str, apache_kafka.Listener] = MappingProxyType({})
    ) -> str:
        """Starts a cluster of Apache Kafka and returns its bootstrap servers.

        It replaces the stack's Kafka in `env`. Its brokers `kafka`, `kafka-2`, ... can be killed and
        restarted one by one. Call it before `start_services`.
        """
        cluster = apache_kafka.cluster(
            self.directory, self.env, brokers=brokers, listeners=listeners
        )
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
        """Starts a process in the checkout `code`. `env` is added to the stack's own.

        Raises DevstackError if a process of this name runs.
        """
        own = self.env | dict(env or {})
        launch = Launch([*self.prefix, *argv], own, self.log(name), code)
        return self.start(name, launch)

    def start(self, name: str, launch: Launch) -> Child:
        """Starts a process as `launch` says. Raises DevstackError if a process of this name runs."""
        if name in self._children:
            if self._children[name].running:
                raise DevstackError(f"{name} runs already: restart it, or use another name")
            self._children[name].kill()
        self._children[name] = Child(launch, self._keeper)
        return self._children[name]

    def child(self, name: str) -> Child:
        """The process of this name. Raises KeyError if none was started."""
        return self._children[name]

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Sends a signal. SIGKILL goes to the process and all that it started; waits until they are gone.

        Any other signal goes only to the main process; does not wait.
        """
        if number == signal.SIGKILL:
            self.child(name).kill()
        else:
            self.child(name).signal(number)

    def restart(self, name: str) -> Child:
        """Stops the process and starts it again in the same way. Waits until a service answers."""
        self.child(name).stop()
        child = self.start(name, self.child(name).launch)
        service = self.services.get(name)
        if service and not wait_ready(service, partial(self._alive, service)):
            raise self._failure(service)
        return child

    def remove(self, name: str) -> None:
        """Stops the process and forgets it, so that `ended` does not list it."""
        self.child(name).stop()
        del self._children[name]

    def identities(self) -> dict[str, ProcessIdentity]:
        """The running processes by name, in the order of their start."""
        return {
            name: child.identity for name, child in list(self._children.items()) if child.running
        }

    def ended(self) -> list[str]:
        """The names of processes that no longer run."""
        # Tests call this in a thread while other processes start.
        return [name for name, child in list(self._children.items()) if not child.running]

    def stop(self) -> None:
        """Stops everything, in reverse order of the start. Returns when all is gone. May be called again."""
        for child in reversed(self._children.values()):
            child.stop()
        self._children.clear()
        self._keeper.close()

    def remove_at_end(self) -> None:
        """Deletes the stack's directory, and PostgreSQL's if it is elsewhere, when the stack ends."""
        for directory in (postgres.home_of(self.directory), self.directory):
            self._keeper.remove_at_end(directory)

    @contextlib.contextmanager
    def foreground(
        self, argv: Sequence[str], *, env: Mapping[str, str]
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Starts a command in this process's group, with its terminal and output. The caller waits for it.

        It gets SIGTERM if this process ends first. Raises OSError if it cannot be started.
        """
        process = self._keeper.start(argv, signal.SIGTERM, own_group=False, env=env, cwd=ROOT)
        try:
            yield process
        finally:
            self._keeper.forget(process.pid)

    def add(self, service: Service) -> None:
        """Adds a service, and starts it if the stack must and it does not run. Does not wait."""
        self.services[service.name] = service
        if service.launch and service.name not in self.identities():
            self.start(service.name, service.launch)

    def launch(self, name: str) -> Service:
        """Finds a service by its name in FINDERS and adds it."""
        service = FINDERS[name](self.directory, self.env, partial(self.port, name))
        self.add(service)
        return service

    def settle(self, service: Service) -> None:
        """Waits until an added service answers, and puts its URL into `env`.

        Raises DevstackError with the end of its log if it does not answer.
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
            return DevstackError(
                f"{label} does not answer at the URL in {service.variable}: start it"
            )
        return DevstackError(
            f"{label} did not start. The end of its log, {self.log(name)}:\n{self.tail(name)}"
        )


def _address(service: Service) -> str:
    """The URL without user and password."""
    head, at, tail = service.url.rpartition("@")
    return f"{head.partition('://')[0]}://{tail}" if at else service.url
