"""Draws the plot of docs/capacity.md: `.venv/bin/python -m tests.qa.benchmarks.capacity_plot`.

The model plays the same day twice: with every part sized for the peak, and with only web sized for it.
"""

import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from devstack import ROOT
from notify.management import capacity
from tests.qa.benchmarks.capacity_model import DAY_S, Machines, Step, day, play
from tests.qa.benchmarks.svg import BLUE, GREY, ORANGE, round_up, svg_head, text

TARGET: Final = ROOT / "docs" / "images" / "capacity.svg"
MEAN: Final = 1_000.0
PEAK: Final = 10.0
#: The pipeline behind web, as a multiple of the mean.
SMALLER: Final = 1.5
STEP_S: Final = 5
WIDTH, LEFT, RIGHT, TOP, PANEL, GAP = 860, 64, 16, 64, 130, 52


class Line(NamedTuple):
    """A named curve."""

    name: str
    colour: str
    values: list[float]


class Panel(NamedTuple):
    """Curves over the same day."""

    title: str
    lines: list[Line]


def days() -> tuple[list[Step], list[Step]]:
    """The day with all parts sized for the peak, and with the parts behind web sized for less."""
    rates = day(MEAN, PEAK, step_s=STEP_S)
    return _played(rates, PEAK * MEAN), _played(rates, SMALLER * MEAN)


def _played(rates: Sequence[float], pipeline: float) -> list[Step]:
    costs = capacity.read_costs()
    cpu = costs.cpu_us
    # 1 % more than needed, since a queue at exactly its capacity never drains.
    web = PEAK * MEAN * cpu["web"] / 1e6 * 1.01
    each = {name: pipeline * cpu[name] / 1e6 / costs.busy * 1.01 for name in ("worker", "postgres")}
    return play(
        rates, Machines(web, each["worker"], each["postgres"], [1.0], 1), costs, step_s=STEP_S
    )


def panels(full: Sequence[Step], small: Sequence[Step]) -> list[Panel]:
    """What is drawn of the two days."""
    sized = (
        f"all parts sized for {PEAK:g} times the mean",
        f"behind web for {SMALLER:g} times the mean",
    )
    return [
        Panel(
            "Updates a second",
            [
                Line("arriving", GREY, [step.arrived for step in full]),
                Line(f"applied, {sized[1]}", ORANGE, [step.applied for step in small]),
            ],
        ),
        Panel(
            "Updates that wait in Kafka or in the window",
            [
                Line(sized[0], BLUE, [step.backlog + step.held for step in full]),
                Line(sized[1], ORANGE, [step.backlog + step.held for step in small]),
            ],
        ),
        Panel(
            "Lag, in minutes",
            [
                Line(sized[0], BLUE, [step.lag_s / 60 for step in full]),
                Line(sized[1], ORANGE, [step.lag_s / 60 for step in small]),
            ],
        ),
    ]


def svg(full: Sequence[Step], small: Sequence[Step]) -> str:
    """The plot of the two days."""
    drawn = panels(full, small)
    height = TOP + len(drawn) * (PANEL + GAP) + 4
    parts = [
        *svg_head(WIDTH, height),
        text(16, 26, f"A day in the model: {MEAN:,.0f} updates/s on average", "600", size=15),
    ]
    for number, panel in enumerate(drawn):
        parts += _panel(panel, TOP + number * (PANEL + GAP))
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, top: float) -> list[str]:
    most = round_up(max(max(line.values) for line in panel.lines))
    bottom = top + PANEL
    parts = [text(16, top - 10, panel.title, "600")]
    at = WIDTH - RIGHT
    for line in reversed(panel.lines):
        at -= round(len(line.name) * 6.3) + 10
        parts.append(
            f'<rect x="{at - 18}" y="{top - 19}" width="12" height="10" fill="{line.colour}"/>'
        )
        parts.append(text(at, top - 10, line.name))
        at -= 26
    for share in (0, 0.5, 1):
        y = bottom - share * PANEL
        parts.append(f'<path d="M{LEFT} {y:g}H{WIDTH - RIGHT}" stroke="#e2e8f0"/>')
        parts.append(text(LEFT - 8, y + 4, f"{most * share:,g}", anchor="end"))
    for hour in range(0, 25, 3):
        x = LEFT + hour / 24 * (WIDTH - LEFT - RIGHT)
        anchor = "end" if hour == 24 else "middle"
        parts.append(text(x, bottom + 16, f"{hour:02d}:00", anchor=anchor))
    return parts + [_curve(line, most, bottom) for line in panel.lines]


def _curve(line: Line, most: float, bottom: float) -> str:
    columns = WIDTH - LEFT - RIGHT
    highest = [0.0] * columns
    for n, value in enumerate(line.values):
        at = n * columns * STEP_S // DAY_S
        highest[at] = max(highest[at], value)
    path = " ".join(
        f"{LEFT + n},{bottom - each / most * PANEL:.0f}" for n, each in enumerate(highest)
    )
    return f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="1.4"/>'


def main() -> int:
    """Writes the plot and says what it shows."""
    full, small = days()
    TARGET.write_text(svg(full, small))
    for name, steps in (("all parts for the peak", full), ("smaller behind web", small)):
        lag = max(step.lag_s for step in steps)
        waits = max(step.backlog + step.held for step in steps)
        refused = sum(step.refused for step in steps) * STEP_S
        print(
            f"{name}: lag {lag:,.0f} s at most, {waits:,.0f} wait at most, {refused:,.0f} refused"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
