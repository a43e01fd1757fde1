"""What a run has measured."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from tests.qa.benchmarks.contenders.comparison import Comparison
from tests.qa.benchmarks.contenders.measure import Drained, Killed
from tests.qa.benchmarks.contenders.open_loop import CaughtUp, Lags
from tests.qa.benchmarks.contenders.shapes import Shape


@dataclass(slots=True)
class Results:
    """By contender's title: its setup, and what was measured, or the reason why not."""

    updates: int
    #: For contenders that are slow.
    fewer: int
    rounds: int
    shapes: list[Shape]
    #: Titles, in the order of the report.
    setups: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    drained: defaultdict[tuple[str, str], list[Drained | str]] = field(
        default_factory=lambda: defaultdict(list)
    )
    killed: dict[str, Killed | str] = field(default_factory=dict)
    kill_shape: str = ""
    #: By contender's title and share of its own rate.
    lags: dict[str, dict[float, Lags | str]] = field(default_factory=dict)
    spikes: dict[str, CaughtUp | str] = field(default_factory=dict)
    #: Updates a second of the hand-written consumer, by batch size.
    tuned: dict[int, float] = field(default_factory=dict)

    @property
    def best_batch(self) -> int:
        """The batch size at which the hand-written consumer was fastest."""
        return max(self.tuned, key=lambda size: self.tuned[size])

    def spread(self, title: str, shape: Shape) -> "Spread | None":
        """The rates of all rounds; None if there are none."""
        found = [each for each in self.drained[title, shape.name] if isinstance(each, Drained)]
        return spread(found) if found else None

    def failure(self, title: str, shape: Shape) -> str | None:
        """Why a round has no rate."""
        reasons = [each for each in self.drained[title, shape.name] if isinstance(each, str)]
        return reasons[0] if reasons else None


class Spread(NamedTuple):
    """Updates a second over all rounds, the round with the most wrong rows, and the updates of a round."""

    low: float
    median: float
    high: float
    worst: Comparison
    updates: int


def spread(drains: Iterable[Drained]) -> Spread:
    """Of at least one drain."""
    found = list(drains)
    rates = [each.per_s for each in found]
    worst = max((each.comparison for each in found), key=lambda each: each.wrong)
    return Spread(min(rates), median(rates), max(rates), worst, found[0].updates)
