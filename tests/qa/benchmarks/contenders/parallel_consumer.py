"""Confluent Parallel Consumer, in Java: tests/qa/benchmarks/parallel_consumer."""

import shutil
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from devstack import ROOT
from tests.qa.benchmarks.contenders.cell import Cell
from tests.qa.benchmarks.contenders.consumers import rows
from tests.qa.benchmarks.contenders.contender import Contender, Unavailable
from tests.qa.benchmarks.contenders.environments import HOME, command
from tests.qa.benchmarks.contenders.offsets import committed, new_group
from tests.qa.benchmarks.contenders.shapes import Shape
from tests.running import Running

_SOURCE: Final = ROOT / "tests" / "qa" / "benchmarks" / "parallel_consumer"
_VERSION: Final = "0.5.3.2"
#: PostgreSQL sessions, and so statements at a time.
SESSIONS: Final = 16


class ParallelConsumer(Contender):
    """One process, ordered by key; a statement an update, or one for up to `batch` updates."""

    def __init__(self, run: Running, *, batch: int = 1) -> None:
        super().__init__(run)
        self._batch = batch
        self._group = ""
        self.title = "Confluent Parallel Consumer" + (", batched" if batch > 1 else "")

    name = "parallel-consumer"

    def is_slow(self, shape: Shape) -> bool:
        """With a statement an update, and where one row has many: its updates go one after the other."""
        return self._batch == 1 or shape.hot_share > 0

    @property
    def setup(self) -> str:
        """Its version and options."""
        size = f"batches of {self._batch}" if self._batch > 1 else "an update a call"
        return f"parallel-consumer-core {_VERSION}, ordering KEY, {SESSIONS} sessions, {size}"

    @property
    def _home(self) -> Path:
        return HOME / f"parallel-consumer-{_VERSION}"

    def install(self) -> None:
        """Downloads the jars from Maven Central and compiles the source."""
        for program in ("java", "javac", "mvn"):
            if shutil.which(program) is None:
                raise Unavailable(f"{program} is not on PATH: install a JDK 17 or newer and Maven")
        jars = self._home / "jars"
        if not (self._home / "installed").exists():
            goal = ("dependency:copy-dependencies", "-DincludeScope=runtime")
            command(
                ["mvn", "-B", "-q", "-f", _SOURCE / "pom.xml", *goal, f"-DoutputDirectory={jars}"]
            )
            (self._home / "installed").touch()
        source = _SOURCE / "ParallelConsumer.java"
        command(["javac", "-nowarn", "-cp", f"{jars}/*", "-d", self._home / "classes", source])

    def fill(self, cell: Cell) -> None:
        """A new group."""
        self._group = new_group(self.run, self.name, cell)

    def start(self, cell: Cell) -> None:
        """The process."""
        classes = f"{self._home / 'classes'}:{self._home / 'jars'}/*"
        argv = ["java", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classes]
        words = (self.run.topic, self._group, str(self._batch), str(SESSIONS))
        self.spawn(
            f"{self.name}-{self._batch}",
            [*argv, "ParallelConsumer", *words],
            env={
                "JDBC_URL": _jdbc_url(self.run.stack.env["DATABASE_URL"]),
                "CONTENDER_SQL": rows.UPSERT.replace("%s", "?"),
            },
        )

    def saved(self, cell: Cell) -> int:
        """What is committed to Kafka."""
        return committed(self.run, self._group, cell)


def _jdbc_url(url: str) -> str:
    """The same database for Java's driver."""
    parts = urlsplit(url)
    user, password = quote(parts.username or "", safe=""), quote(parts.password or "", safe="")
    address = f"{parts.hostname}:{parts.port or 5432}"
    return f"jdbc:postgresql://{address}{parts.path}?user={user}&password={password}"
