"""Reads the newest samples of bridges and the watcher from PostgreSQL: what pages and alerts show.

Nothing here asks Kafka or Redis. No query gets slower with more records: each is limited by the number of
streams, lanes or workers, or by an argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.conf import settings

from notify.databases import queries
from notify.models import App
from notify.monitoring.link_limits import FullLinks, Key, explaining, full_links
from notify.monitoring.partition_state import StreamNow

_QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "queries.sql")
#: The statement that reads StreamNow; web runs it in its own sessions.
STREAMS: Final = _QUERIES["streams"]
#: The length of a bucket of samples. Bridges write into the present bucket once a second.
BUCKET_S: Final = 10
#: The length of the window for findings: so short that a cause is named within ten seconds.
JUDGED_S: Final = 10
_TEN_MINUTES: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class LaneNow:
    """A lane over all streams. `tasks` wait in Redis and `workers` read it; None if unknown."""

    lane: int
    writes: int
    oldest_s: float
    attempt: int
    tasks: int | None
    workers: int | None


@dataclass(frozen=True, slots=True)
class WorkerNow:
    """A Celery worker. `idle_ago_s`: how long ago it finished a task or had none."""

    name: str
    seen_ago_s: float
    idle_ago_s: float
    active: int
    processed: int
    offline: bool


@dataclass(frozen=True, slots=True)
class HotRecord:
    """A record's updates in the window. Counts may be too high, by `error` at most.

    `share`: its share of all updates in the window, by the time when web accepted them. `linked`: the
    number of its children now, by label. `skipped`: the scope of the rule that skips it now.
    """

    app: UUID
    record: UUID
    direct: int
    mirrored: int
    error: int
    share: float
    #: Updates a second, by when web accepted them.
    per_s: float = 0.0
    linked: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    skipped: str | None = None

    @property
    def updates(self) -> int:
        """The number of its own and mirrored updates."""
        return self.direct + self.mirrored


@dataclass(frozen=True, slots=True)
class HotApp:
    """An app's updates in the window. `per_s`: their rate when web accepted them. `usual_per_s`: the app's
    rate in the hour before."""

    app: UUID
    updates: int
    mirrored: int
    error: int
    share: float
    per_s: float
    usual_per_s: float


@dataclass(frozen=True, slots=True)
class LimitedApp:
    """An app whose requests were refused at a rate limit in the window. `limit`: the limit that refused
    most of them."""

    app: UUID
    limit: str
    refused: int


@dataclass(frozen=True, slots=True)
class RefusedLinks:
    """Links or aliases of an app that were refused at their limit in the window.

    `record`: the parent or user for which most were refused; None if it is not listed, because there were
    too many records. `full`: the limit that it has reached; None if it is below its limit now.
    """

    app: UUID
    reason: str
    n: int
    record: UUID | None
    full: FullLinks | None = None


@dataclass(frozen=True, slots=True)
class LeftOutOfApp:
    """Values that web left out of an app's requests in the window. `what`: the most frequent kind."""

    app: UUID
    what: str
    n: int


@dataclass(frozen=True, slots=True)
class Unavailability:
    """Requests of the last half minute that web answered 503 for one reason: for how long, until when."""

    reason: str
    n: int
    lasting_s: float
    ago_s: float

    @property
    def per_s(self) -> float:
        """Their rate a second during that time."""
        return self.n / max(1.0, self.lasting_s)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the whole system as of `at`. `seconds`: the length of the window, which ends at the
    newest sample. Counts are for the window, dead letters for the last ten minutes."""

    at: datetime
    seconds: float
    messages: int
    writes: int
    mirrored: int
    skipped: int
    dead: int
    streams: Sequence[StreamNow]
    lanes: Sequence[LaneNow]
    workers: Sequence[WorkerNow]
    hot: Sequence[HotRecord]
    hot_apps: Sequence[HotApp]
    limited: Sequence[LimitedApp]
    names: Mapping[UUID, str]
    watched_ago_s: float | None
    #: How long Redis has not answered the watcher; None while it does, or if no watcher runs.
    redis_away_s: float | None = None
    #: The requests that web answered 503, by reason, the most frequent first.
    unavailable: Sequence[Unavailability] = ()
    refused_links: Sequence[RefusedLinks] = ()
    left_out: Sequence[LeftOutOfApp] = ()

    @property
    def sampled_ago_s(self) -> float | None:
        """The age of the newest sample."""
        return min((each.ago_s for each in self.streams if each.ago_s is not None), default=None)

    def name(self, app: UUID) -> str:
        """The app's name, or its id."""
        return self.names.get(app, str(app))


def read(*, seconds: int = JUDGED_S, top: int = 10, app: UUID | None = None) -> Snapshot:
    """Reads a snapshot, with the `top` hottest records and apps of the last `seconds`. The window may be
    up to seven seconds shorter or three longer.

    `app`: only its records. `seconds` are whole buckets, one at least.
    """
    ((now, since),) = run("now", seconds=max(seconds, BUCKET_S))
    ((messages, writes, mirrored, skipped, dead, length_s, per_s),) = run(
        "totals", now=now, since=since
    )
    ((refused,),) = run("dead_letters", since=now - _TEN_MINUTES)
    window = _Window(now, since, length_s, per_s)
    hot = _hot(window, app, top)
    apps = [
        HotApp(whose, updates, mirrored, error, _share(its_per_s, per_s), its_per_s, usual)
        for whose, updates, mirrored, error, its_per_s, usual in run(
            "apps", since=since, app=app, top=top, seconds=length_s
        )
    ]
    limited = [LimitedApp(*row) for row in run("limited", since=since, app=app, top=top)]
    refused_links = _refused_links(window, app, top)
    left_out = [LeftOutOfApp(*row) for row in run("left_out", since=since, app=app, top=top)]
    named = {each.app for of in (hot, apps, limited, refused_links, left_out) for each in of}
    named |= {app} if app else set()
    fresh_s = fresh_for_s()
    ((watched_ago_s, redis_away_s),) = run("watcher", now=now) or [(None, None)]
    return Snapshot(
        at=now,
        seconds=length_s,
        messages=messages,
        writes=writes,
        mirrored=mirrored,
        skipped=skipped,
        dead=max(dead, refused),
        streams=streams(),
        lanes=[LaneNow(*row) for row in run("lanes", now=now, fresh_s=fresh_s)],
        workers=[WorkerNow(*row) for row in run("workers", now=now)],
        hot=hot,
        hot_apps=apps,
        limited=limited,
        names=dict(App.objects.filter(id__in=named).values_list("id", "name")),
        watched_ago_s=watched_ago_s,
        redis_away_s=redis_away_s,
        unavailable=[Unavailability(*row) for row in run("unavailable", now=now)],
        refused_links=refused_links,
        left_out=left_out,
    )


def streams() -> list[StreamNow]:
    """The present state of the active topic's streams, by partition."""
    return [StreamNow(*row) for row in run("streams", fresh_s=fresh_for_s())]


def fresh_for_s() -> float:
    """How old a sample may be to be shown as current."""
    return settings.NOTIFY_STALLED_AFTER_MS / 1000


class _Window(NamedTuple):
    """The window: its length, and the rate of all its updates when web accepted them."""

    now: datetime
    since: datetime
    seconds: float
    per_s: float


def _hot(window: _Window, app: UUID | None, top: int) -> list[HotRecord]:
    rows = run("hot", since=window.since, app=app, top=top, seconds=window.seconds)
    keys = {"apps": [row[0] for row in rows], "records": [row[1] for row in rows]}
    linked: dict[tuple[UUID, UUID], dict[str, int]] = {}
    for whose, record, label, n in run("linked", **keys):
        linked.setdefault((whose, record), {})[label] = n
    skipped = {(row[0], row[1]): row[2] for row in run("skipped", **keys)}
    return [
        HotRecord(
            app=whose,
            record=record,
            direct=direct,
            mirrored=mirrored,
            error=error,
            share=_share(per_s, window.per_s),
            per_s=per_s,
            linked=linked.get((whose, record), {}),
            skipped=skipped.get((whose, record)),
        )
        for whose, record, direct, mirrored, error, per_s in rows
    ]


def _refused_links(window: _Window, app: UUID | None, top: int) -> list[RefusedLinks]:
    found = [
        RefusedLinks(*row) for row in run("refused_links", since=window.since, app=app, top=top)
    ]
    keys: list[Key] = [(each.app, each.record) for each in found if each.record is not None]
    full: dict[Key, list[FullLinks]] = {}
    if keys:
        linked = run("linked", apps=[key[0] for key in keys], records=[key[1] for key in keys])
        full = full_links(linked)
    return [
        replace(each, full=explaining(full.get((each.app, each.record), ()), each.reason))
        if each.record is not None
        else each
        for each in found
    ]


def _share(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole else 0.0


def run(name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Runs a statement of sql/queries.sql and returns its rows."""
    return queries.rows(_QUERIES[name], parameters)
