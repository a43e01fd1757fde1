"""What every contender is: processes that drain a cell, and rows in PostgreSQL."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from devstack import ROOT
from tests.qa.benchmarks.contenders.cell import Cell
from tests.qa.benchmarks.contenders.consumers import rows
from tests.qa.benchmarks.contenders.shapes import Shape
from tests.qa.benchmarks.drain import kafka
from tests.qa.benchmarks.prepared import Sender
from tests.running import Running

#: What each contender may use, as Notify has two workers.
PROCESSES: Final = 2
STOP_S: Final = 30


class Unavailable(Exception):
    """The contender cannot be installed here; the text says why."""


class Failed(Exception):
    """The contender did not drain the cell; the text says why."""


class Outgoing(NamedTuple):
    """An update as Kafka gets it."""

    value: bytes
    key: bytes
    partition: int


Send = Callable[[Outgoing], None]


class Contender(ABC):
    """A way to apply the updates of a topic. It drains one cell at a time: fill, start, and stop or kill."""

    name: ClassVar[str]
    title: str
    #: Where its rows are.
    table: ClassVar[str] = rows.TABLE_NAME
    #: Whether it keeps a position, so that it can continue after a kill.
    resumes: ClassVar[bool] = True

    def __init__(self, run: Running) -> None:
        self.run = run
        self._names: list[str] = []

    def install(self) -> None:  # noqa: B027 - most have nothing to install
        """Makes it ready to start. Raises Unavailable. May be called again."""

    def is_slow(self, shape: Shape) -> bool:
        """Whether it needs minutes for what others drain in seconds. It gets fewer updates then."""
        return True

    @property
    def setup(self) -> str:
        """Versions and settings that matter, for the report."""
        return ""

    def fill(self, cell: Cell) -> None:  # noqa: B027 - Notify continues where it stopped
        """Lets the next start begin at the cell's first update."""

    @abstractmethod
    def start(self, cell: Cell) -> None:
        """Starts its processes, again after a kill. Does not wait."""

    @abstractmethod
    def saved(self, cell: Cell) -> int:
        """How many of the cell's updates would not be delivered again after a kill now."""

    @contextmanager
    def sender(self) -> Iterator[Send]:
        """What sends one more update, without waiting for it. At the end all are sent."""
        sender = Sender(kafka(self.run), self.run.topic)

        def send(update: Outgoing) -> None:
            sender.send(update.value, update.partition, update.key)

        yield send
        sender.acked()

    def kill(self) -> None:
        """Kills all of its processes with SIGKILL."""
        for name in self._names:
            self.run.stack.kill(name)

    def stop(self) -> None:
        """Stops its processes, which may finish what they have begun."""
        # One that failed to start may not have all of them.
        for name in self._names:
            with suppress(KeyError):
                self.run.stack.kill(name, signal.SIGTERM)
        for name in self._names:
            with suppress(KeyError):
                self.run.stack.child(name).wait(STOP_S)
                self.run.stack.remove(name)
        self._names.clear()

    def check(self) -> None:
        """Raises Failed if one of its processes has failed."""
        for name in self._names:
            child = self.run.stack.child(name)
            if not child.running and child.wait(1) != 0:
                raise Failed(f"{name} ended with {child.exit_code}: {self.run.stack.tail(name, 3)}")

    def spawn(
        self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> None:
        """Starts a process that `kill`, `stop` and `check` know."""
        words = [str(word) for word in argv]
        self.run.stack.spawn(name, words, env={"PYTHONPATH": str(ROOT), **(env or {})})
        if name not in self._names:
            self._names.append(name)
