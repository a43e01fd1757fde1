"""The overview: what is wrong now and where to cure it, and how the pipeline stands and stood."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from notify.admin import history
from notify.admin.charts import Bar, bars
from notify.findings import find as findings
from notify.findings.find import Bounds, Finding, find, percent
from notify.findings.snapshot import LaneNow, Snapshot, StreamNow, WorkerNow, read
from notify.models import App

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
    findings.HOT_RECORD: "{share} of updates in the last {seconds:.0f} s are of one record.",
    findings.HOT_APP: "{share} of updates in the last {seconds:.0f} s are of one app, over many records.",
    findings.APP_LIMITED: "Requests of one app are refused with 429 at a rate limit.",
}
#: Where on this page a finding of that kind is explained.
_PANELS: Final[Mapping[str, str]] = {
    findings.HALTED: "partitions",
    findings.BRIDGE_STALLED: "partitions",
    findings.KAFKA_SILENT: "partitions",
    findings.PARTITION_UNREAD: "partitions",
    findings.LAG: "partitions",
    findings.LANES_STUCK: "lanes",
    findings.LANE_UNREAD: "lanes",
    findings.NO_WORKERS: "workers",
    findings.WORKER_STALLED: "workers",
    findings.UNWATCHED: "workers",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """A finding as its reader may see it; `href` is empty if there is nothing more to see."""

    level: str
    text: str
    href: str = ""
    action: str = ""
    #: How many more there are of its kind that are not shown.
    more: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a panel, and how it is marked: empty, is-warn or is-bad."""

    of: Any
    mark: str
    state: str


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold calls this for admin:index. Who may see nothing of the pipeline gets none of it.

    Names of records and apps are for those who may view hot records. A fixed number of queries.
    """
    if not request.user.has_module_perms("notify"):
        return context
    seen = read()
    bounds = Bounds.of_settings()
    may_name = request.user.has_perm("notify.view_hot")
    late_s = bounds.stalled_s
    return context | {
        "as_of": seen.at,
        "seen": seen,
        "alarms": [*_stale(seen, late_s), *_alarms(seen, bounds, request)],
        "hour": history.hour(seen.at),
        "now": _sums(seen, late_s),
        "streams": [_stream(each, bounds) for each in seen.streams],
        "lanes": _lanes(seen.lanes, late_s),
        "workers": _workers(seen.workers, late_s),
        "hot": [(each, seen.name(each.app)) for each in seen.hot[:_HOT_ROWS]] if may_name else (),
        "may_name": may_name,
        "open_apps": _open_apps() if request.user.has_perm("notify.view_app") else 0,
        "flower": settings.NOTIFY_FLOWER_URL,
    }


def _open_apps() -> int:
    """How many apps anybody can act for who knows their id, at most _OPEN_APPS."""
    found = App.objects.filter(enabled=True, requires_key=False, requires_identity=False)
    return found.order_by()[:_OPEN_APPS].count()


def _stale(seen: Snapshot, late_s: float) -> Iterable[Alarm]:
    if seen.sampled_ago_s is None:
        yield Alarm(
            findings.WARN,
            "No bridge has written a sample in the last hour, so nothing here is known: start "
            "`manage.py bridge`, or read its log.",
        )
    elif seen.sampled_ago_s > late_s:
        yield Alarm(
            findings.BAD,
            f"What you see is old: bridges write samples once a second, the newest is "
            f"{seen.sampled_ago_s:,.0f} s old. Read the bridges' logs.",
        )


def _alarms(seen: Snapshot, bounds: Bounds, request: HttpRequest) -> list[Alarm]:
    """The worst first. Who may not view hot records is told that there are, not which."""
    found = find(seen, bounds)
    if request.user.has_perm("notify.view_hot"):
        return _few((each.kind, _alarm(each, request)) for each in found)
    hidden = [each for each in found if each.kind in _NAMING]
    told = [(each.kind, Alarm(each.level, _without_names(each, seen))) for each in hidden]
    nameless = find(replace(seen, hot=[], hot_apps=[], limited=[], names={}), bounds)
    told += [(each.kind, _alarm(each, request)) for each in nameless]
    return _few(sorted(told, key=lambda each: findings.KINDS.index(each[0])))


def _few(told: Iterable[tuple[str, Alarm]]) -> list[Alarm]:
    """Of each kind the first few: where all partitions stand, what else is wrong is seen too."""
    shown: list[Alarm] = []
    for _, group in groupby(told, key=lambda each: each[0]):
        alarms = [alarm for _, alarm in group]
        last = replace(alarms[:_OF_A_KIND][-1], more=len(alarms[_OF_A_KIND:]))
        shown += [*alarms[: _OF_A_KIND - 1], last] if last.more else alarms
    return shown


def _without_names(finding: Finding, seen: Snapshot) -> str:
    said = _NAMING[finding.kind].format(share=percent(finding.share), seconds=seen.seconds)
    return f"{said} Ask someone who may see hot records."


def _alarm(finding: Finding, request: HttpRequest) -> Alarm:
    may = request.user.has_perm
    if finding.kind == findings.HOT_RECORD:
        return Alarm(finding.level, finding.text, finding.path, "Show and cure it")
    if finding.kind == findings.HOT_APP:
        if may("notify.change_app"):
            return Alarm(finding.level, finding.text, finding.path, "Set its requests a second…")
        return Alarm(finding.level, finding.text, f"{_hot_path()}?app={finding.app}", "Show it")
    if finding.kind == findings.APP_LIMITED:
        href = finding.path if may("notify.view_app") else ""
        return Alarm(finding.level, finding.text, href, "Show its limits")
    if finding.kind == findings.DEAD_LETTERS:
        href = finding.path if may("notify.view_deadletter") else ""
        return Alarm(finding.level, finding.text, href, "Read them")
    panel = _PANELS.get(finding.kind)
    return Alarm(finding.level, finding.text, f"#{panel}" if panel else "", "Show")


def _hot_path() -> str:
    return reverse("admin:notify_hot_changelist")


def _sums(seen: Snapshot, late_s: float) -> dict[str, Any]:
    """The tiles' numbers, of all partitions."""
    behind = [lane for lane in seen.lanes if lane.writes and lane.oldest_s > late_s]
    well = [each for each in seen.workers if not each.offline and each.seen_ago_s <= late_s]
    return {
        "updates_per_s": seen.messages / seen.seconds,
        "writes_per_s": seen.writes / seen.seconds,
        "mirrored_per_s": seen.mirrored / seen.seconds,
        "skipped_per_s": seen.skipped / seen.seconds,
        "lag_s": max((each.lag_s for each in seen.streams), default=0.0),
        "lag_messages": sum(each.lag_messages for each in seen.streams),
        "held_writes": sum(each.held_writes for each in seen.streams),
        "held_bytes": sum(each.held_bytes for each in seen.streams),
        "paused": sum(each.paused for each in seen.streams),
        "behind": len(behind),
        "oldest_s": max((lane.oldest_s for lane in seen.lanes if lane.writes), default=None),
        "workers": len(well),
        "busy": sum(each.active for each in well),
        "late_s": late_s,
    }


def _stream(stream: StreamNow, bounds: Bounds) -> Row:
    late_s = bounds.stalled_s
    if stream.halted is not None:
        return Row(stream, "is-bad", "halted")
    if stream.ticked_ago_s is None or stream.ticked_ago_s > late_s:
        return Row(stream, "is-bad", "stalled")
    if stream.ago_s is None or stream.ago_s > late_s:
        return Row(stream, "is-warn", "unknown")
    if stream.unheard_s >= bounds.lag_s:
        return Row(stream, "is-bad", "unheard")
    if stream.unread_s > late_s:
        return Row(stream, "is-bad", "unread")
    if stream.paused:
        return Row(stream, "is-warn", "full")
    return Row(stream, "", "moves")


def _workers(workers: Iterable[WorkerNow], late_s: float) -> list[Row]:
    """What is wrong first; of those that stopped, who did so within the hour."""
    rows = [
        _worker(each, late_s)
        for each in workers
        if not (each.offline and each.seen_ago_s > _STOPPED_S)
    ]
    return sorted(rows, key=lambda row: (not row.mark, row.of.offline, row.of.name))[:_WORKERS]


def _worker(worker: WorkerNow, late_s: float) -> Row:
    if worker.offline:
        return Row(worker, "", "stopped")
    if worker.seen_ago_s > late_s:
        return Row(worker, "is-bad", "not heard of")
    if worker.active and worker.idle_ago_s > late_s:
        return Row(worker, "is-bad", "stuck")
    return Row(worker, "", "works" if worker.active else "waits")


def _lanes(lanes: Sequence[LaneNow], late_s: float) -> dict[str, Any]:
    """The lanes that wait longest, and a bar for each lane there is."""
    waiting = sorted((each for each in lanes if each.writes), key=lambda each: -each.oldest_s)
    return {
        "rows": [_lane(each, late_s) for each in waiting[:_ROWS]],
        "more": len(waiting[_ROWS:]),
        "all": len(lanes),
        "bars": _bars(lanes, late_s),
        "unread": [each.lane for each in lanes if each.workers == 0],
    }


def _bars(lanes: Sequence[LaneNow], late_s: float) -> list[tuple[LaneNow, Bar, str]]:
    drawn = bars([each.writes for each in lanes], full=_FULL_BAR)
    return [(lane, bar, _lane(lane, late_s).mark) for lane, bar in zip(lanes, drawn, strict=True)]


def _lane(lane: LaneNow, late_s: float) -> Row:
    if lane.workers == 0:
        return Row(lane, "is-bad", "no worker")
    if lane.writes and lane.oldest_s > late_s:
        return Row(lane, "is-bad", "behind")
    return Row(lane, "", "moves")
