"""What is wrong now, in plain sentences, worst first. Pure: a snapshot in, findings out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from django.conf import settings

from notify.findings.snapshot import HotApp, HotRecord, Snapshot, StreamNow

BAD: Final = "bad"
WARN: Final = "warn"

HOT_RECORD: Final = "hot_record"
HOT_APP: Final = "hot_app"
HALTED: Final = "halted"
BRIDGE_STALLED: Final = "bridge_stalled"
PARTITION_UNREAD: Final = "partition_unread"
KAFKA_SILENT: Final = "kafka_silent"
LANES_STUCK: Final = "lanes_stuck"
NO_WORKERS: Final = "no_workers"
WORKER_STALLED: Final = "worker_stalled"
APP_LIMITED: Final = "app_limited"
LANE_UNREAD: Final = "lane_unread"
LAG: Final = "lag"
DEAD_LETTERS: Final = "dead_letters"
UNWATCHED: Final = "unwatched"
#: The worst first: what names a culprit before what only shows that something is wrong.
KINDS: Final = (
    HALTED, BRIDGE_STALLED, KAFKA_SILENT, PARTITION_UNREAD, NO_WORKERS, HOT_RECORD, HOT_APP, LANES_STUCK,
    LANE_UNREAD, LAG, WORKER_STALLED, APP_LIMITED, DEAD_LETTERS, UNWATCHED,
)  # fmt: skip

OVERVIEW: Final = "/admin/"
_BY: Final = {
    "email": "devices linked to it by set email",
    "sms": "devices linked to it by set SMS number",
    "user": "subscriptions of this user",
    "alias": "aliases of this user",
    "merged": "anonymous users that logged in as it",
}
_LIMITS: Final = {
    "app_requests": "its limit of requests",
    "app_updates": "its limit of updates",
    "record_updates": "the limit of updates of one record",
}


class Finding(NamedTuple):
    """Something wrong. `key` is the same for as long as it lasts; `path` shows and cures it."""

    kind: str
    level: str
    key: str
    text: str
    path: str = OVERVIEW
    app: UUID | None = None
    record: UUID | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """From when on something is a finding; see notify/settings.py for each."""

    hot_share: float
    hot_per_s: float
    app_share: float
    app_factor: float
    refused_per_s: float
    lag_s: float
    stalled_s: float

    @classmethod
    def of_settings(cls) -> "Bounds":
        """As NOTIFY_FIND_... say."""
        return cls(
            hot_share=settings.NOTIFY_FIND_RECORD_PERCENT / 100,
            hot_per_s=settings.NOTIFY_FIND_UPDATES_PER_S,
            app_share=settings.NOTIFY_FIND_APP_PERCENT / 100,
            app_factor=settings.NOTIFY_FIND_APP_FACTOR,
            refused_per_s=settings.NOTIFY_FIND_REFUSED_PER_S,
            lag_s=settings.NOTIFY_FIND_LAG_S,
            stalled_s=settings.NOTIFY_STALLED_AFTER_MS / 1000,
        )


def find(snapshot: Snapshot, bounds: Bounds | None = None) -> list[Finding]:
    """All that is wrong, the worst first."""
    limits = bounds or Bounds.of_settings()
    found = [
        *_streams(snapshot, limits),
        *_unheard(snapshot, limits),
        *_records(snapshot, limits),
        *_apps(snapshot, limits),
        *_lanes(snapshot, limits),
        *_workers(snapshot, limits),
        *_limited(snapshot, limits),
        *_rest(snapshot, limits),
    ]
    return sorted(found, key=lambda each: (KINDS.index(each.kind), -each.share))


def _records(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    for hot in snapshot.hot:
        is_hot = (
            hot.share >= bounds.hot_share
            and hot.updates - hot.error >= bounds.hot_per_s * snapshot.seconds
        )
        if is_hot and not _is_skipped(hot):
            yield Finding(
                HOT_RECORD,
                BAD,
                f"{HOT_RECORD}:{hot.app}:{hot.record}",
                _why(hot, snapshot),
                f"/admin/notify/hot/?app={hot.app}&record={hot.record}",
                hot.app,
                hot.record,
                hot.share,
            )


def _is_skipped(hot: HotRecord) -> bool:
    """Whether a rule ends most of it: what is counted is of before, or of what it leaves."""
    return hot.skipped == "all" or (hot.skipped == "mirrored" and hot.mirrored >= hot.direct)


def _why(hot: HotRecord, snapshot: Snapshot) -> str:
    whole = max(1, snapshot.messages)
    said = (
        f"{percent(hot.share)} of updates in the last {snapshot.seconds:.0f} s belong to record "
        f"{hot.record} of {snapshot.name(hot.app)}"
    )
    if hot.mirrored and hot.linked:
        label, n = max(hot.linked.items(), key=lambda item: item[1])
        said += f": {n:,} {_BY.get(label, f'records linked to it by {label}')}"
    return (
        f"{said}; {percent(min(1.0, hot.direct / whole))} of all are its own updates, "
        f"{percent(min(1.0, hot.mirrored / whole))} are mirrored to it."
    )


def _apps(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    for hot in snapshot.hot_apps:
        rate = (hot.updates - hot.error) / snapshot.seconds
        floods = (
            hot.share >= bounds.app_share
            and rate >= bounds.hot_per_s
            and rate >= bounds.app_factor * hot.usual_per_s
        )
        if floods and not _one_row_explains(hot, snapshot):
            yield Finding(
                HOT_APP,
                BAD,
                f"{HOT_APP}:{hot.app}",
                f"{percent(hot.share)} of updates in the last {snapshot.seconds:.0f} s come from "
                f"{snapshot.name(hot.app)}, over many records: {rate:,.0f} a second, "
                f"{hot.usual_per_s:,.0f} before. Its limit of requests a second can be set.",
                f"/admin/notify/app/{hot.app}/change/",
                hot.app,
                share=hot.share,
            )


def _one_row_explains(hot: HotApp, snapshot: Snapshot) -> bool:
    """Whether half of the app's updates are of one record: then that one is named."""
    return any(each.app == hot.app and each.updates * 2 >= hot.updates for each in snapshot.hot)


def _limited(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    for each in snapshot.limited:
        rate = each.refused / snapshot.seconds
        if rate >= bounds.refused_per_s:
            yield Finding(
                APP_LIMITED,
                WARN,
                f"{APP_LIMITED}:{each.app}",
                f"{rate:,.0f} requests a second of {snapshot.name(each.app)} are refused with 429, "
                f"past {_LIMITS.get(each.limit, each.limit)} a second.",
                f"/admin/app/{each.app}/usage/",
                each.app,
            )


def _streams(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    for stream in snapshot.streams:
        partition = f"Partition {stream.partition}"
        if stream.halted is not None:
            yield Finding(
                HALTED,
                BAD,
                f"{HALTED}:{stream.partition}",
                f"{partition} is halted: {stream.halted}",
            )
        elif stream.ticked_ago_s is None:
            yield Finding(
                BRIDGE_STALLED,
                BAD,
                f"{BRIDGE_STALLED}:{stream.partition}",
                f"{partition} was never ticked: no bridge holds it.",
            )
        elif stream.ticked_ago_s > bounds.stalled_s:
            yield Finding(
                BRIDGE_STALLED,
                BAD,
                f"{BRIDGE_STALLED}:{stream.partition}",
                f"{partition} was last ticked {stream.ticked_ago_s:.0f} s ago"
                f"{f' by {stream.bridge}' if stream.bridge else ''}: its bridge stalls or is gone.",
            )
        elif _is_unread(stream, bounds):
            yield Finding(
                PARTITION_UNREAD,
                BAD,
                f"{PARTITION_UNREAD}:{stream.partition}",
                f"{partition} is not read: Kafka has sent its bridge nothing for "
                f"{stream.unread_s:.0f} s although {_waiting(stream.lag_messages, 'message')}. The "
                "bridge connects to Kafka anew by itself; if this stays, look at the partition's "
                f"leader in Kafka and restart the bridge{f' {stream.bridge}' if stream.bridge else ''}.",
            )


def _is_unread(stream: StreamNow, bounds: Bounds) -> bool:
    return stream.unread_s > bounds.stalled_s


def _unheard(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    """One finding for a bridge, or for all of them: what cuts one off concerns all its partitions."""
    held: dict[str, list[StreamNow]] = {}
    for stream in snapshot.streams:
        if stream.bridge is not None and not _is_stalled(stream, bounds):
            held.setdefault(stream.bridge, []).append(stream)
    silent = {
        bridge: [each for each in streams if each.unheard_s >= bounds.lag_s]
        for bridge, streams in held.items()
    }
    silent = {bridge: streams for bridge, streams in silent.items() if streams}
    if len(silent) > 1 and len(silent) == len(held):
        yield _silence("any bridge", KAFKA_SILENT, [each for of in silent.values() for each in of])
        return
    for bridge, streams in silent.items():
        yield _silence(f"bridge {bridge}", f"{KAFKA_SILENT}:{bridge}", streams)


def _silence(whom: str, key: str, streams: Sequence[StreamNow]) -> Finding:
    partitions = ", ".join(str(each.partition) for each in streams)
    return Finding(
        KAFKA_SILENT,
        BAD,
        key,
        f"Kafka has not answered {whom} for {min(each.unheard_s for each in streams):.0f} s, so what "
        f"waits in partition{'s' * (len(streams) > 1)} {partitions} is not known. Do the brokers run, "
        "does the network reach them, and may the bridge's user describe and read the topic?",
    )


def _is_stalled(stream: StreamNow, bounds: Bounds) -> bool:
    return stream.ticked_ago_s is None or stream.ticked_ago_s > bounds.stalled_s


def _lanes(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    for lane in snapshot.lanes:
        if lane.writes and lane.workers == 0 and any(not each.offline for each in snapshot.workers):
            yield Finding(
                LANE_UNREAD,
                BAD,
                f"{LANE_UNREAD}:{lane.lane}",
                f"No worker reads lane {lane.lane:02d}: {_waiting(lane.writes, 'write')}.",
            )
        elif lane.attempt >= 3 and lane.oldest_s > bounds.stalled_s:
            yield Finding(
                LANES_STUCK,
                BAD,
                f"{LANES_STUCK}:{lane.lane}",
                f"Lane {lane.lane:02d} does not move: its batch was sent {lane.attempt} times, the "
                f"oldest update waits for {lane.oldest_s:.0f} s.",
            )


def _workers(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    is_watched = snapshot.watched_ago_s is not None and snapshot.watched_ago_s <= bounds.stalled_s
    well = 0
    for worker in snapshot.workers:
        if worker.offline:
            continue
        if worker.seen_ago_s > bounds.stalled_s:
            said = f"was last heard of {worker.seen_ago_s:.0f} s ago"
        elif worker.active and worker.idle_ago_s > bounds.stalled_s:
            said = (
                f"has worked at {worker.active} tasks for {worker.idle_ago_s:.0f} s without an end"
            )
        else:
            well += 1
            continue
        yield Finding(
            WORKER_STALLED, WARN, f"{WORKER_STALLED}:{worker.name}", f"Worker {worker.name} {said}."
        )
    if is_watched and not well and any(lane.writes for lane in snapshot.lanes):
        yield Finding(NO_WORKERS, BAD, NO_WORKERS, "No worker is well: nothing is applied.")


def _rest(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    late = [
        each
        for each in snapshot.streams
        if each.lag_s >= bounds.lag_s and not _is_unread(each, bounds)
    ]
    if late:
        most = max(late, key=lambda each: each.lag_s)
        yield Finding(
            LAG,
            BAD,
            LAG,
            f"Updates are applied {most.lag_s:.0f} s late in partition {most.partition}"
            f"{f' and {len(late) - 1} more' if len(late) > 1 else ''}: "
            f"{_waiting(sum(each.lag_messages for each in late), 'message')}.{_cause(snapshot, bounds)}",
        )
    if snapshot.dead:
        yield Finding(
            DEAD_LETTERS,
            WARN,
            DEAD_LETTERS,
            f"{snapshot.dead:,} dead letter{'' if snapshot.dead == 1 else 's'} in the last ten minutes.",
            "/admin/notify/deadletter/",
        )
    if snapshot.watched_ago_s is None or snapshot.watched_ago_s > bounds.stalled_s:
        yield Finding(
            UNWATCHED,
            WARN,
            UNWATCHED,
            "Nobody looks at workers and queues or sends alerts: start `manage.py watch`.",
        )


def _cause(snapshot: Snapshot, bounds: Bounds) -> str:
    """Why it is late, as far as the samples tell."""
    behind = sorted(lane.writes for lane in snapshot.lanes)
    if snapshot.hot and snapshot.hot[0].share >= bounds.hot_share:
        hot = snapshot.hot[0]
        return f" One record of {snapshot.name(hot.app)} takes {percent(hot.share)} of them."
    if behind and behind[-1] > 4 * max(1, behind[len(behind) // 2]):
        worst = max(snapshot.lanes, key=lambda lane: lane.writes)
        return f" Most of it waits in lane {worst.lane:02d}: look for its record or a lock."
    return " All lanes wait alike: more comes than the workers apply."


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{share * 100:.0f} %"


def _waiting(n: int, what: str) -> str:
    return f"1 {what} waits" if n == 1 else f"{n:,} {what}s wait"
