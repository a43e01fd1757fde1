"""Pyrallel Consumer, in an environment of its own with Python 3.12."""

from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.qa.benchmarks.contenders.cell import Cell
from tests.qa.benchmarks.contenders.contender import Contender
from tests.qa.benchmarks.contenders.environments import environment, python
from tests.qa.benchmarks.contenders.offsets import committed, new_group
from tests.running import Running

_VERSION: Final = "1.0.0"
_PYTHON: Final = "3.12"


class Pyrallel(Contender):
    """One process, ordered by key."""

    name = "pyrallel"
    title = "Pyrallel Consumer"

    def __init__(self, run: Running) -> None:
        super().__init__(run)
        self._python = Path()
        self._group = ""

    @property
    def setup(self) -> str:
        """Its version and mode."""
        return f"pyrallel-consumer {_VERSION}, Python {_PYTHON}, one process, asyncio, 8 sessions"

    def install(self) -> None:
        """Installs it from PyPI."""
        psycopg = f"psycopg[binary]=={version('psycopg')}"
        packages = [f"pyrallel-consumer=={_VERSION}", psycopg]
        self._python = environment(f"pyrallel-consumer-{_VERSION}", packages, python(_PYTHON))

    def fill(self, cell: Cell) -> None:
        """A new group."""
        self._group = new_group(self.run, self.name, cell)

    def start(self, cell: Cell) -> None:
        """The process."""
        module = "tests.qa.benchmarks.contenders.consumers.pyrallel"
        self.spawn(self.name, [self._python, "-m", module, self.run.topic, self._group])

    def saved(self, cell: Cell) -> int:
        """What is committed to Kafka."""
        return committed(self.run, self._group, cell)
