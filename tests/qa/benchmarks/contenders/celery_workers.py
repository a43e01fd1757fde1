"""Plain Celery, a task an update; and celery-batches, a task for many."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Final

from devstack import product
from tests.qa.benchmarks.contenders.celery_queue import CeleryQueue
from tests.qa.benchmarks.contenders.cell import Cell
from tests.qa.benchmarks.contenders.contender import PROCESSES, Contender, Send
from tests.qa.benchmarks.contenders.environments import environment
from tests.running import Running

_CONSUMERS: Final = "tests.qa.benchmarks.contenders.consumers"


class PlainCelery(Contender):
    """Two workers of one process each. The queue in Redis has all tasks before they start."""

    name = "celery"
    title = "Plain Celery, a task an update"
    _module: ClassVar[str] = f"{_CONSUMERS}.plain_tasks"
    _task: ClassVar[str] = "contender.apply"

    def __init__(self, run: Running) -> None:
        super().__init__(run)
        self._queue = CeleryQueue(run.stack.env["REDIS_URL"], f"contender-{self.name}")
        self._python: str | Path = product.PYTHON

    @property
    def setup(self) -> str:
        """Celery's version."""
        return f"Celery {version('celery')}, {PROCESSES} workers, acknowledged early (the default)"

    def fill(self, cell: Cell) -> None:
        """Partition by partition in turns, in each in the order of the log."""
        messages = sorted(cell.messages, key=lambda each: (each.offset, each.partition))
        self._queue.fill(self._task, (message.value for message in messages))

    def start(self, cell: Cell) -> None:
        """The workers."""
        for number in range(PROCESSES):
            name = f"{self.name}-{number}"
            words = ("--concurrency=1", "--hostname", f"{name}@%h", *self._queue.consumers())
            self.spawn(
                name,
                [self._python, "-m", "celery", "-A", self._module, "worker", *words],
                env={"CONTENDER_BROKER": self._queue.url},
            )

    @contextmanager
    def sender(self) -> Iterator[Send]:
        """Puts a task into the queue."""
        yield lambda update: self._queue.put(update.value)

    def saved(self, cell: Cell) -> int:
        """What is acknowledged."""
        return cell.updates - self._queue.left()


class CeleryBatches(PlainCelery):
    """celery-batches, in an environment of its own."""

    name = "celery-batches"
    title = "celery-batches"
    _module = f"{_CONSUMERS}.batches_tasks"
    _task = "contender.apply_batch"

    @property
    def setup(self) -> str:
        """Its version and batches."""
        return (
            f"celery-batches {_BATCHES}, Celery {_CELERY}, {PROCESSES} workers, "
            "up to 500 updates a task, acknowledged late"
        )

    def install(self) -> None:
        """Installs celery-batches and its Celery from PyPI."""
        psycopg = f"psycopg[binary]=={version('psycopg')}"
        packages = [f"celery-batches=={_BATCHES}", f"celery[redis]=={_CELERY}", psycopg]
        self._python = environment(f"celery-batches-{_BATCHES}", packages)


_BATCHES: Final = "0.11"
#: The newest that this celery-batches allows.
_CELERY: Final = "5.6.3"
