"""The demo's output: a live panel in a terminal; otherwise a line every two seconds."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from devstack.demo.sample import Culprit, Sample

_BARS: Final = " ▁▂▃▄▅▆▇█"
_PLAIN_EVERY_S: Final = 2.0
#: A record is named if it gets at least this share of all writes.
DOMINATES: Final = 0.15


class Screen:
    """Shows the phase, the newest sample, and progress bars."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._live: Live | None = None
        self._said = 0.0
        self._phase = ("", "")
        self._history: list[Sample] = []
        self._notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.rest()

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self.console.print(line)

    def phase(self, title: str, story: str) -> None:
        """Starts a new phase."""
        self.rest()
        self._phase, self._notes = (title, story), []
        self._said = 0.0
        if not self.console.is_terminal:
            self.console.print(f"\n== {title}: {story}")

    def note(self, line: str) -> None:
        """Shows an event of the phase."""
        self._notes.append(line)
        if not self.console.is_terminal:
            self.console.print(f"   * {line}")

    def rest(self) -> None:
        """Stops updating the panel; its last state stays on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(
        self,
        history: Sequence[Sample],
        *,
        watched: str = "",
        bars: Sequence[tuple[str, int, int, str]] = (),
    ) -> None:
        """Draws the newest sample. `bars` are progress bars: (label, done, total, remark)."""
        self._history = list(history)
        if not self.console.is_terminal:
            self._show_plain(watched, bars)
            return
        panel = self._panel(watched, bars)
        if self._live is None:
            self._live = Live(panel, console=self.console, auto_refresh=False)
            self._live.start()
        self._live.update(panel, refresh=True)

    def _show_plain(self, watched: str, bars: Sequence[tuple[str, int, int, str]]) -> None:
        if time.monotonic() < self._said + _PLAIN_EVERY_S:
            return
        self._said = time.monotonic()
        now = self._history[-1]
        line = (
            f"   {now.rate:7,.0f} updates/s  lag {now.lag_messages:7,} messages {now.lag_s:5.1f} s"
            f"  CPU {now.cpu_percent:3.0f} %"
        )
        if watched:
            line += f"  {watched}: {now.watched_per_s:.0f} writes/s"
        for label, done, of, remark in bars:
            line += f"  {label} {done:,}/{of:,} {remark}"
        self.console.print(line)
        if now.culprit is not None and now.culprit.share >= DOMINATES:
            self.console.print(f"   {accuse(now.culprit)}")

    def _panel(self, watched: str, bars: Sequence[tuple[str, int, int, str]]) -> Panel:
        now = self._history[-1]
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="crop", style="cyan")
        spark = [
            ("applied", f"{now.rate:,.0f} updates/s", [sample.rate for sample in self._history]),
            (
                "message lag",
                f"{now.lag_messages:,} messages",
                [float(sample.lag_messages) for sample in self._history],
            ),
            ("time lag", f"{now.lag_s:.1f} s", [sample.lag_s for sample in self._history]),
            (
                "CPU of the machine",
                f"{now.cpu_percent:.0f} %",
                [sample.cpu_percent for sample in self._history],
            ),
        ]
        if watched:
            spark.append(
                (
                    watched,
                    f"{now.watched_per_s:.0f} writes/s",
                    [sample.watched_per_s for sample in self._history],
                )
            )
        for label, value, series in spark:
            table.add_row(label, value, sparkline(series[-24:]))
        parts: list[Text | Table] = [Text(self._phase[1], style="italic"), Text(""), table]
        if now.culprit is not None and now.culprit.share >= DOMINATES:
            parts += [Text(""), Text(accuse(now.culprit), style="bold red")]
        if bars:
            parts += [Text(""), _bars(bars)]
        parts += [Text(f"• {line}", style="green") for line in self._notes]
        return Panel(Group(*parts), title=f"[bold]{self._phase[0]}", padding=(1, 2))


def accuse(culprit: Culprit) -> str:
    """Which record causes the load, and why."""
    name = culprit.identifier or culprit.record
    linked = f": {culprit.linked:,} devices linked to it" if culprit.linked else ""
    return (
        f"{culprit.share:.0%} of all writes: app {culprit.app}, record {name} "
        f"({culprit.direct:,} direct, {culprit.mirrored:,} mirrored){linked}"
    )


def sparkline(series: Sequence[float]) -> str:
    """The series as a line of bars, scaled to its highest value."""
    top = max(series, default=0) or 1
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in series)


def _bars(bars: Sequence[tuple[str, int, int, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for label, done, of, remark in bars:
        table.add_row(
            label, ProgressBar(total=of, completed=done, width=24), f"{done:,} of {of:,}", remark
        )
    return table
