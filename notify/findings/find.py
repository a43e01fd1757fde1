"""What is wrong now, in plain sentences, worst first. Pure: a snapshot in, findings out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from django.conf import settings

from notify.domain.aliases import ALIAS_LIMIT
from notify.domain.stream import needed_version
from notify.findings.partition_state import (
    ABOUT,
    TROUBLE,
    State,
    StateBounds,
    StreamNow,
    are,
    state_of,
    waiting,
)
from notify.findings.snapshot import (
    HotApp,
    HotRecord,
    LaneNow,
    RefusedLinks,
    Snapshot,
    Unavailable,
    WorkerNow,
)

BAD: Final = "bad"
WARN: Final = "warn"

HOT_RECORD: Final = "hot_record"
HOT_APP: Final = "hot_app"
#: Of the watcher's own session. It is told without PostgreSQL (notify/watch/outages.py), so no snapshot
#: shows it.
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
#: The worst first: what names a culprit before what only shows that something is wrong. A partition's
#: trouble is a finding of the kind that its state is called.
KINDS: Final = (
    "halted", KAFKA_AWAY, WEB_REFUSES, "stalled", "unheard", "unread", REDIS_AWAY, NO_WORKERS,
    HOT_RECORD, HOT_APP, "stuck", LANE_UNREAD, LAG, "unknown", WORKER_STALLED, APP_LIMITED,
    LINKS_REFUSED, LEFT_OUT, DEAD_LETTERS, UNWATCHED, "starting",
)  # fmt: skip

OVERVIEW: Final = "/admin/"
#: Workers say something about so often: what one of them shows may be so much older than what another
#: does, so that one is named alone only after the others had their time.
HEARTBEAT_S: Final = 2.0
#: Stalled workers that a text names.
WORKERS_NAMED: Final = 3
_BY: Final = {
    "email": "devices linked to it by set email",
    "sms": "devices linked to it by set SMS number",
    "user": "subscriptions of this user",
    "alias": "aliases of this user",
    "merged": "anonymous users that logged in as it",
}
#: Web writes once a second what it answered 503; what is older has ended, or comes now and then.
_UNAVAILABLE_FRESH_S: Final = 5.0
_LIMITS: Final = {
    "app_requests": "its limit of requests",
    "app_updates": "its limit of updates",
    "record_updates": "the limit of updates of one record",
}


#: What to do now, in a sentence or two with the command; culprits have buttons of their own.
CURES: Final[Mapping[str, str]] = {
    **{state.value: about.cure for state, about in ABOUT.items() if about.cure},
    POSTGRES_AWAY: "Start PostgreSQL, or mend the way to it (DATABASE_URL). Nothing is lost: web goes on "
    "accepting, updates wait in Kafka, and everything goes on by itself.",
    KAFKA_AWAY: "Do the brokers run, do partitions have leaders (`kafka-topics.sh --describe`), and does the "
    "network reach them (KAFKA_BOOTSTRAP_SERVERS)? Nothing that was accepted is lost; web and bridges go on "
    "by themselves when Kafka answers.",
    WEB_REFUSES: "overloaded: Kafka is slow, or there are too few web processes. postgres_away: web's reads "
    "find no PostgreSQL. bug: web's log has it (`view_failed`).",
    REDIS_AWAY: "Start Redis, or mend the way to it (REDIS_URL). Nothing is lost: batches are sent again by "
    "themselves.",
    NO_WORKERS: "Start workers (`celery -A notify worker`). One that hangs: kill it (SIGKILL loses "
    "nothing) and start it; where it waits in PostgreSQL, `pg_stat_activity` shows for which lock.",
    WORKER_STALLED: "Start it again. One that hangs: kill it (SIGKILL loses nothing); the others go on.",
    LANE_UNREAD: "Start a worker without `-Q`, which reads all lanes, or one with `-Q` for the lane.",
    LAG: "`manage.py status` names the lanes and records that hold it. Workers are busy: start more. They "
    "are idle: look for a lock or a slow PostgreSQL.",
    LINKS_REFUSED: "Ask the customer why so many are linked to one record. Set limit… raises the limit. What "
    "was refused cannot be replayed: the next update that names the link makes it.",
    LEFT_OUT: "Tell the customer: `warnings` in the answers say which values and why. The rest of each "
    "request was taken.",
    DEAD_LETTERS: "Read their errors; mend the cause, then replay them.",
    UNWATCHED: "Start `manage.py watch`.",
}
#: Where on the Overview a finding of that kind is explained.
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
    """Something wrong. `key` is the same for as long as it lasts; `path` shows and cures it."""

    kind: str
    level: str
    key: str
    text: str
    path: str = OVERVIEW
    app: UUID | None = None
    record: UUID | None = None
    share: float = 0.0
    #: False: another finding or alert has its cause, or it heals itself. Pages show it, and an alert that
    #: is open stays open, but none is opened.
    opens: bool = True

    @property
    def cure(self) -> str:
        """What to do now; empty where its page has the buttons."""
        return cure_of(self.kind, self.text)


def cure_of(kind: str, text: str) -> str:
    """What to do about a finding, or a partition in that state, of which `text` is said.

    Nothing more where a halt ends by itself: its reason says what must be deployed.
    """
    is_upgrade = kind == State.HALTED and needed_version(text.partition(": ")[2]) is not None
    return "" if is_upgrade else CURES.get(kind, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds(StateBounds):
    """From when on something is a finding; see notify/settings.py for each."""

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
    def of_settings(cls) -> "Bounds":
        """As NOTIFY_FIND_... say."""
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


def find(snapshot: Snapshot, bounds: Bounds | None = None) -> list[Finding]:
    """All that is wrong, the worst first, and one finding for a cause: what follows from it is not told
    again."""
    limits = bounds or Bounds.of_settings()
    in_state: dict[State, list[StreamNow]] = {}
    for stream in snapshot.streams:
        in_state.setdefault(state_of(stream, limits), []).append(stream)
    culprits = [*_records(snapshot, limits), *_apps(snapshot, limits)]
    kafka = list(_kafka_away(snapshot, limits, in_state.get(State.UNHEARD, [])))
    found = [
        *_halted(in_state.get(State.HALTED, [])),
        *kafka,
        *_web_refuses(snapshot, limits, is_kafka_away=bool(kafka)),
        *_of_bridges(in_state, len(snapshot.streams), is_kafka_away=bool(kafka)),
        *culprits,
        *_applying(snapshot, limits, in_state.get(State.STUCK, [])),
        *_lag(snapshot, limits, in_state, is_explained=bool(culprits)),
        *_limited(snapshot, limits),
        *_links_refused(snapshot, limits),
        *_left_out(snapshot, limits),
        *_rest(snapshot, limits),
    ]
    return sorted(found, key=lambda each: (KINDS.index(each.kind), -each.share))


def _on_page(kind: str) -> str:
    return f"{OVERVIEW}#{PANELS[kind]}"


def _records(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
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
    """Whether a rule ends most of it: what is counted is of before, or of what it leaves."""
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
        f"{said}; {percent(own)} of all are its own updates, {percent(hot.share - own)} are mirrored to "
        "it."
    )


def _apps(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
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
                f"{hot.usual_per_s:,.0f} before. Its limit of requests a second can be set.",
                f"/admin/notify/app/{hot.app}/change/",
                hot.app,
                share=hot.share,
            )


def _sure_per_s(hot: HotRecord | HotApp) -> float:
    """Its rate when web accepted the updates, without what the sketch may have counted too much.

    A bridge that was away for a minute decides what 30 updates a second left there at 265 a second; those
    are 30 all the same. Shares need no such care: all of a partition are decided as fast.
    """
    return hot.per_s * (1 - hot.error / hot.updates) if hot.updates else 0.0


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


def _links_refused(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    """Shown for every limit. A limit that somebody chose for the app opens no alert: it does what it was
    set for."""
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
        return ", of more records than are listed"
    said = f", most of record {refused.record}"
    full = refused.full
    if full is None:
        return f"{said}, which is below its limit by now"
    whose = "the app's own" if full.is_own else "that of all apps"
    return f"{said}: {full.linked:,} are linked to it by {full.label}, the limit is {full.limit:,} ({whose})"


def _limit_path(refused: RefusedLinks) -> str:
    """Set limit… of the label; without one, the app's limits."""
    if refused.full is None:
        return f"/admin/app/{refused.app}/usage/"
    return f"/admin/hot/limit/{refused.app}/{refused.full.label}/?record={refused.record}"


def _left_out(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
    for each in snapshot.left_out:
        rate = each.n / snapshot.seconds
        if rate >= bounds.left_out_per_s:
            yield Finding(
                LEFT_OUT,
                WARN,
                f"{LEFT_OUT}:{each.app}",
                f"{rate:,.0f} values a second are left out of requests of {snapshot.name(each.app)}, most of "
                f"the kind {each.what}: they are over a limit or cannot be stored.",
                f"/admin/app/{each.app}/usage/",
                each.app,
            )


def _halted(streams: Sequence[StreamNow]) -> Iterator[Finding]:
    """One finding for a reason."""
    by_reason: dict[str | None, list[StreamNow]] = {}
    for stream in streams:
        by_reason.setdefault(stream.halted, []).append(stream)
    for reason, of in by_reason.items():
        yield _trouble(of, State.HALTED, f"halted:{reason}")


def _kafka_away(
    snapshot: Snapshot, bounds: Bounds, unheard: Sequence[StreamNow]
) -> Iterator[Finding]:
    """Kafka takes no updates of web, or answers no bridge: one cause, whoever notices it first.

    Web notices after NOTIFY_ACK_TIMEOUT_MS if requests come, bridges after NOTIFY_FIND_LAG_S if none do.
    """
    refused = _lasting(snapshot, bounds)
    is_web_refused = "kafka_away" in refused
    if not is_web_refused and (not unheard or len(unheard) < len(snapshot.streams)):
        return
    said = []
    if is_web_refused:
        # A full buffer is of updates that Kafka does not ack.
        of = [refused[reason] for reason in ("kafka_away", "overloaded") if reason in refused]
        said.append(f"{_answered_503(of)}, because Kafka does not ack their updates.")
    silent_s = min((each.unheard_s or 0.0 for each in snapshot.streams), default=0.0)
    if unheard:
        said.append(are(unheard, State.UNHEARD))
    elif silent_s > bounds.stalled_s:
        said.append(f"It has not answered any bridge for {silent_s:.0f} s either.")
    else:
        said.append("It answers bridges: look at the way from web to Kafka.")
    yield Finding(KAFKA_AWAY, BAD, KAFKA_AWAY, " ".join(said), _on_page(KAFKA_AWAY))


def _web_refuses(snapshot: Snapshot, bounds: Bounds, *, is_kafka_away: bool) -> Iterator[Finding]:
    """Clients get 503 for another reason than Kafka."""
    refused = _lasting(snapshot, bounds)
    of_kafka = {"kafka_away", "overloaded"} if is_kafka_away else set()
    of = [each for reason, each in refused.items() if reason not in of_kafka]
    if of:
        why = ", ".join(f"{each.reason} ({_rate(each.per_s)})" for each in of)
        yield Finding(WEB_REFUSES, BAD, WEB_REFUSES, f"{_answered_503(of)}: {why}.")


def _lasting(snapshot: Snapshot, bounds: Bounds) -> dict[str, Unavailable]:
    """By reason, what web has answered 503 often and long enough, and still does."""
    return {
        each.reason: each
        for each in snapshot.unavailable
        if each.per_s >= bounds.unavailable_per_s
        and each.lasting_s >= bounds.unavailable_s
        and each.ago_s <= _UNAVAILABLE_FRESH_S
    }


def _answered_503(of: Sequence[Unavailable]) -> str:
    rate = _rate(sum(each.per_s for each in of))
    return f"Web has answered 503 to {rate} for {max(each.lasting_s for each in of):.0f} s"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f} request{'' if round(per_s) == 1 else 's'} a second"


def _of_bridges(
    in_state: Mapping[State, Sequence[StreamNow]], all_: int, *, is_kafka_away: bool
) -> Iterator[Finding]:
    """One finding for a bridge, or for all of them: what stops one concerns all its partitions.

    While Kafka is away it is told alone: a bridge that starts then ticks nothing.
    """
    for state in (State.STALLED, State.UNHEARD, State.UNREAD, State.UNKNOWN, State.STARTING):
        streams = in_state.get(state, [])
        if is_kafka_away and state is State.UNHEARD:
            continue
        opens = not (is_kafka_away and state is State.STALLED)
        if streams and len(streams) == all_:
            yield _trouble(streams, state, state.value, opens=opens)
            continue
        by_bridge: dict[str | None, list[StreamNow]] = {}
        for stream in streams:
            by_bridge.setdefault(stream.bridge, []).append(stream)
        for bridge, of in by_bridge.items():
            yield _trouble(of, state, f"{state.value}:{bridge}", opens=opens)


def _trouble(
    streams: Sequence[StreamNow], state: State, key: str, more: str = "", *, opens: bool = True
) -> Finding:
    """`starting` is shown and told to nobody: it ends by itself, or is `stalled`."""
    is_start = state is State.STARTING
    text = f"{are(streams, state)}{more}"
    return Finding(
        state.value,
        WARN if is_start else BAD,
        key,
        text,
        _on_page(state.value),
        opens=opens and not is_start,
    )


def _applying(snapshot: Snapshot, bounds: Bounds, stuck: Sequence[StreamNow]) -> Iterator[Finding]:
    """Why decided updates are not applied: Redis, all workers, some lanes; the first that explains it."""
    is_watched = snapshot.watched_ago_s is not None and snapshot.watched_ago_s <= bounds.stalled_s
    away_s = snapshot.redis_away_s if is_watched else None
    if away_s is not None and away_s > bounds.stalled_s:
        text = f"Redis has not answered for {away_s:.0f} s: no task reaches a worker, and nothing is applied."
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
                f" It is {_lanes(held)}: sent up to {max(each.attempt for each in held)} times, the oldest "
                f"update waits for {max(each.oldest_s for each in held):.0f} s."
            )
        yield _trouble(stuck, State.STUCK, State.STUCK.value, more)


class WorkerState(StrEnum):
    """What a worker does, in the words of the Overview."""

    STOPPED = "stopped"
    UNHEARD = "not heard of"
    STUCK = "stuck"
    WORKS = "works"
    WAITS = "waits"


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
    """Whether a worker that has not said that it stops was not heard of, or ended no task, for so long."""
    return worker_state(worker, after_s) in (WorkerState.UNHEARD, WorkerState.STUCK)


def _no_workers(silent: Sequence[WorkerNow], snapshot: Snapshot) -> Finding:
    who = _stalled_workers(silent) if silent else "None was heard of."
    writes = sum(each.writes for each in snapshot.lanes)
    text = f"No worker applies updates: {waiting(writes, 'write')}. {who}"
    return Finding(NO_WORKERS, BAD, NO_WORKERS, text, _on_page(NO_WORKERS))


def _stalled_workers(workers: Sequence[WorkerNow]) -> str:
    """The first few by name, and since when."""
    said = [_stalled_worker(each) for each in workers[:WORKERS_NAMED]]
    more = len(workers) - len(said)
    return "; ".join(said) + (f"; and {more} more." if more else ".")


def _stalled_worker(worker: WorkerNow) -> str:
    if worker.active and worker.idle_ago_s > worker.seen_ago_s + HEARTBEAT_S:
        what = f"has ended none of {worker.active} tasks for {worker.idle_ago_s:.0f} s"
    else:
        what = f"was last heard of {worker.seen_ago_s:.0f} s ago"
    return f"Worker {worker.name} {what}"


def _lanes(lanes: Sequence[LaneNow]) -> str:
    return f"lane{'s' * (len(lanes) > 1)} {', '.join(f'{each.lane:02d}' for each in lanes)}"


def _lag(
    snapshot: Snapshot,
    bounds: Bounds,
    in_state: Mapping[State, Sequence[StreamNow]],
    *,
    is_explained: bool,
) -> Iterator[Finding]:
    """Of partitions that move: what stands still has a finding that says why.

    What is applied faster than it comes is a catch-up: it is shown, and no alert is opened for it.
    """
    late = [
        each
        for state in (State.OK, State.DRAINING)
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
        said += " Whether they become fewer is seen in ten seconds."
    else:
        said += f" It catches up: {fewer:,} fewer than ten seconds before."
    level = BAD if is_rising else WARN
    yield Finding(LAG, level, LAG, said, _on_page(LAG), opens=is_rising and not is_explained)


def _rest(snapshot: Snapshot, bounds: Bounds) -> Iterator[Finding]:
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
            f"Nobody has looked at workers and queues or sent alerts{since_}: `manage.py watch` does not "
            "run.",
            _on_page(UNWATCHED),
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
    return " They do not become fewer, and all lanes wait alike: more comes than the workers apply."


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{share * 100:.0f} %"
