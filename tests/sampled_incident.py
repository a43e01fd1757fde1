"""The sampled tables as bridges and watcher fill them in the incident: one record takes nearly all."""

import uuid
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import connection

from notify.models import (
    App,
    AppSample,
    Hot,
    LaneSample,
    LinkCount,
    Parent,
    QueueSample,
    Stream,
    StreamSample,
    Topic,
    Watcher,
    WorkerSample,
)

RECORD: Final = uuid.UUID("0f3dd5ce-5a6a-4d6f-8f2e-1c1f5b5f8a10")
LANES: Final = 16
#: The incident's samples are of ten seconds to come: a slow test still finds them in the newest window.
AHEAD_S: Final = 60


class Incident(NamedTuple):
    """The app and what its record got in the newest bucket."""

    app: App
    record: uuid.UUID = RECORD
    direct: int = 30
    mirrored: int = 830
    messages: int = 1_000


def now() -> datetime:
    """PostgreSQL's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        at: datetime = cursor.fetchone()[0]
    return at


def bucket(ago_s: float = 0) -> datetime:
    """The beginning of the ten seconds that were so long ago."""
    at = now() - timedelta(seconds=ago_s)
    return at.replace(second=at.second // 10 * 10, microsecond=0)


def pipeline(partitions: int = 2) -> list[Stream]:
    """A topic with streams that tick, and workers and lanes that are well."""
    topic = Topic.objects.create(id=uuid.uuid4(), name="updates", partitions=partitions)
    streams = [
        Stream.objects.create(
            topic_id=topic.id, partition=n, lanes=LANES, lanes_wanted=LANES, planned=900, frontier=880,
            ticked_at=now(),
        )
        for n in range(partitions)
    ]  # fmt: skip
    LaneSample.objects.bulk_create(
        LaneSample(
            stream=streams[0].pk, lane=lane, at=now(), writes=lane % 4, oldest_s=0.2, attempt=1
        )
        for lane in range(LANES)
    )
    QueueSample.objects.bulk_create(
        QueueSample(lane=lane, at=now(), tasks=1, workers=2) for lane in range(LANES)
    )
    WorkerSample.objects.create(
        name="w1@host", seen_at=now(), progressed_at=now(), active=2, processed=1_234_567
    )
    Watcher.objects.create(name="watch@host", at=now())
    return streams


def sampled(stream: Stream, ago_s: float = 0, **fields: Any) -> None:
    """Ten seconds of the stream."""
    given: dict[str, Any] = {
        "bucket": bucket(ago_s), "stream": stream.pk, "at": now() - timedelta(seconds=ago_s),
        "bridge": "host:7", "log_end": 900, "planned": 900, "frontier": 880, "lag_s": 0.4,
        "lag_s_max": 0.6, "held_bytes": 20_000, "held_writes": 24, "paused": False, "messages": 0,
        "writes": 0, "mirrored": 0, "skipped": 0, "dead": 0,
    }  # fmt: skip
    StreamSample.objects.create(**given | fields)


def hot(
    app: App, record: uuid.UUID, *, direct: int = 0, mirrored: int = 0, ago_s: float = 0
) -> None:
    """A record's ten seconds."""
    Hot.objects.create(
        bucket=bucket(ago_s), stream=1, app=app.id, record=record, direct=direct, mirrored=mirrored,
        error=0,
    )  # fmt: skip


def flood(app: App, updates: int, *, ago_s: float = 0) -> None:
    """An app's ten seconds."""
    AppSample.objects.create(
        bucket=bucket(ago_s), stream=1, app=app.id, updates=updates, mirrored=0, error=0
    )


def linked(app: App, record: uuid.UUID, label: str, n: int, *, gen: int = 0) -> None:
    """So many children of the record, in a generation."""
    LinkCount.objects.create(app=app.id, parent=record, label=label, gen=gen, n=n)


def incident(name: str = "Closely") -> Incident:
    """41,200 devices are linked to one record, which so gets 86 % of all updates."""
    streams = pipeline()
    made = Incident(App.objects.create(name=name))
    for n, stream in enumerate(streams):
        messages = 0 if n else made.messages
        sampled(stream, bucket=bucket(-AHEAD_S), messages=messages, writes=1_900, mirrored=830)
    hot(made.app, made.record, direct=made.direct, mirrored=made.mirrored, ago_s=-AHEAD_S)
    flood(made.app, 980, ago_s=-AHEAD_S)
    Parent.objects.create(app=made.app.id, id=made.record, gen=1)
    linked(made.app, made.record, "email", 9, gen=0)
    linked(made.app, made.record, "email", 41_200, gen=1)
    return made
