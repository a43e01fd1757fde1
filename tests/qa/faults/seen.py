"""What a row saw between two moments: dead letters, events in the logs, calls."""

import time
from typing import Final, Self

from tests.qa.faults.load import Call, Outcome
from tests.qa.faults.scene import Scene


class Seen:
    """Counts from now on; the scene may have run other rows before."""

    def __init__(self, scene: Scene) -> None:
        self._scene: Final = scene
        self._began = time.monotonic()
        self._calls: list[Call] | None = None
        self._fact = ""
        self._letters = self._all_letters()
        self._surprises = self._logged("surprise")
        self._unavailable = self._logged("batch_unavailable")

    @property
    def dead_letters(self) -> int:
        """New ones."""
        return self._all_letters() - self._letters

    @property
    def surprises(self) -> int:
        """Streams that the bridges forgot and loaded again."""
        return self._logged("surprise") - self._surprises

    @property
    def unavailable(self) -> int:
        """Batches that workers gave up because PostgreSQL was away or busy."""
        return self._logged("batch_unavailable") - self._unavailable

    def saying(self, fact: str) -> Self:
        """This, as the remark of a row that also says the fact."""
        self._fact = fact
        return self

    def __str__(self) -> str:
        """Counted when it is asked for. Raises AssertionError where there is a new dead letter."""
        assert self.dead_letters == 0, f"{self.dead_letters} dead letters"
        return (
            f"{self._fact}; {self.surprises} surprises, {self.unavailable} batches given up, "
            "0 dead letters"
        )

    def calls(self) -> list[Call]:
        """Those that began and ended since, or, if that was called, before `until_now`."""
        return self._scene.calls_since(self._began) if self._calls is None else self._calls

    def until_now(self) -> None:
        """Calls that end later do not count."""
        self._calls = self.calls()

    def all_acked(self) -> str:
        """How many calls there were. Raises AssertionError where one of them was not acked."""
        calls = self.calls()
        bad = [call for call in calls if call.outcome is not Outcome.OK]
        assert calls, "no call ended"
        assert not bad, f"{len(bad)} of {len(calls)} calls were not acked, first {bad[0]}"
        return f"all {len(calls)} calls acked"

    def _all_letters(self) -> int:
        ((found,),) = self._scene.sql("SELECT count(*) FROM dead_letter")
        return int(found)

    def _logged(self, event: str) -> int:
        names = (*self._scene.bridges, *self._scene.workers)
        return sum(self._scene.logged(name, event) for name in names)
