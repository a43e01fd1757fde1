"""The hand-written batch consumer, and its statements alone."""

from devstack import product
from tests.qa.benchmarks import handwritten
from tests.qa.benchmarks.contenders.cell import Cell
from tests.qa.benchmarks.contenders.contender import PROCESSES, Contender
from tests.qa.benchmarks.contenders.offsets import committed, new_group
from tests.qa.benchmarks.contenders.shapes import Shape
from tests.running import Running


class ByHand(Contender):
    """tests/qa/benchmarks/handwritten.py, two processes that share the partitions."""

    name = "handwritten"
    title = "Hand-written batch consumer"

    def __init__(self, run: Running, *, batch: int = handwritten.BATCH) -> None:
        super().__init__(run)
        self.batch = batch
        self._group = ""

    def is_slow(self, shape: Shape) -> bool:
        """Never."""
        return False

    @property
    def setup(self) -> str:
        """Its batch size, which `tune` has chosen."""
        return f"{PROCESSES} processes, up to {self.batch:,} messages a statement"

    def fill(self, cell: Cell) -> None:
        """A new group."""
        self._group = new_group(self.run, self.name, cell)

    def start(self, cell: Cell) -> None:
        """Each process reads its partitions from the committed offsets."""
        for process in range(PROCESSES):
            words = ("--batch", str(self.batch), "--group", self._group)
            argv = [product.PYTHON, "-m", "tests.qa.benchmarks.handwritten", self.run.topic]
            self.spawn(f"{self.name}-{process}", [*argv, *cell.ranges(process, PROCESSES), *words])

    def saved(self, cell: Cell) -> int:
        """What is committed to Kafka."""
        return committed(self.run, self._group, cell)


class PostgresAlone(Contender):
    """The statements of the hand-written consumer, made before the first is executed: the limit."""

    name = "postgres"
    title = "PostgreSQL alone (the limit)"
    resumes = False

    def __init__(self, run: Running, by_hand: ByHand) -> None:
        super().__init__(run)
        self._by_hand = by_hand

    def is_slow(self, shape: Shape) -> bool:
        """Never."""
        return False

    @property
    def setup(self) -> str:
        """The same batches as those of the hand-written consumer."""
        return f"the statements of {PROCESSES} hand-written consumers, from memory"

    def start(self, cell: Cell) -> None:
        """One process reads everything, and its children write."""
        module = "tests.qa.benchmarks.contenders.consumers.from_memory"
        argv = [product.PYTHON, "-m", module, self.run.topic, str(self._by_hand.batch)]
        self.spawn(self.name, [*argv, str(PROCESSES), *cell.ranges(0, 1)])

    def saved(self, cell: Cell) -> int:
        """All once its process has ended."""
        running = any(self.run.stack.child(name).running for name in self._names)
        return 0 if running else cell.updates
