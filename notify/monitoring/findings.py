"""Finds what is wrong now and says it in sentences, the worst first. Pure: a snapshot in, findings out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from django.conf import settings

from notify.domain.engine.stream import needed_version
from notify.domain.records.aliases import ALIAS_LIMIT
from notify.monitoring.partition_state import (
    ABOUT,
    TROUBLE,
    PartitionState,
    StateBounds,
    StreamNow,
    state_of,
    state_sentence,
    waiting,
)
from notify.monitoring.snapshot import (
    HotApp,
    HotRecord,
    LaneNow,
    RefusedLinks,
    Snapshot,
    Unavailability,
    WorkerNow,
)

BAD: Final = "bad"
WARN: Final = "warn"

HOT_RECORD: Final = "hot_record"
HOT_APP: Final = "hot_app"
#: The watcher's own session with PostgreSQL fails. notify/monitoring/watch/outages.py reports it without
#: PostgreSQL, so no snapshot shows it.
POSTGRES_AWAY: Final = "postgres_away"
REDIS_AWAY: Final = "redis_away"
NO_WORKERS: Final = "no_workers"
WORKER_STALLED: Final = "worker_stalled"
APP_LIMITED: Final = "app_limited"
LINKS_REFUSED: Final = "links_refused"
LEFT_OUT: Final = "left_out"
KAFKA_AWAY: Final = "kafka_away"
WEB_REFUSES: Final = "web_refuses"
LANE_UNREAD: Final = "lane_unread"
LAG: Final = "lag"
DEAD_LETTERS: Final = "dead_letters"
UNWATCHED: Final = "unwatched"
#: The worst first. Findings that name a cause come before those that show only an effect. A partition in
#: trouble is a finding whose kind is the name of the state.
KINDS: Final = (
    "halted", KAFKA_AWAY, WEB_REFUSES, "stalled", "unheard", "unread", REDIS_AWAY, NO_WORKERS,
    HOT_RECORD, HOT_APP, "stuck", LANE_UNREAD, LAG, "unknown", WORKER_STALLED, APP_LIMITED,
    LINKS_REFUSED, LEFT_OUT, DEAD_LETTERS, UNWATCHED, "starting",
)  # fmt: skip

OVERVIEW: Final = "/admin/"
#: How often a worker sends an event. Two workers that fail together may last have been seen this far
#: apart, so one is named alone only when it is silent for this long after the others would be.
HEARTBEAT_S: Final = 2.0
#: How many stalled workers a text names.
WORKERS_NAMED: Final = 3
_BY: Final = {
    "email": "devices are linked to it by email address",
    "sms": "devices are linked to it by SMS number",
    "user": "subscriptions belong to this user",
    "alias": "aliases belong to this user",
    "merged": "anonymous users logged in as this user",
}
#: Web records its 503 answers once a second. If the newest is older than this, they have stopped.
_UNAVAILABLE_FRESH_S: Final = 5.0
_LIMITS: Final = {
    "app_requests": "the app's limit of requests",
    "app_updates": "the app's limit of updates",
    "record_updates": "the limit of updates of one record",
}


#: What to do now, in a sentence or two with the command. Kinds with a button on their page need no entry.
CURES: Final[Mapping[str, str]] = {
    **{state.value: about.cure for state, about in ABOUT.items() if about.cure},
    POSTGRES_AWAY: "Start PostgreSQL, or repair the connection to it (DATABASE_URL). Nothing is lost: web "
    "still accepts updates, they wait in Kafka, and processing continues by itself.",
    KAFKA_AWAY: "Check that the brokers run, that partitions have leaders (`kafka-topics.sh --describe`) and "
    "that web and bridges can reach them (KAFKA_BOOTSTRAP_SERVERS). No accepted update is lost. Web and "
    "bridges continue by themselves when Kafka answers.",
    WEB_REFUSES: "`overloaded`: Kafka is slow, or there are too few web processes. `postgres_away`: web "
    "cannot read from PostgreSQL. `bug`: web's log has the error (`view_failed`).",
    REDIS_AWAY: "Start Redis, or repair the connection to it (REDIS_URL). Nothing is lost: the bridges send "
    "the batches again.",
    NO_WORKERS: "Start workers (`celery -A notify worker`). If one hangs, kill it (SIGKILL loses nothing) "
    "and start it again. If it waits for PostgreSQL, `pg_stat_activity` shows for which lock.",
    WORKER_STALLED: "Restart this worker. If it hangs, kill it (SIGKILL loses nothing). The other workers "
    "continue.",
    LANE_UNREAD: "Start a worker without `-Q`, which reads all lanes, or one with `-Q` for this lane.",
    LAG: "`manage.py status` names the lanes and records that wait longest. If workers are busy, start more. "
    "If they are idle, look for a lock or a slow PostgreSQL.",
    LINKS_REFUSED: "Ask the customer why so many are linked to one record. Set limit… raises the limit. "
    "Refused links cannot be replayed: the next update that contains the link creates it.",
    LEFT_OUT: "Tell the customer: `warnings` in the answers say which values and why. The rest of each "
    "request was accepted.",
    DEAD_LETTERS: "Read their errors, fix the cause, then replay them.",
    UNWATCHED: "Start `manage.py watch`.",
}
#: Ends a cure that names a command: what to type for `manage.py` depends on the installation.
WHAT_TO_TYPE: Final = "What to type: docs/operations.md, “Run a command”."
#: The panel of the Overview that shows the details of a kind.
PANELS: Final[Mapping[str, str]] = {
    **dict.fromkeys((state.value for state in TROUBLE), "partitions"),
    LAG: "partitions",
    KAFKA_AWAY: "partitions",
    LANE_UNREAD: "lanes",
    "stuck": "lanes",
    NO_WORKERS: "workers",
    WORKER_STALLED: "workers",
    UNWATCHED: "workers",
}


class Finding(NamedTuple):
    """A problem. `key` identifies it for as long as it lasts; `path` is the page that shows and fixes it."""

    kind: str
    level: str
    key: str
    text: str
    path: str = OVERVIEW
    app: UUID | None = None
    record: UUID | None = None
    share: float = 0.0
    #: False if another finding names the cause, or if the problem ends by itself. Pages show it and an
    #: open alert stays open, but it opens no alert.
    opens: bool = True

    @property
    def cure(self) -> str:
        """What to do now; empty if the page at `path` has the buttons for it."""
        return cure_of(self.kind, self.text)


def cure_of(kind: str, text: str) -> str:
    """What to do about a finding of this kind and text, or about a partition in the state `kind`.

    Empty for a halt that ends with an upgrade: its reason already says which release to deploy.
    """
    is_upgrade = (
        kind == PartitionState.HALTED and needed_version(text.partition(": ")[2]) is not None
    )
    cure = "" if is_upgrade else CURES.get(kind, "")
    names_command = "`manage.py " in cure or "`celery " in cure
    return f"{cure} {WHAT_TO_TYPE}" if names_command else cure


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingBounds(StateBounds):
    """The thresholds from which something is a finding; notify/settings.py explains each."""

    hot_share: float
    hot_per_s: float
    app_share: float
    app_per_s: float
    app_factor: float
    refused_per_s: float
    links_refused_per_s: float
    left_out_per_s: float
    unavailable_per_s: float
    unavailable_s: float

    @classmethod
    def of_settings(cls) -> "FindingBounds":
        """The thresholds of the settings NOTIFY_FIND_..."""
        of_states = StateBounds.of_settings()
        return cls(
            stalled_s=of_states.stalled_s,
            lag_s=of_states.lag_s,
            start_s=of_states.start_s,
            hot_share=settings.NOTIFY_FIND_RECORD_PERCENT / 100,
            hot_per_s=settings.NOTIFY_FIND_UPDATES_PER_S,
            app_share=settings.NOTIFY_FIND_APP_PERCENT / 100,
            app_per_s=settings.NOTIFY_FIND_APP_UPDATES_PER_S,
            app_factor=settings.NOTIFY_FIND_APP_FACTOR,
            refused_per_s=settings.NOTIFY_FIND_REFUSED_PER_S,
            links_refused_per_s=settings.NOTIFY_FIND_LINKS_REFUSED_PER_S,
            left_out_per_s=settings.NOTIFY_FIND_LEFT_OUT_PER_S,
            unavailable_per_s=settings.NOTIFY_FIND_UNAVAILABLE_PER_S,
            unavailable_s=settings.NOTIFY_FIND_UNAVAILABLE_S,
        )


def find(snapshot: Snapshot, bounds: FindingBounds | None = None) -> list[Finding]:
    """All findings, the worst first. Each cause is one finding; its consequences are not reported again."""
    limits = bounds or FindingBounds.of_settings()
    in_state: dict[PartitionState, list[StreamNow]] = {}
    for stream in snapshot.streams:
        in_state.setdefault(state_of(stream, limits), []).append(stream)
    culprits = [*_records(snapshot, limits), *_apps(snapshot, limits)]
    kafka = list(_kafka_away(snapshot, limits, in_state.get(PartitionState.UNHEARD, [])))
    found = [
        *_halted(in_state.get(PartitionState.HALTED, [])),
        *kafka,
        *_web_refuses(snapshot, limits, is_kafka_away=bool(kafka)),
        *_of_bridges(in_state, len(snapshot.streams), is_kafka_away=bool(kafka)),
        *culprits,
        *_applying(snapshot, limits, in_state.get(PartitionState.STUCK, [])),
        *_lag(snapshot, limits, in_state, is_explained=bool(culprits)),
        *_limited(snapshot, limits),
        *_links_refused(snapshot, limits),
        *_left_out(snapshot, limits),
        *_rest(snapshot, limits),
    ]
    return sorted(found, key=lambda each: (KINDS.index(each.kind), -each.share))


def _on_page(kind: str) -> str:
    return f"{OVERVIEW}#{PANELS[kind]}"


def _records(snapshot: Snapshot, bounds: FindingBounds) -> Iterator[Finding]:
    for hot in snapshot.hot:
        is_hot = hot.share >= bounds.hot_share and _sure_per_s(hot) >= bounds.hot_per_s
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
    """Whether a skip rule already drops most of its updates: the window still counts those before it."""
    return hot.skipped == "all" or (hot.skipped == "mirrored" and hot.mirrored >= hot.direct)


def _why(hot: HotRecord, snapshot: Snapshot) -> str:
    own = hot.share * hot.direct / max(1, hot.updates)
    said = (
        f"{percent(hot.share)} of updates in the last {snapshot.seconds:.0f} s belong to record "
        f"{hot.record} of {snapshot.name(hot.app)}"
    )
    if hot.mirrored and hot.linked:
        label, n = max(hot.linked.items(), key=lambda item: item[1])
        said += f": {n:,} {_BY.get(label, f'records linked to it by {label}')}"
    return (
        f"{said}. Its own updates are {percent(own)} of all, updates mirrored to it are "
        f"{percent(hot.share - own)}."
    )


def _apps(snapshot: Snapshot, bounds: FindingBounds) -> Iterator[Finding]:
    for hot in snapshot.hot_apps:
        rate = _sure_per_s(hot)
        floods = (
            hot.share >= bounds.app_share
            and rate >= bounds.app_per_s
            and rate >= bounds.app_factor * hot.usual_per_s
        )
        if floods and not _one_row_explains(hot, snapshot):
            yield Finding(
                HOT_APP,
                BAD,
                f"{HOT_APP}:{hot.app}",
                f"{percent(hot.share)} of updates in the last {snapshot.seconds:.0f} s come from "
                f"{snapshot.name(hot.app)}, over many records: {rate:,.0f} a second, "
                f"{hot.usual_per_s:,.0f} in the hour before. You can limit its requests a second.",
                f"/admin/notify/app/{hot.app}/change/",
                hot.app,
                share=hot.share,
            )


def _sure_per_s(hot: HotRecord | HotApp) -> float:
    """The rate at which web accepted the updates, less what the approximate counter may count too much.

    Example: a bridge was down for a minute, and 30 updates a second arrived. It now decides them at 265
    a second, but the rate is 30. Shares need no such correction: all apps of a partition catch up alike.
    """
    return hot.per_s * (1 - hot.error / hot.updates) if hot.updates else 0.0


def _one_row_explains(hot: HotApp, snapshot: Snapshot) -> bool:
    """Whether one record has at least half of the app's updates: then the record is the finding."""
    return any(each.app == hot.app and each.updates * 2 >= hot.updates for each in snapshot.hot)


def _limited(snapshot: Snapshot, bounds: FindingBounds) -> Iterator[Finding]:
    for each in snapshot.limited:
        rate = each.refused / snapshot.seconds
        if rate >= bounds.refused_per_s:
            yield Finding(
                APP_LIMITED,
                WARN,
                f"{APP_LIMITED}:{each.app}",
                f"{rate:,.0f} requests a second of {snapshot.name(each.app)} are refused with 429: they "
                f"exceed {_LIMITS.get(each.limit, each.limit)} a second.",
                f"/admin/app/{each.app}/usage/",
                each.app,
            )


def _links_refused(snapshot: Snapshot, bounds: FindingBounds) -> Iterator[Finding]:
    """Findings for every link limit. One that was set for the app itself opens no alert: it is intended."""
    for each in snapshot.refused_links:
        rate = each.n / snapshot.seconds
        if rate < bounds.links_refused_per_s:
            continue
        what = "aliases" if each.reason == ALIAS_LIMIT else "links"
        yield Finding(
            LINKS_REFUSED,
            WARN,
            f"{LINKS_REFUSED}:{each.app}:{each.reason}",
            f"{rate:,.0f} {what} a second of {snapshot.name(each.app)} are refused{_at_limit(each)}.",
            _limit_path(each),
            each.app,
            each.record,
            opens=each.full is None or not each.full.is_own,
        )


def _at_limit(refused: RefusedLinks) -> str:
    if refused.record is None:
        return ", for more records than the list holds"
    said = f", most of them to record {refused.record}"
    full = refused.full
    if full is None:
        return f"{said}, which is below its limit now"
    whose = "set for this app" if full.is_own else "the limit of all apps"
    return f"{said}: {full.linked:,} are linked to it by {full.label}, the limit is {full.limit:,} ({whose})"


def _limit_path(refused: RefusedLinks) -> str:
    """The page Set limit… for the label; without a label, the page of the app's limits."""
    if refused.full is None:
        return f"/admin/app/{refused.app}/usage/"
    return f"/admin/hot/limit/{refused.app}/{refused.full.label}/?record={refused.record}"


def _left_out(snapshot: Snapshot, bounds: FindingBounds) -> Iterator[Finding]:
    for each in snapshot.left_out:
        rate = each.n / snapshot.seconds
        if rate >= bounds.left_out_per_s:
            yield Finding(
                LEFT_OUT,
                WARN,
                f"{LEFT_OUT}:{each.app}",
                f"{rate:,.0f} values a second are left out of requests of {snapshot.name(each.app)}, most of "
                f"the kind {each.what}: they exceed a limit or cannot be stored.",
                f"/admin/app/{each.app}/usage/",
                each.app,
            )


def _halted(streams: Sequence[StreamNow]) -> Iterator[Finding]:
    """One finding for each reason, with all partitions that are halted for it."""
    by_reason: dict[str | None, list[StreamNow]] = {}
    for stream in streams:
        by_reason.setdefault(stream.halted, []).append(stream)
    for reason, of in by_reason.items():
        yield _trouble(of, PartitionState.HALTED, f"halted:{reason}")


def _kafka_away(
    snapshot: Snapshot, bounds: FindingBounds, unheard: Sequence[StreamNow]
) -> Iterator[Finding]:
    """Kafka does not ack web's updates, or answers no bridge: one finding, whoever notices first.

    Web notices within NOTIFY_ACK_TIMEOUT_MS if there are requests. Bridges notice after
    NOTIFY_FIND_LAG_S even without requests.
    """
    refused = _lasting(snapshot, bounds)
    is_web_refused = "kafka_away" in refused
    if not is_web_refused and (not unheard or len(unheard) < len(snapshot.streams)):
        return
    said = []
    if is_web_refused:
        # `overloaded` is a consequence: the producer's buffer is full of updates that Kafka does not ack.
        of = [refused[reason] for reason in ("kafka_away", "overloaded") if reason in refused]
        said.append(f"{_answered_503(of)}, because Kafka does not ack their updates.")
    silent_s = min((each.unheard_s or 0.0 for each in snapshot.streams), default=0.0)
    if unheard:
        said.append(state_sentence(unheard, PartitionState.UNHEARD))
    elif silent_s > bounds.stalled_s:
        said.append(f"It has not answered any bridge for {silent_s:.0f} s either.")
    else:
        said.append("It answers the bridges: check the network between web and Kafka.")
    yield Finding(KAFKA_AWAY, BAD, KAFKA_AWAY, " ".join(said), _on_page(KAFKA_AWAY))


def _web_refuses(
    snapshot: Snapshot, bounds: FindingBounds, *, is_kafka_away: bool
) -> Iterator[Finding]:
    """Web answers 503 for a reason that the finding about Kafka does not already name."""
    refused = _lasting(snapshot, bounds)
    of_kafka = {"kafka_away", "overloaded"} if is_kafka_away else set()
    of = [each for reason, each in refused.items() if reason not in of_kafka]
    if of:
        why = ", ".join(f"{each.reason} ({_rate(each.per_s)})" for each in of)
        yield Finding(WEB_REFUSES, BAD, WEB_REFUSES, f"{_answered_503(of)}: {why}.")


def _lasting(snapshot: Snapshot, bounds: FindingBounds) -> dict[str, Unavailability]:
    """The 503 answers that are frequent, have lasted and still continue, by their reason."""
    return {
        each.reason: each
        for each in snapshot.unavailable
        if each.per_s >= bounds.unavailable_per_s
        and each.lasting_s >= bounds.unavailable_s
        and each.ago_s <= _UNAVAILABLE_FRESH_S
    }


def _answered_503(of: Sequence[Unavailability]) -> str:
    rate = _rate(sum(each.per_s for each in of))
    return f"Web has answered 503 to {rate} for {max(each.lasting_s for each in of):.0f} s"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f} request{'' if round(per_s) == 1 else 's'} a second"


def _of_bridges(
    in_state: Mapping[PartitionState, Sequence[StreamNow]], all_: int, *, is_kafka_away: bool
) -> Iterator[Finding]:
    """One finding for each bridge, or one for all: what stops a bridge stops all its partitions.

    While Kafka is away only that is reported: a bridge that starts without Kafka cannot be active.
    """
    for state in (
        PartitionState.STALLED,
        PartitionState.UNHEARD,
        PartitionState.UNREAD,
        PartitionState.UNKNOWN,
        PartitionState.STARTING,
    ):
        streams = in_state.get(state, [])
        if is_kafka_away and state is PartitionState.UNHEARD:
            continue
        opens = not (is_kafka_away and state is PartitionState.STALLED)
        if streams and len(streams) == all_:
            yield _trouble(streams, state, state.value, opens=opens)
            continue
        by_bridge: dict[str | None, list[StreamNow]] = {}
        for stream in streams:
            by_bridge.setdefault(stream.bridge, []).append(stream)
        for bridge, of in by_bridge.items():
            yield _trouble(of, state, f"{state.value}:{bridge}", opens=opens)


def _trouble(
    streams: Sequence[StreamNow],
    state: PartitionState,
    key: str,
    more: str = "",
    *,
    opens: bool = True,
) -> Finding:
    """The finding for partitions in this state. `starting` opens no alert: it ends, or becomes `stalled`."""
    is_start = state is PartitionState.STARTING
    text = f"{state_sentence(streams, state)}{more}"
    return Finding(
        state.value,
        WARN if is_start else BAD,
        key,
        text,
        _on_page(state.value),
        opens=opens and not is_start,
    )


def _applying(
    snapshot: Snapshot, bounds: FindingBounds, stuck: Sequence[StreamNow]
) -> Iterator[Finding]:
    """Why decided updates are not applied: Redis, all workers, or some lanes; the first that explains it."""
    is_watched = snapshot.watched_ago_s is not None and snapshot.watched_ago_s <= bounds.stalled_s
    away_s = snapshot.redis_away_s if is_watched else None
    if away_s is not None and away_s > bounds.stalled_s:
        text = f"Redis has not answered for {away_s:.0f} s: no task reaches a worker, no update is applied."
        yield Finding(REDIS_AWAY, BAD, REDIS_AWAY, text)
        return
    workers = [each for each in snapshot.workers if not each.offline] if is_watched else []
    silent = [each for each in workers if is_stalled(each, bounds.stalled_s)]
    is_nobody = is_watched and len(silent) == len(workers)
    if is_nobody and (silent or stuck):
        yield _no_workers(silent, snapshot)
        return
    named = [each for each in silent if is_stalled(each, bounds.stalled_s + HEARTBEAT_S)]
    if named:
        text = f"{_stalled_workers(named)} {len(workers) - len(silent)} of {len(workers)} work."
        yield Finding(WORKER_STALLED, WARN, WORKER_STALLED, text, _on_page(WORKER_STALLED))
    unread = [each for each in snapshot.lanes if each.writes and each.workers == 0 and workers]
    if unread:
        text = (
            f"No worker reads {_lanes(unread)}: {waiting(sum(x.writes for x in unread), 'write')}."
        )
        yield Finding(LANE_UNREAD, BAD, LANE_UNREAD, text, _on_page(LANE_UNREAD))
    held = [
        each
        for each in snapshot.lanes
        if each.workers != 0 and each.attempt >= 3 and each.oldest_s > bounds.stalled_s
    ]
    if stuck and (held or not unread):
        more = ""
        if held:
            more = (
                f" They wait in {_lanes(held)}: their batch was sent {max(each.attempt for each in held)} "
                f"times, and the oldest update is {max(each.oldest_s for each in held):.0f} s old."
            )
        yield _trouble(stuck, PartitionState.STUCK, PartitionState.STUCK.value, more)


class WorkerState(StrEnum):
    """What a worker does, in the words of the Overview."""

    STOPPED = "stopped"
    UNHEARD = "silent"
    STUCK = "stuck"
    WORKS = "busy"
    WAITS = "idle"


#: The states of a worker that are a finding.
STALLED: Final = frozenset({WorkerState.UNHEARD, WorkerState.STUCK})


def worker_state(worker: WorkerNow, after_s: float) -> WorkerState:
    """What it does, for the Overview, findings and metrics; STUCK has tasks and ended none for so long."""
    if worker.offline:
        return WorkerState.STOPPED
    if worker.seen_ago_s > after_s:
        return WorkerState.UNHEARD
    if worker.active and worker.idle_ago_s > after_s:
        return WorkerState.STUCK
    return WorkerState.WORKS if worker.active else WorkerState.WAITS


def is_stalled(worker: WorkerNow, after_s: float) -> bool:
    """Whether a worker that did not announce its stop sent no event, or finished no task, for `after_s`."""
    return worker_state(worker, after_s) in STALLED


def _no_workers(silent: Sequence[WorkerNow], snapshot: Snapshot) -> Finding:
    who = _stalled_workers(silent) if silent else "No worker runs."
    writes = sum(each.writes for each in snapshot.lanes)
    text = f"No worker applies updates: {waiting(writes, 'write')}. {who}"
    return Finding(NO_WORKERS, BAD, NO_WORKERS, text, _on_page(NO_WORKERS))


def _stalled_workers(workers: Sequence[WorkerNow]) -> str:
    """The first few by name, with what they last did and when."""
    said = [_stalled_worker(each) for each in workers[:WORKERS_NAMED]]
    more = len(workers) - len(said)
    return "; ".join(said) + (f"; and {more} more." if more else ".")


def _stalled_worker(worker: WorkerNow) -> str:
    if worker.active and worker.idle_ago_s > worker.seen_ago_s + HEARTBEAT_S:
        what = f"has finished no task for {worker.idle_ago_s:.0f} s ({worker.active} running)"
    else:
        what = f"has been silent for {worker.seen_ago_s:.0f} s"
    return f"Worker {worker.name} {what}"


def _lanes(lanes: Sequence[LaneNow]) -> str:
    return f"lane{'s' * (len(lanes) > 1)} {', '.join(f'{each.lane:02d}' for each in lanes)}"


def _lag(
    snapshot: Snapshot,
    bounds: FindingBounds,
    in_state: Mapping[PartitionState, Sequence[StreamNow]],
    *,
    is_explained: bool,
) -> Iterator[Finding]:
    """Lag of partitions that make progress; the others have a finding that says why they do not.

    If updates are applied faster than new ones arrive, the lag shrinks: the finding opens no alert.
    """
    late = [
        each
        for state in (PartitionState.OK, PartitionState.DRAINING)
        for each in in_state.get(state, [])
        if each.lag_s is not None and each.lag_s >= bounds.lag_s
    ]
    if not late:
        return
    most = max(late, key=lambda each: each.lag_s or 0.0)
    messages = sum(each.lag_messages or 0 for each in late)
    before = [each.lag_messages_before for each in late]
    fewer = None if None in before else sum(n or 0 for n in before) - messages
    is_rising = fewer is not None and fewer <= 0
    said = (
        f"Updates are applied {most.lag_s:.0f} s late in partition {most.partition}"
        f"{f' and {len(late) - 1} more' if len(late) > 1 else ''}: {waiting(messages, 'message')}."
    )
    if is_rising:
        said += _cause(snapshot, bounds)
    elif fewer is None:
        said += " Whether the number falls is known in ten seconds."
    else:
        said += f" The backlog shrinks: {fewer:,} fewer than ten seconds ago."
    level = BAD if is_rising else WARN
    yield Finding(LAG, level, LAG, said, _on_page(LAG), opens=is_rising and not is_explained)


def _rest(snapshot: Snapshot, bounds: FindingBounds) -> Iterator[Finding]:
    if snapshot.dead:
        yield Finding(
            DEAD_LETTERS,
            WARN,
            DEAD_LETTERS,
            f"{snapshot.dead:,} dead letter{'' if snapshot.dead == 1 else 's'} in the last ten minutes.",
            "/admin/notify/deadletter/",
        )
    if snapshot.watched_ago_s is None or snapshot.watched_ago_s > bounds.stalled_s:
        since_ = "" if snapshot.watched_ago_s is None else f" for {snapshot.watched_ago_s:.0f} s"
        yield Finding(
            UNWATCHED,
            WARN,
            UNWATCHED,
            f"`manage.py watch` is not running: workers and queues have not been checked and no alerts have "
            f"been sent{since_}.",
            _on_page(UNWATCHED),
        )


def _cause(snapshot: Snapshot, bounds: FindingBounds) -> str:
    """The likely cause of the lag, as far as the samples show it."""
    behind = sorted(lane.writes for lane in snapshot.lanes)
    if snapshot.hot and snapshot.hot[0].share >= bounds.hot_share:
        hot = snapshot.hot[0]
        return f" One record of {snapshot.name(hot.app)} gets {percent(hot.share)} of all updates."
    if behind and behind[-1] > 4 * max(1, behind[len(behind) // 2]):
        worst = max(snapshot.lanes, key=lambda lane: lane.writes)
        return f" Most of them wait in lane {worst.lane:02d}: look for one busy record or a lock."
    return " The number does not fall, and all lanes wait alike: more updates arrive than workers apply."


def percent(share: float) -> str:
    """A share as a percentage: 0.832 becomes "83 %"."""
    return f"{share * 100:.0f} %"
