"""The report of a run, for the terminal and for docs/benchmarks.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from devstack import ROOT
from tests.qa.benchmarks.contenders.measure import Killed
from tests.qa.benchmarks.contenders.open_loop import NORMAL_S, CaughtUp, Lags
from tests.qa.benchmarks.contenders.plot import Curve, curves, plot
from tests.qa.benchmarks.contenders.results import Results, Spread
from tests.qa.benchmarks.contenders.shapes import Shape

PAGE: Final = ROOT / "docs" / "benchmarks.md"
IMAGES: Final = ROOT / "docs" / "images"
METHOD: Final = Path(__file__).with_name("method.md").read_text()
_KILL: Final = Path(__file__).with_name("kill.md").read_text()
_LAG: Final = Path(__file__).with_name("lag.md").read_text()
_SPIKE: Final = Path(__file__).with_name("spike.md").read_text()
_LAG_IMAGE: Final = "benchmark-lag.svg"


def write(results: Results, facts: Iterable[str]) -> None:
    """Writes the page and its plots."""
    IMAGES.mkdir(exist_ok=True)
    for group, shapes in groups(results.shapes).items():
        (IMAGES / _image(group)).write_text(plot(results, shapes))
    if results.lags:
        (IMAGES / _LAG_IMAGE).write_text(curves(lag_curves(results)))
    PAGE.write_text(page(results, facts))


def groups(shapes: Sequence[Shape]) -> dict[str, list[Shape]]:
    """The shapes of each plot."""
    names = dict.fromkeys(shape.group for shape in shapes)
    return {name: [shape for shape in shapes if shape.group == name] for name in names}


def page(results: Results, facts: Iterable[str]) -> str:
    """The page in Markdown."""
    parts = [METHOD, "## Updates a second\n"]
    parts.append(
        f"{results.updates:,} updates a drain, {results.fewer:,} where a contender is slow (*); "
        f"{results.rounds} rounds: the median, and the lowest and the highest round.\n"
    )
    parts += [_markdown(_rates(results, shapes)) for shapes in _tables(results)]
    for group, shapes in groups(results.shapes).items():
        names = " and ".join(shape.title for shape in shapes)
        parts.append(f"![Updates a second: {names}](images/{_image(group)})\n")
    if results.killed:
        parts += [f"## After a kill: {results.kill_shape}\n", _KILL, _markdown(_kills(results))]
    if results.lags:
        parts += ["## Lag at a steady load\n", _LAG, _markdown(_lags(results))]
        parts.append(f"![The 99th percentile of the lag](images/{_LAG_IMAGE})\n")
    if results.spikes:
        parts += ["## A spike\n", _SPIKE, _markdown(_spikes(results))]
    parts += ["## Contenders\n", _markdown(_setups(results))]
    if results.tuned:
        parts.append(_tuning(results) + "\n")
    parts += ["## Conditions\n", "\n".join(f"- {fact}" for fact in facts) + "\n"]
    return "\n".join(parts)


def terminal(results: Results, facts: Iterable[str]) -> str:
    """The same tables as text."""
    parts = [_text(_rates(results, shapes)) for shapes in _tables(results)]
    if results.killed:
        parts.append(f"After a kill: {results.kill_shape}\n" + _text(_kills(results)))
    if results.lags:
        parts.append("Lag at a steady load\n" + _text(_lags(results)))
    if results.spikes:
        parts.append("A spike\n" + _text(_spikes(results)))
    if results.tuned:
        parts.append(_tuning(results))
    parts += [f"{title}: not measured: {why}" for title, why in results.unavailable.items()]
    parts.append("\n".join(facts))
    return "\n\n".join(parts)


Table = list[list[str]]


def _tables(results: Results) -> list[list[Shape]]:
    """The shapes of each table: those for all contenders, and the others."""
    every = [shape for shape in results.shapes if shape.all_contenders]
    return [found for found in (every, [s for s in results.shapes if s not in every]) if found]


def _rates(results: Results, shapes: Sequence[Shape]) -> Table:
    """Without contenders that have no part in these shapes."""
    rows = [["Contender", *(shape.title for shape in shapes)]]
    for title in results.setups:
        if not any(results.drained[title, shape.name] for shape in shapes):
            continue
        cells = [
            _cell(
                results.spread(title, shape),
                results.failure(title, shape),
                updates=results.updates,
            )
            for shape in shapes
        ]
        rows.append([title, *cells])
    return rows


def _cell(spread: Spread | None, failure: str | None, *, updates: int) -> str:
    parts = []
    if spread is not None:
        rates = f"{spread.median:,.0f}" + ("*" if spread.updates < updates else "")
        if spread.low != spread.high:
            rates += f" ({spread.low:,.0f} to {spread.high:,.0f})"
        parts.append(rates)
        if spread.worst.wrong:
            parts.append(str(spread.worst))
    if failure is not None:
        parts.append("failed: " + _line(failure, 80))
    return "; ".join(parts) or "not measured"


def _kills(results: Results) -> Table:
    rows = [["Contender", "Applied at the kill", "Delivered again", "Twice", "Lost", "Rows"]]
    for title, killed in results.killed.items():
        if isinstance(killed, Killed):
            found = killed.comparison
            counts = (killed.applied, killed.redelivered, found.twice, found.lost)
            rows.append([title, *(f"{count:,}" for count in counts), str(found)])
        else:
            rows.append([title, "", "", "", "", _line(killed, 120)])
    return rows


def _lags(results: Results) -> Table:
    shares = sorted({share for found in results.lags.values() for share in found})
    rows = [["Contender", *(f"{share:.0%} of its rate" for share in shares)]]
    for title, found in results.lags.items():
        rows.append([title, *(_lag(found[share]) for share in shares)])
    return rows


def _lag(found: Lags | str) -> str:
    if isinstance(found, str):
        return "failed: " + _line(found, 80)
    return f"{found.per_s:,.0f}/s: {found.p50_ms:,.0f} / {found.p99_ms:,.0f} / {found.p999_ms:,.0f}"


def _spikes(results: Results) -> Table:
    rows = [["Contender", "Longest lag before", "Longest lag since", "Within a second again"]]
    for title, found in results.spikes.items():
        if isinstance(found, CaughtUp):
            again = f"after {found.after_s:,.1f} s" if found.after_s else "always"
            if found.after_s == 0 and found.longest_ms > NORMAL_S * 1_000:
                again = "before its end"
            rows.append([title, f"{found.calm_ms:,.0f} ms", f"{found.longest_ms:,.0f} ms", again])
        else:
            rows.append([title, "", "", "failed: " + _line(found, 120)])
    return rows


def lag_curves(results: Results) -> list[Curve]:
    """For each contender, the 99th percentile of the lag in ms at each rate."""
    found = {
        title: [each for each in loads.values() if isinstance(each, Lags)]
        for title, loads in results.lags.items()
    }
    return [
        Curve(title, [(each.per_s, each.p99_ms) for each in lags])
        for title, lags in found.items()
        if lags
    ]


def _setups(results: Results) -> Table:
    rows = [["Contender", "Version and settings"]]
    rows += [[title, setup] for title, setup in results.setups.items()]
    rows += [
        [title, "not measured: " + _line(why, 300)] for title, why in results.unavailable.items()
    ]
    return rows


def _tuning(results: Results) -> str:
    tried = ", ".join(f"{size:,}: {rate:,.0f}/s" for size, rate in results.tuned.items())
    best = max(results.tuned, key=lambda size: results.tuned[size])
    return f"Batch sizes tried for the hand-written consumer: {tried}. Used: {best:,}."


def _line(text: str, most: int) -> str:
    return " ".join(text.split())[:most]


def _image(group: str) -> str:
    return f"benchmark-{group}.svg"


def _markdown(rows: Table) -> str:
    lines = ["| " + " | ".join(text.replace("|", "/") for text in row) + " |" for row in rows]
    return "\n".join([lines[0], "|-" * len(rows[0]) + "|", *lines[1:]]) + "\n"


def _text(rows: Table) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
