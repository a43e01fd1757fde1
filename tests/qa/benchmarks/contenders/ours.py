"""Notify: one bridge and two workers."""

from tests.qa.benchmarks.contenders.cell import Cell
from tests.qa.benchmarks.contenders.contender import Contender
from tests.qa.benchmarks.contenders.shapes import Shape
from tests.qa.benchmarks.drain import WORKERS, frontiers, start


class Ours(Contender):
    """Drains the topic from where it stopped, with limits, skip rules and dead letters."""

    name = "notify"
    title = "Notify"
    table = "record"

    def is_slow(self, shape: Shape) -> bool:
        """Never."""
        return False

    @property
    def setup(self) -> str:
        """Its processes."""
        return f"one bridge, {len(WORKERS)} workers"

    def start(self, cell: Cell) -> None:
        """The workers are ready before the bridge starts."""
        self._names = ["bridge", *WORKERS]
        start(self.run)

    def saved(self, cell: Cell) -> int:
        """What is before the frontiers."""
        now = frontiers(self.run)
        return sum(
            min(max(now[number], extent.first), extent.end) - extent.first
            for number, extent in cell.extents.items()
        )
