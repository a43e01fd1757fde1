"""The rows of the fault matrix: each a fault, done to a scene under load, and its recovery bound."""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tests.qa.faults.scene import Kind, Scene

#: A scene that has seen so many rows makes way for a new one: its topic is read after each row.
ROWS_A_SCENE: Final = 5


@dataclass(frozen=True, slots=True)
class Row:
    """`act` injects the fault, checks what is particular to it, and heals; it returns a remark,
    whose text is taken once all is over.

    Recovery, from its return, must take no longer than `bound_s` (times scene.PATIENCE). `fast` rows
    run in CI. `needs` says what this machine lacks for it, or nothing.
    """

    name: str
    fault: str
    act: Callable[[Scene], object]
    bound_s: float
    kind: Kind = Kind.ONE
    fast: bool = False
    alone: bool = False
    needs: Callable[[], str] = field(default=lambda: "")


@dataclass(frozen=True, slots=True)
class Result:
    """What a row came to, in updates and seconds."""

    name: str
    fault: str
    kind: str
    date: str
    machine: str
    versions: dict[str, str]
    acked: int
    unknown: int
    failed: int
    lost: int
    doubled: int
    recovered_s: float
    bound_s: float
    remark: str

    def as_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


ROWS: Final[dict[str, Row]] = {}


def row(name: str, fault: str, **options: Any) -> Callable[[Callable[[Scene], object]], Row]:
    """Adds the function as a row."""

    def add(act: Callable[[Scene], object]) -> Row:
        assert name not in ROWS, name
        ROWS[name] = Row(name, fault, act, **options)
        return ROWS[name]

    return add


class Scenes:
    """Makes scenes and keeps one for the rows that share its kind."""

    def __init__(self) -> None:
        self._scene: Scene | None = None

    def of(self, wanted: Row) -> Scene:
        """A scene for the row."""
        scene = self._scene
        if scene is not None and (
            wanted.alone or scene.kind is not wanted.kind or scene.rows_run >= ROWS_A_SCENE
        ):
            self.drop()
        if self._scene is None:
            self._scene = Scene(wanted.kind)
        return self._scene

    def drop(self) -> None:
        """End the scene: a row that failed, or needs one of its own, leaves none behind."""
        scene, self._scene = self._scene, None
        if scene is not None:
            scene.close()


def play(wanted: Row, scenes: Scenes) -> Result:
    """Runs the row. Raises AssertionError where an invariant or the bound does not hold."""
    scene = scenes.of(wanted)
    try:
        scene.begin()
        try:
            remark = wanted.act(scene)
        finally:
            scene.undo()
        recovered_s = scene.recovered(time.monotonic(), timeout_s=wanted.bound_s)
        _, verdict = scene.end()
        assert not verdict.problems, "\n".join(verdict.problems)
        result = Result(
            name=wanted.name,
            fault=wanted.fault,
            kind=wanted.kind.value,
            date=datetime.now(UTC).date().isoformat(),
            machine=f"{platform.machine()}, Python {platform.python_version()}",
            versions=scene.versions(),
            acked=verdict.acked,
            unknown=verdict.unknown,
            failed=verdict.failed,
            lost=verdict.lost,
            doubled=verdict.doubled,
            recovered_s=round(recovered_s, 1),
            bound_s=wanted.bound_s,
            remark=str(remark),
        )
    except BaseException:
        scene.abandon()
        scenes.drop()
        raise
    if wanted.alone:
        scenes.drop()
    return result
