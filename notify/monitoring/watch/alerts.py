"""Decides when an alert opens and closes. Pure: findings and the time in, steps out."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from notify.monitoring.findings import Finding


class OpenAlert(NamedTuple):
    """An open alert: a row of `alert` that is not closed."""

    id: int
    key: str
    kind: str


class Steps(NamedTuple):
    """What to do after a check: alerts to open, to refresh and to close."""

    opens: Sequence[Finding]
    refreshes: Sequence[tuple[OpenAlert, Finding]]
    closes: Sequence[OpenAlert]


class Alerts:
    """Opens an alert for what two checks in a row have found, so that a short peak causes none. Closes it
    when nothing was found for `close_after_s`, so that a problem that comes and goes is one alert."""

    def __init__(self, *, close_after_s: float) -> None:
        self._close_after_s: Final = close_after_s
        self._found_before: frozenset[str] = frozenset()
        self._gone_since: dict[str, float] = {}

    def step(
        self,
        found: Collection[Finding],
        opened: Mapping[str, OpenAlert],
        *,
        now_s: float,
        unsure: Collection[str] = (),
    ) -> Steps:
        """The steps after one check. `opened`: the open alerts by key. `unsure`: kinds that cannot be judged
        now, whose alerts stay as they are. A finding that opens no alert keeps an open one open.
        """
        sure = {each.key: each for each in found if each.kind not in unsure}
        gone = {
            key for key, alert in opened.items() if key not in sure and alert.kind not in unsure
        }
        self._gone_since = {key: self._gone_since.get(key, now_s) for key in gone}
        steps = Steps(
            opens=[
                finding
                for key, finding in sure.items()
                if finding.opens and key not in opened and key in self._found_before
            ],
            refreshes=[(opened[key], finding) for key, finding in sure.items() if key in opened],
            closes=[
                opened[key]
                for key, since_s in self._gone_since.items()
                if now_s - since_s >= self._close_after_s
            ],
        )
        self._found_before = frozenset(key for key, finding in sure.items() if finding.opens)
        return steps

    def forget(self) -> None:
        """Forgets what earlier checks found, because another watcher is the leader now."""
        self._found_before = frozenset()
        self._gone_since = {}
