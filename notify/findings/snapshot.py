"""What bridges and the watcher saw last, from the sampled tables alone: what pages and alerts show.

Nothing here asks Kafka or Redis, and no query grows with the records: each is bounded by streams,
lanes, workers, or by what is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from django.db import connection

from notify import queries
from notify.models import App

_QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "queries.sql")
#: Samples come once a second, in buckets of ten.
BUCKET_S: Final = 10
#: Over how many seconds findings are made: so few that a culprit is named within ten.
JUDGED_S: Final = 10
_TEN_MINUTES: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class StreamNow:
    """A stream of the active topic; `ago_s` is the age of its sample, None if it has none.

    planned, frontier and halted are as of now, the rest as of the sample. `unread_s`: for how long
    fetches brought nothing although the log goes on; `unheard_s`: for how long Kafka has not told the
    bridge where the log ends.
    """

    stream: int
    partition: int
    ago_s: float | None
    bridge: str | None
    log_end: int | None
    planned: int
    frontier: int
    lag_s: float
    unread_s: float
    unheard_s: float
    held_bytes: int
    held_writes: int
    paused: bool
    halted: str | None
    ticked_ago_s: float | None

    @property
    def lag_messages(self) -> int:
        """Offsets from the frontier to the log's end, as far as it is known."""
        return max(0, (self.log_end or self.planned) - self.frontier)


@dataclass(frozen=True, slots=True)
class LaneNow:
    """A lane of all streams. `tasks` in Redis and `workers` that read it: None if nobody looked."""

    lane: int
    writes: int
    oldest_s: float
    attempt: int
    tasks: int | None
    workers: int | None


@dataclass(frozen=True, slots=True)
class WorkerNow:
    """A Celery worker; `idle_ago_s`: since it last ended a task or had none."""

    name: str
    seen_ago_s: float
    idle_ago_s: float
    active: int
    processed: int
    offline: bool


@dataclass(frozen=True, slots=True)
class HotRecord:
    """A record's updates in the window; counts are high by `error` at most.

    `share` is of all messages of the window; `linked`: its children now, by label; `skipped`: the
    scope of the rule that skips it now.
    """

    app: UUID
    record: UUID
    direct: int
    mirrored: int
    error: int
    share: float
    linked: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    skipped: str | None = None

    @property
    def updates(self) -> int:
        """Direct and mirrored."""
        return self.direct + self.mirrored


@dataclass(frozen=True, slots=True)
class HotApp:
    """An app's updates in the window; `usual_per_s`: what it sent in the hour before."""

    app: UUID
    updates: int
    mirrored: int
    error: int
    share: float
    usual_per_s: float


@dataclass(frozen=True, slots=True)
class LimitedApp:
    """An app some of whose requests were refused at a rate limit in the window; `limit`: the one that
    refused most."""

    app: UUID
    limit: str
    refused: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it as of `at`. `seconds` is the length of the window, up to the newest sample; counts are of
    the window, dead letters of the last ten minutes."""

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

    @property
    def sampled_ago_s(self) -> float | None:
        """The age of the newest sample."""
        return min((each.ago_s for each in self.streams if each.ago_s is not None), default=None)

    def name(self, app: UUID) -> str:
        """The app's name, or its id."""
        return self.names.get(app, str(app))


def read(*, seconds: int = JUDGED_S, top: int = 10, app: UUID | None = None) -> Snapshot:
    """The snapshot now; the hottest `top` records and apps of the last `seconds`, up to seven fewer or
    three more.

    `app`: only its records. `seconds` are whole buckets, one at least.
    """
    ((now, since),) = run("now", seconds=max(seconds, BUCKET_S))
    ((messages, writes, mirrored, skipped, dead, newest),) = run("totals", since=since)
    ((refused,),) = run("dead_letters", since=now - _TEN_MINUTES)
    hot = _hot(now, since, app, top, messages)
    apps = [
        HotApp(whose, updates, mirrored, error, _share(updates, messages), usual)
        for whose, updates, mirrored, error, usual in run("apps", since=since, app=app, top=top)
    ]
    limited = [LimitedApp(*row) for row in run("limited", since=since, app=app, top=top)]
    named = {each.app for each in hot} | {each.app for each in apps}
    named |= {each.app for each in limited} | ({app} if app else set())
    watched = run("watcher", now=now)
    return Snapshot(
        at=now,
        seconds=max(1.0, ((newest or now) - since).total_seconds()),
        messages=messages,
        writes=writes,
        mirrored=mirrored,
        skipped=skipped,
        dead=max(dead, refused),
        streams=[StreamNow(*row) for row in run("streams", now=now)],
        lanes=[LaneNow(*row) for row in run("lanes", now=now)],
        workers=[WorkerNow(*row) for row in run("workers", now=now)],
        hot=hot,
        hot_apps=apps,
        limited=limited,
        names=dict(App.objects.filter(id__in=named).values_list("id", "name")),
        watched_ago_s=watched[0][0] if watched else None,
    )


def _hot(
    now: datetime, since: datetime, app: UUID | None, top: int, messages: int
) -> list[HotRecord]:
    rows = run("hot", since=since, app=app, top=top)
    keys = {"apps": [row[0] for row in rows], "records": [row[1] for row in rows]}
    linked: dict[tuple[UUID, UUID], dict[str, int]] = {}
    for whose, record, label, n in run("linked", **keys):
        linked.setdefault((whose, record), {})[label] = n
    skipped = {(row[0], row[1]): row[2] for row in run("skipped", now=now, **keys)}
    return [
        HotRecord(
            app=whose,
            record=record,
            direct=direct,
            mirrored=mirrored,
            error=error,
            share=_share(direct + mirrored, messages),
            linked=linked.get((whose, record), {}),
            skipped=skipped.get((whose, record)),
        )
        for whose, record, direct, mirrored, error in rows
    ]


def _share(part: int, whole: int) -> float:
    return min(1.0, part / whole) if whole else 0.0


def run(name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement of sql/queries.sql."""
    with connection.cursor() as cursor:
        cursor.execute(_QUERIES[name], parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
