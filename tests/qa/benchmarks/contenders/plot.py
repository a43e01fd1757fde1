"""Draws the rates of a group of shapes as bars, with the spread of the rounds."""

from html import escape

from tests.qa.benchmarks.contenders.results import Results, Spread
from tests.qa.benchmarks.contenders.shapes import Shape
from tests.qa.benchmarks.svg import BLUE, GREY, ORANGE, round_up, svg_head, text

WIDTH, LEFT, RIGHT, TOP, LINE, GAP = 860, 236, 150, 44, 22, 56


def plot(results: Results, shapes: list[Shape]) -> str:
    """A panel a shape, all with the same scale. The bar is the median, the line from lowest to highest."""
    titles = list(results.setups)
    spreads = {
        (title, shape.name): results.spread(title, shape) for title in titles for shape in shapes
    }
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
