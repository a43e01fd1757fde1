"""Draws the rates of a group of shapes as bars, with the spread of the rounds; and lags over rates."""

import math
from html import escape
from typing import Final, NamedTuple

from tests.qa.benchmarks.contenders.results import Results, Spread
from tests.qa.benchmarks.contenders.shapes import Shape
from tests.qa.benchmarks.svg import BLUE, GREY, ORANGE, round_up, svg_head, text

WIDTH, LEFT, RIGHT, TOP, LINE, GAP = 860, 248, 150, 44, 22, 56
#: The plot of lags: its margins, and its height without them.
SIDE, ABOVE, HIGH, BELOW, END = 64, 64, 320, 44, 820
COLOURS: Final = (BLUE, ORANGE, "#15803d", "#7c3aed", "#be185d", "#0e7490", GREY)


def plot(results: Results, shapes: list[Shape]) -> str:
    """A panel a shape, all with the same scale. The bar is the median, the line from lowest to highest."""
    spreads = {
        (title, shape.name): results.spread(title, shape)
        for title in results.setups
        for shape in shapes
    }
    titles = [
        title for title in results.setups if any(spreads[title, shape.name] for shape in shapes)
    ]
    most = round_up(max([each.high for each in spreads.values() if each] or [1.0]))
    panel = len(titles) * LINE + GAP
    parts = svg_head(WIDTH, TOP + len(shapes) * panel)
    parts.append(text(16, 26, "Updates a second", "600", size=15))
    parts.append(text(WIDTH - 16, 26, "orange: wrong rows", anchor="end"))
    for number, shape in enumerate(shapes):
        top = TOP + number * panel
        parts.append(text(16, top + 14, escape(shape.title), "600"))
        parts += _scale(most, top + 24, top + 24 + len(titles) * LINE)
        for line, title in enumerate(titles):
            y = top + 24 + line * LINE
            parts.append(text(LEFT - 8, y + 15, escape(title), anchor="end"))
            parts += _bar(spreads[title, shape.name], most, y)
    return "\n".join([*parts, "</svg>\n"])


def x_of(rate: float, most: float) -> float:
    """Where a rate is, on a scale from 0 to `most`."""
    return LEFT + rate / most * (WIDTH - LEFT - RIGHT)


def _scale(most: float, top: float, bottom: float) -> list[str]:
    parts = []
    for share in (0, 0.5, 1):
        x = x_of(share * most, most)
        parts.append(f'<path d="M{x:g} {top:g}V{bottom:g}" stroke="#e2e8f0"/>')
        parts.append(text(x, bottom + 14, f"{share * most:,g}", anchor="middle"))
    return parts


def _bar(spread: Spread | None, most: float, y: float) -> list[str]:
    if spread is None:
        return [text(LEFT + 6, y + 15, "not measured")]
    end, low, high = (x_of(rate, most) for rate in (spread.median, spread.low, spread.high))
    colour = ORANGE if spread.worst.wrong else BLUE
    label = f"{spread.median:,.0f}" + (" WRONG" if spread.worst.wrong else "")
    return [
        f'<rect x="{LEFT}" y="{y + 4:g}" width="{end - LEFT:.1f}" height="14" fill="{colour}"/>',
        f'<path d="M{low:.1f} {y + 11:g}H{high:.1f}" stroke="{GREY}" stroke-width="3"/>',
        text(high + 6, y + 15, label),
    ]


class Curve(NamedTuple):
    """Lags in ms over updates a second, with the contender's name."""

    title: str
    points: list[tuple[float, float]]


def curves(found: list[Curve]) -> str:
    """Both axes are logarithmic."""
    rates = [rate for curve in found for rate, _ in curve.points]
    lags = [lag for curve in found for _, lag in curve.points]
    across, up = _powers(rates), _powers(lags)

    def at(rate: float) -> float:
        return SIDE + (END - SIDE) * _share(rate, across)

    def over(lag: float) -> float:
        return ABOVE + HIGH * (1 - _share(lag, up))

    parts = svg_head(WIDTH, ABOVE + HIGH + BELOW + LINE * len(found))
    parts.append(
        text(16, 26, "99th percentile of the lag in ms, over updates a second", "600", size=15)
    )
    for power in range(up[0], up[1] + 1):
        y = over(10.0**power)
        parts.append(f'<path d="M{SIDE} {y:.1f}H{END}" stroke="#e2e8f0"/>')
        parts.append(text(SIDE - 8, y + 4, f"{10**power:,}", anchor="end"))
    for power in range(across[0], across[1] + 1):
        x = at(10.0**power)
        parts.append(f'<path d="M{x:.1f} {ABOVE}V{ABOVE + HIGH}" stroke="#e2e8f0"/>')
        parts.append(text(x, ABOVE + HIGH + 18, f"{10**power:,}", anchor="middle"))
    for number, curve in enumerate(found):
        colour = COLOURS[number % len(COLOURS)]
        places = [(at(rate), over(lag)) for rate, lag in curve.points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places]
        y = ABOVE + HIGH + BELOW + number * LINE
        parts.append(f'<rect x="{SIDE}" y="{y}" width="14" height="4" fill="{colour}"/>')
        parts.append(text(SIDE + 22, y + 7, escape(curve.title)))
    return "\n".join([*parts, "</svg>\n"])


def _powers(values: list[float]) -> tuple[int, int]:
    """The powers of ten around the values."""
    low = math.floor(math.log10(max(min(values), 1)))
    return low, max(low + 1, math.ceil(math.log10(max(*values, 1))))


def _share(value: float, powers: tuple[int, int]) -> float:
    """Where a value is on a logarithmic scale, from 0 to 1."""
    low, high = powers
    return (math.log10(max(value, 10.0**low)) - low) / (high - low)
