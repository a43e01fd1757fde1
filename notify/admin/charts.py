"""Computes the points of small SVG charts, which the browser draws without a script."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

#: The viewBox of .n-spark, in which the points are; a line keeps this far from its edges.
WIDTH: Final = 100
HEIGHT: Final = 24
_EDGE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Spark:
    """A line for each stretch without a gap, the area under each, and the greatest value."""

    lines: tuple[str, ...]
    areas: tuple[str, ...]
    most: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart."""

    x: float
    y: float
    width: float
    height: float


def spark(values: Sequence[float | None]) -> Spark:
    """The values from left to right, each with as much room; None is a gap. The ground is 0."""
    most = max((value for value in values if value is not None), default=0.0)
    stretches = [list(_points(stretch, len(values), most)) for stretch in _stretches(values)]
    return Spark(
        tuple(_text(points) for points in stretches),
        tuple(
            _text([(points[0][0], HEIGHT), *points, (points[-1][0], HEIGHT)])
            for points in stretches
        ),
        most,
    )


def bars(values: Sequence[float], *, full: float = 1.0) -> list[Bar]:
    """A bar for each value, from left to right; one that is not 0 can be seen.

    The greatest has the whole height, if it is `full` at least.
    """
    most = max(full, *values) if values else full
    step = WIDTH / max(1, len(values))
    heights = [max(1.0, HEIGHT * value / most) if value else 0.0 for value in values]
    return [
        Bar(round(n * step, 2), round(HEIGHT - height, 2), round(step * 0.8, 2), round(height, 2))
        for n, height in enumerate(heights)
    ]


def _stretches(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    numbered = enumerate(values)
    for is_gap, stretch in groupby(numbered, key=lambda item: item[1] is None):
        if not is_gap:
            yield [(n, value) for n, value in stretch if value is not None]


def _points(
    stretch: Sequence[tuple[int, float]], slots: int, most: float
) -> Iterator[tuple[float, float]]:
    """From the left edge of its first slot to the right edge of its last: one value is a line too."""
    step = WIDTH / slots

    def y(value: float) -> float:
        return HEIGHT - _EDGE - (HEIGHT - 2 * _EDGE) * (value / most if most else 0.0)

    yield stretch[0][0] * step, y(stretch[0][1])
    for n, value in stretch:
        yield (n + 0.5) * step, y(value)
    yield (stretch[-1][0] + 1) * step, y(stretch[-1][1])


def _text(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
