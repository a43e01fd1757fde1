"""`make rehearse`: play the rehearsals and print what was measured beside the goals.

Exit code 0 if all goals were met, 1 if one was not. Run it beside the services (`devstack run`).
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.qa.rehearsal import play
from tests.qa.rehearsal.play import Measured, Scale
from tests.qa.rehearsal.staff import chromium

#: Goals in seconds, and how much later other apps' updates may be.
NAMED_S = 10.0
CURED_S = 5.0
LATER = 2.0
#: Below this p99 is noise of one machine: twice as much of nothing is nothing.
FLOOR_S = 0.1


def main() -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["skip", "limit", "app", "backlog"], action="append")
    parser.add_argument("--quick", action="store_true", help="fewer apps, shorter phases")
    parser.add_argument("--pictures", type=Path, help="a folder for screenshots of the incident")
    arguments = parser.parse_args()
    scale = play.QUICK if arguments.quick else Scale()
    wanted = arguments.only or ["skip", "limit", "app", "backlog"]
    console = Console()
    met = True
    for name in wanted:
        console.print(f"[bold]{_TITLES[name]}[/bold]")
        with (
            tempfile.TemporaryDirectory(prefix="notify-rehearsal-") as directory,
            chromium() as browser,
        ):
            Path(directory).chmod(0o711)
            with play.staged(Path(directory), scale) as stage:
                if name == "app":
                    measured = play.one_app(stage, browser)
                elif name == "backlog":
                    measured = play.behind(stage, browser)
                else:
                    measured = play.one_record(
                        stage, browser, cure=name, pictures=arguments.pictures
                    )
        met &= show(console, name, measured)
    return 0 if met else 1


_TITLES = {
    "skip": "One record, cured by Skip",
    "limit": "One record, cured by Set limit",
    "app": "One app over many records, cured by its requests a second",
    "backlog": "One record with a backlog beyond capacity, cured by Skip",
}


def show(console: Console, name: str, measured: Measured) -> bool:
    """Print it; whether all goals were met."""
    table = Table(show_edge=False)
    for column in ("measured", "value", "goal", ""):
        table.add_column(column)
    rows: list[tuple[str, float | None, float | None]] = [
        ("the page names the culprit and why", measured.page_s, NAMED_S),
        ("the watcher's log does", measured.log_s, NAMED_S if name != "backlog" else None),
    ]
    if name in ("skip", "limit"):
        rows += [("webhook", measured.webhook_s, NAMED_S), ("e-mail", measured.mail_s, NAMED_S)]
    rows.append(("from the click to the last write", measured.cured_s, CURED_S))
    if name == "backlog":
        rows.append(
            ("from the click until lag falls at the normal rate", measured.drains_s, CURED_S)
        )
    met = True
    for what, value, goal in rows:
        if goal is None:
            continue
        good = value is not None and value < goal
        met &= good
        shown = "not in time" if value is None else f"{value:.1f} s"
        table.add_row(what, shown, f"< {goal:.0f} s", _mark(good))
    if measured.p99_before_s:
        before, during, after = (
            measured.p99_before_s, measured.p99_during_s, measured.p99_after_s,
        )  # fmt: skip
        good = max(during, after) <= max(LATER * before, FLOOR_S)
        met &= good
        table.add_row(
            "other apps' p99, before / during / after",
            f"{before * 1000:.0f} / {during * 1000:.0f} / {after * 1000:.0f} ms",
            f"<= {LATER:.0f}x or {FLOOR_S * 1000:.0f} ms",
            _mark(good),
        )
    for what, rate in measured.drained_per_s.items():
        table.add_row(f"drained: {what}", f"{rate:,.0f} updates/s", "", "")
    console.print(f"culprit {measured.culprit} {measured.record}")
    console.print(table)
    return met


def _mark(good: bool) -> str:
    return "[green]held[/green]" if good else "[red]DID NOT HOLD[/red]"


if __name__ == "__main__":
    sys.exit(main())
