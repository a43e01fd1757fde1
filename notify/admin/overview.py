"""The Overview: what is wrong now, where to fix it, and the numbers of now and of the last hour."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from notify.admin import history
from notify.admin.charts import Bar, bars
from notify.models import App
from notify.monitoring import findings
from notify.monitoring.findings import (
    STALLED,
    Finding,
    FindingBounds,
    find,
    is_stalled,
    percent,
    worker_state,
)
from notify.monitoring.partition_state import ABOUT, PartitionState, ranges, state_of
from notify.monitoring.snapshot import LaneNow, Snapshot, WorkerNow, read

#: Lines of a panel's list; the rest is a number.
_ROWS: Final = 10
_HOT_ROWS: Final = 5
_OF_A_KIND: Final = 3
_WORKERS: Final = 50
#: Open apps that are counted.
_OPEN_APPS: Final = 1_000
#: Writes of a lane whose bar is of full height, if none has more: few are shown as few.
_FULL_BAR: Final = 100
#: For how long a worker that said that it stops is still shown.
_STOPPED_S: Final = 3_600
#: What names an app or a record of it.
_NAMING: Final[Mapping[str, str]] = {
    findings.HOT_RECORD: "{share} of updates in the last {seconds:.0f} s belong to one record.",
    findings.HOT_APP: "{share} of updates in the last {seconds:.0f} s come from one app, over many records.",
    findings.APP_LIMITED: "Requests of one app are refused with 429 because of a rate limit.",
    findings.LINKS_REFUSED: "Links of one app are refused because of a link limit.",
    findings.LEFT_OUT: "Values are left out of the requests of one app.",
}
#: How a partition's row is marked, if it is not bad.
_MARKS: Final[Mapping[PartitionState, str]] = {
    PartitionState.OK: "",
    PartitionState.DRAINING: "",
    PartitionState.STARTING: "is-warn",
    PartitionState.UNKNOWN: "is-warn",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """A finding as this reader may see it; `href` is empty if no page shows more."""

    level: str
    text: str
    #: What to do now; empty if a page has a button for it.
    cure: str = ""
    href: str = ""
    action: str = ""
    #: How many more there are of its kind that are not shown.
    more: int = 0


@dataclass(frozen=True, slots=True)
class OverviewRow:
    """A row of a panel. `mark` is its CSS class: empty, is-warn or is-bad."""

    of: Any
    mark: str
    state: str


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The template context of the Overview; Unfold calls it (DASHBOARD_CALLBACK).

    Readers without a permission of notify get none of it, and only those who may view hot records get
    the names of records and apps. Takes a fixed number of queries.
    """
    if not request.user.has_module_perms("notify"):
        return context
    seen = read()
    bounds = FindingBounds.of_settings()
    may_name = request.user.has_perm("notify.view_hot")
    late_s = bounds.stalled_s
    return context | {
        "as_of": seen.at,
        "seen": seen,
        "alarms": _alarms(seen, bounds, request),
        "hour": history.hour(seen.at),
        "now": _sums(seen, late_s),
        "partitions": _partitions(seen, bounds),
        "lanes": _lanes(seen, late_s),
        "workers": _workers(seen, late_s),
        "hot": [(each, seen.name(each.app)) for each in seen.hot[:_HOT_ROWS]] if may_name else (),
        "may_name": may_name,
        "open_apps": _open_apps() if request.user.has_perm("notify.view_app") else 0,
        "flower": settings.NOTIFY_FLOWER_URL,
    }


def _open_apps() -> int:
    """How many apps are open, which means that their public id is enough to act for them; at most
    _OPEN_APPS."""
    found = App.objects.filter(enabled=True, requires_key=False, requires_identity=False)
    return found.order_by()[:_OPEN_APPS].count()


def _alarms(seen: Snapshot, bounds: FindingBounds, request: HttpRequest) -> list[Alarm]:
    """The findings, the worst first. Readers who may not view hot records get no names in them."""
    found = find(seen, bounds)
    if request.user.has_perm("notify.view_hot"):
        return _few((each.kind, _alarm(each, request)) for each in found)
    hidden = [each for each in found if each.kind in _NAMING]
    told = [(each.kind, Alarm(each.level, _without_names(each, seen))) for each in hidden]
    nameless = find(
        replace(seen, hot=[], hot_apps=[], limited=[], refused_links=[], left_out=[], names={}),
        bounds,
    )
    told += [(each.kind, _alarm(each, request)) for each in nameless]
    return _few(sorted(told, key=lambda each: findings.KINDS.index(each[0])))


def _few(told: Iterable[tuple[str, Alarm]]) -> list[Alarm]:
    """The first few of each kind, so that many stopped partitions do not hide other problems."""
    shown: list[Alarm] = []
    for _, group in groupby(told, key=lambda each: each[0]):
        alarms = [alarm for _, alarm in group]
        last = replace(alarms[:_OF_A_KIND][-1], more=len(alarms[_OF_A_KIND:]))
        shown += [*alarms[: _OF_A_KIND - 1], last] if last.more else alarms
    return shown


def _without_names(finding: Finding, seen: Snapshot) -> str:
    said = _NAMING[finding.kind].format(share=percent(finding.share), seconds=seen.seconds)
    return f"{said} Ask a colleague who may view hot records for the name."


def _alarm(finding: Finding, request: HttpRequest) -> Alarm:
    may = request.user.has_perm
    if finding.kind == findings.HOT_RECORD:
        return Alarm(finding.level, finding.text, href=finding.path, action="Show the record")
    if finding.kind == findings.HOT_APP:
        if may("notify.change_app"):
            return Alarm(
                finding.level, finding.text, href=finding.path, action="Limit its requests…"
            )
        href = f"{reverse('admin:notify_hot_changelist')}?app={finding.app}"
        return Alarm(finding.level, finding.text, href=href, action="Show the app")
    if finding.kind == findings.APP_LIMITED:
        href = finding.path if may("notify.view_app") else ""
        return Alarm(finding.level, finding.text, href=href, action="Show its limits")
    if finding.kind in (findings.LINKS_REFUSED, findings.LEFT_OUT):
        usage = reverse("admin:app_usage", args=[finding.app])
        if finding.path != usage and may("notify.add_linklimit"):
            return Alarm(finding.level, finding.text, finding.cure, finding.path, "Set limit…")
        href = usage if may("notify.view_app") else ""
        return Alarm(finding.level, finding.text, finding.cure, href, "Show its limits")
    if finding.kind == findings.DEAD_LETTERS:
        href = finding.path if may("notify.view_deadletter") else ""
        return Alarm(finding.level, finding.text, finding.cure, href, "Read them")
    panel = findings.PANELS.get(finding.kind)
    return Alarm(
        finding.level, finding.text, finding.cure, f"#{panel}" if panel else "", "Show the numbers"
    )


def _sums(seen: Snapshot, late_s: float) -> dict[str, Any]:
    """The numbers of the tiles, over all partitions. None means unknown: a recent sample is missing.

    If one partition's number is unknown, so is the sum.
    """
    behind = [lane for lane in seen.lanes if lane.writes and lane.oldest_s > late_s]
    silent = [each.partition for each in seen.streams if each.lag_s is None]
    is_told = seen.sampled_ago_s is not None and seen.sampled_ago_s <= late_s
    is_watched = _is_watched(seen, late_s)
    well = [each for each in seen.workers if not (each.offline or is_stalled(each, late_s))]
    return {
        "updates_per_s": seen.messages / seen.seconds if is_told else None,
        "writes_per_s": seen.writes / seen.seconds if is_told else None,
        "mirrored_per_s": seen.mirrored / seen.seconds if is_told else None,
        "skipped_per_s": seen.skipped / seen.seconds if is_told else None,
        "lag_s": _all(max, [each.lag_s for each in seen.streams]),
        "lag_messages": _all(sum, [each.lag_messages for each in seen.streams]),
        "held_writes": _all(sum, [each.held_writes for each in seen.streams]),
        "held_bytes": _all(sum, [each.held_bytes for each in seen.streams]),
        "paused": sum(bool(each.paused) for each in seen.streams),
        "silent": ranges(silent),
        "sampled_ago_s": seen.sampled_ago_s,
        "behind": len(behind) if seen.lanes else None,
        "oldest_s": max((lane.oldest_s for lane in seen.lanes if lane.writes), default=None),
        "workers": len(well) if is_watched else None,
        "busy": sum(each.active for each in well),
        "late_s": late_s,
    }


def _all(add: Callable[[Iterable[float]], float], numbers: Sequence[float | None]) -> float | None:
    """`add` of all numbers; None if one of them is unknown or there are none."""
    known = [each for each in numbers if each is not None]
    return add(known) if known and len(known) == len(numbers) else None


def _is_watched(seen: Snapshot, late_s: float) -> bool:
    """Whether the watcher runs, so that the state of workers is current."""
    return seen.watched_ago_s is not None and seen.watched_ago_s <= late_s


def _partitions(seen: Snapshot, bounds: FindingBounds) -> dict[str, Any]:
    """A row for each partition, and an explanation of each state other than `ok` that occurs."""
    states = [(each, state_of(each, bounds)) for each in seen.streams]
    others = {state for _, state in states} - {PartitionState.OK}
    return {
        "rows": [
            OverviewRow(each, _MARKS.get(state, "is-bad"), state.value) for each, state in states
        ],
        "about": [(each.value, ABOUT[each]) for each in PartitionState if each in others],
    }


def _workers(seen: Snapshot, late_s: float) -> list[OverviewRow]:
    """The workers, those in trouble first, without those that stopped more than an hour ago."""
    is_watched = _is_watched(seen, late_s)
    rows = [
        _worker(each, late_s) if is_watched else OverviewRow(each, "is-warn", "unknown")
        for each in seen.workers
        if not (each.offline and each.seen_ago_s > _STOPPED_S)
    ]
    return sorted(rows, key=lambda row: (not row.mark, row.of.offline, row.of.name))[:_WORKERS]


def _worker(worker: WorkerNow, late_s: float) -> OverviewRow:
    state = worker_state(worker, late_s)
    return OverviewRow(worker, "is-bad" if state in STALLED else "", state)


def _lanes(seen: Snapshot, late_s: float) -> dict[str, Any]:
    """The lanes whose updates wait longest, and a bar for each lane. `is_partial`: some bridge sends no
    samples, so there may be more."""
    lanes = seen.lanes
    waiting = sorted((each for each in lanes if each.writes), key=lambda each: -each.oldest_s)
    return {
        "rows": [_lane(each, late_s) for each in waiting[:_ROWS]],
        "more": len(waiting[_ROWS:]),
        "all": len(lanes),
        "is_partial": any(each.lag_s is None for each in seen.streams),
        "bars": _bars(lanes, late_s),
        "unread": [each.lane for each in lanes if each.workers == 0],
    }


def _bars(lanes: Sequence[LaneNow], late_s: float) -> list[tuple[LaneNow, Bar, str]]:
    drawn = bars([each.writes for each in lanes], full=_FULL_BAR)
    return [(lane, bar, _lane(lane, late_s).mark) for lane, bar in zip(lanes, drawn, strict=True)]


def _lane(lane: LaneNow, late_s: float) -> OverviewRow:
    if lane.workers == 0:
        return OverviewRow(lane, "is-bad", "no worker")
    if lane.writes and lane.oldest_s > late_s:
        return OverviewRow(lane, "is-bad", "behind")
    return OverviewRow(lane, "", "ok")
