"""The snapshot, read from the sampled tables."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries, Settings

from notify.models import (
    App,
    AppSample,
    BridgeStart,
    DeadLetter,
    Hot,
    LaneSample,
    LeftOutSample,
    LinkCount,
    LinkLimit,
    Parent,
    QueueSample,
    RefusedSample,
    Skipped,
    SkipRule,
    Stream,
    StreamSample,
    Topic,
    UnavailableSample,
    Watcher,
    WorkerSample,
)
from notify.monitoring import snapshot
from notify.monitoring.findings import find
from notify.monitoring.link_limits import FullLinks

pytestmark = pytest.mark.django_db
RECORD = uuid.UUID(int=7)
AHEAD_S = 60


@pytest.fixture(autouse=True)
def _patient(settings: Settings) -> None:
    """What is so when a test begins is so at the end of a slow one; what is old is 20 s old."""
    settings.NOTIFY_STALLED_AFTER_MS = 15_000


@pytest.fixture
def app() -> App:
    topic = Topic.objects.create(id=uuid.uuid4(), name="t", partitions=1)
    Stream.objects.create(
        id=1, topic_id=topic.id, partition=0, lanes=2, lanes_wanted=2, planned=9, frontier=5,
        ticked_at=now(),
    )  # fmt: skip
    return App.objects.create(name="Closely")


def now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        at: datetime = cursor.fetchone()[0]
    return at


def bucket(ago_s: int = 0) -> datetime:
    at = now() - timedelta(seconds=ago_s)
    return at.replace(second=at.second // 10 * 10, microsecond=0)


def newest(ago_s: int) -> datetime:
    """Of what is now, the beginning of ten seconds to come: a slow test still finds it in the window."""
    return bucket(ago_s or -AHEAD_S)


def sampled(ago_s: int = 0, **fields: Any) -> None:
    StreamSample.objects.create(
        **{
            "bucket": bucket(ago_s), "stream": 1, "at": now() - timedelta(seconds=ago_s),
            "bridge": "host:7", "log_end": 20, "planned": 9, "frontier": 5, "lag_s": 1.5,
            "lag_s_max": 2, "held_bytes": 10, "held_writes": 4, "paused": False, "messages": 1_000,
            "writes": 1_500, "mirrored": 500, "skipped": 3, "dead": 0,
        } | fields
    )  # fmt: skip


def hot(app: App, record: uuid.UUID, mirrored: int, *, direct: int = 0, ago_s: int = 0) -> None:
    Hot.objects.create(
        bucket=newest(ago_s), stream=1, app=app.id, record=record, direct=direct, mirrored=mirrored,
        error=0,
    )  # fmt: skip


def test_the_culprit_of_the_incident_is_found_in_the_tables(app: App) -> None:
    sampled(bucket=newest(0))
    hot(app, RECORD, 830, direct=30)
    Parent.objects.create(app=app.id, id=RECORD, gen=2)
    for gen, n in ((1, 9), (2, 41_200)):
        LinkCount.objects.create(app=app.id, parent=RECORD, label="email", gen=gen, n=n)
    Watcher.objects.create(name="w", at=Now())
    found = find(snapshot.read())
    assert found[0].text.startswith("86 % of updates in the last ")
    assert (
        f"record {RECORD} of Closely: 41,200 devices are linked to it by email address"
        in found[0].text
    )
    rule = SkipRule(app=app, record=RECORD, reason="why", author="ada")
    rule.save()
    assert find(snapshot.read()) == []
    SkipRule(app=app, record=RECORD, reason="why", author="ada", active=False).save()
    assert [each.kind for each in find(snapshot.read())] == ["hot_record"]


def test_only_the_window_counts(app: App) -> None:
    sampled(120)
    hot(app, RECORD, 900, ago_s=120)
    seen = snapshot.read(seconds=60)
    assert (seen.messages, seen.hot) == (0, [])
    assert 53 <= seen.seconds <= 63.5
    assert 3 <= snapshot.read().seconds <= 13.5
    seen = snapshot.read(seconds=600)
    assert [(each.record, each.mirrored, round(each.share, 9)) for each in seen.hot] == [
        (RECORD, 900, 0.9)
    ]


def test_streams_lanes_workers_and_the_watcher(app: App) -> None:
    sampled(15, planned=7)
    sampled(lag_s=2.5, paused=True)
    LaneSample.objects.create(stream=1, lane=0, at=now(), writes=3, oldest_s=2, attempt=1)
    LaneSample.objects.create(
        stream=1, lane=1, at=now() - timedelta(60), writes=9, oldest_s=2, attempt=1
    )
    QueueSample.objects.create(lane=0, at=now(), tasks=2, workers=1)
    WorkerSample.objects.create(
        name="w1", seen_at=now(), progressed_at=now(), active=1, processed=4
    )
    DeadLetter.objects.create(stream=1, offset=1, error="e", message=b"")
    seen = snapshot.read()
    (stream,) = seen.streams
    assert (stream.partition, stream.planned, stream.lag_messages, stream.lag_s) == (0, 9, 15, 2.5)
    assert (stream.paused, stream.bridge, stream.halted) == (True, "host:7", None)
    assert [(lane.lane, lane.writes, lane.tasks, lane.workers) for lane in seen.lanes] == [
        (0, 3, 2, 1)
    ]
    assert [(worker.name, worker.active, worker.offline) for worker in seen.workers] == [
        ("w1", 1, False)
    ]
    assert seen.dead == 1
    assert seen.watched_ago_s is None
    assert seen.sampled_ago_s is not None
    assert seen.sampled_ago_s < 10


def test_an_app_with_what_it_usually_sends(app: App) -> None:
    for ago_s, updates in ((1_000, 3_000), (0, 800)):
        sampled(ago_s)
        AppSample.objects.create(
            bucket=bucket(ago_s), stream=1, app=app.id, updates=updates, mirrored=1, error=0
        )
    (hottest,) = snapshot.read().hot_apps
    assert (hottest.app, hottest.updates, round(hottest.share, 9)) == (app.id, 800, 0.8)
    assert 2 < hottest.usual_per_s < 4


def test_what_web_answered_503_in_the_last_half_minute(app: App) -> None:
    began = now()
    for reason, n, ago_s in (
        ("bug", 4, 0),
        ("kafka_away", 30, 20),
        ("kafka_away", 12, 0),
        ("bug", 9, 60),
    ):
        at = began - timedelta(seconds=ago_s)
        UnavailableSample.objects.create(
            bucket=bucket(ago_s), reason=reason, n=n, first_at=at, last_at=at
        )
    kafka, bug = snapshot.read().unavailable
    assert (kafka.reason, kafka.n, round(kafka.lasting_s)) == ("kafka_away", 42, 20)
    assert (bug.reason, bug.n, round(bug.lasting_s)) == ("bug", 4, 0)
    assert 0 <= kafka.ago_s < 10
    assert round(kafka.per_s, 1) == 2.1


def test_apps_that_are_refused_at_their_limits(app: App) -> None:
    sampled()
    other = App.objects.create(name="Acme")
    for whose, limit, n, ago_s in (
        (app, "app_requests", 30, 0),
        (app, "app_updates", 70, 0),
        (app, "app_requests", 9_999, 60),
        (other, "app_requests", 99, 0),
    ):
        RefusedSample.objects.create(bucket=newest(ago_s), app=whose.id, limit=limit, n=n)
    seen = snapshot.read()
    assert seen.limited == [
        snapshot.LimitedApp(app.id, "app_updates", 100),
        snapshot.LimitedApp(other.id, "app_requests", 99),
    ]
    assert seen.name(other.id) == "Acme"
    assert [each.app for each in snapshot.read(app=other.id).limited] == [other.id]
    assert [each.app for each in snapshot.read(top=1).limited] == [app.id]


def refused(
    app: App, record: uuid.UUID | None, n: int, *, reason: str = "link_limit", ago_s: int = 0
) -> None:
    Skipped.objects.create(
        stream=1, app=app.id, record=record, reason=reason, first=1, last=n, n=n,
        at=now() - timedelta(seconds=ago_s), bucket=newest(ago_s),
    )  # fmt: skip


def test_an_app_at_its_link_limit_with_the_record_and_the_limit(app: App) -> None:
    sampled()
    other = uuid.UUID(int=8)
    for record, n in ((RECORD, 700), (other, 200), (None, 100)):
        refused(app, record, n)
    refused(app, RECORD, 9_999, ago_s=60)
    refused(app, RECORD, 9_999, reason="mirror_limit")
    refused(app, RECORD, 30, reason="alias_limit")
    for label, n in (("email", 150), ("sms", 90), ("alias", 99)):
        LinkCount.objects.create(app=app.id, parent=RECORD, label=label, gen=0, n=n)
    links, aliases = snapshot.read().refused_links
    assert (links.app, links.n, links.record) == (app.id, 1_000, RECORD)
    assert links.full == FullLinks("email", 150, 100, is_own=False)
    assert (aliases.reason, aliases.n, aliases.full) == ("alias_limit", 30, None)
    LinkLimit(app=app, label="email", children=120, reason="why", author="ada").save()
    assert snapshot.read().refused_links[0].full == FullLinks("email", 150, 120, is_own=True)
    LinkLimit(app=app, label="email", children=151, reason="why", author="ada").save()
    assert snapshot.read().refused_links[0].full is None
    assert snapshot.read(app=other).refused_links == []


def test_values_that_were_left_out_of_an_apps_requests(app: App) -> None:
    sampled()
    for what, n, ago_s in (("tag", 70, 0), ("name", 30, 0), ("link", 9_999, 60)):
        LeftOutSample.objects.create(bucket=newest(ago_s), app=app.id, what=what, n=n)
    seen = snapshot.read()
    assert seen.left_out == [snapshot.LeftOutOfApp(app.id, "tag", 100)]
    assert seen.name(app.id) == "Closely"


def test_a_stream_without_a_sample_and_nothing_at_all(app: App) -> None:
    seen = snapshot.read()
    assert seen.streams[0].ago_s is None
    assert seen.sampled_ago_s is None
    assert {each.kind for each in find(seen)} == {"unknown", "unwatched"}


def test_as_many_queries_for_many_records(
    app: App, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    sampled()
    for number in range(50):
        hot(app, uuid.UUID(int=number + 1), 10)
    with django_assert_num_queries(16):
        seen = snapshot.read(top=10)
    assert len(seen.hot) == 10


def test_what_a_sample_said_that_is_old_is_not_said_of_now(app: App) -> None:
    """N3: the bridge has stopped; who it was is still known."""
    sampled(40, lag_s=0, log_end=9)
    LaneSample.objects.create(
        stream=1, lane=0, at=now() - timedelta(seconds=20), writes=3, oldest_s=2, attempt=1
    )
    QueueSample.objects.create(lane=0, at=now() - timedelta(seconds=20), tasks=2, workers=1)
    seen = snapshot.read()
    (stream,) = seen.streams
    assert (stream.bridge, stream.planned, stream.frontier) == ("host:7", 9, 5)
    assert stream.ago_s is not None
    assert stream.ago_s >= 40
    told = (stream.log_end, stream.lag_s, stream.lag_messages, stream.unread_s, stream.unheard_s)
    assert {*told, stream.held_bytes, stream.held_writes, stream.paused} == {None}
    assert seen.lanes == []


def test_how_long_updates_wait_is_of_this_frontier_alone(app: App) -> None:
    ticked = now() - timedelta(seconds=30)  # frozen since
    Stream.objects.update(
        waiting_since=ticked - timedelta(seconds=4), waiting_at=5, ticked_at=ticked
    )
    (stream,) = snapshot.streams()
    assert stream.waiting_s == pytest.approx(4)
    for elsewhere in ({"waiting_at": 4}, {"frontier": 9, "waiting_at": 9}, {"waiting_at": None}):
        Stream.objects.update(**elsewhere)
        assert snapshot.streams()[0].waiting_s == 0


def test_a_start_is_under_way_since_the_first_bridge_after_the_last_tick(app: App) -> None:
    def starting() -> float | None:
        return snapshot.streams()[0].starting_s

    def ago(seconds: int) -> datetime:
        return now() - timedelta(seconds=seconds)

    BridgeStart.objects.create(name="host:1", at=ago(500))
    Stream.objects.update(ticked_at=ago(300))
    assert starting() is None
    BridgeStart.objects.create(name="host:2", at=ago(100))
    BridgeStart.objects.create(name="host:3", at=ago(2))
    assert starting() == pytest.approx(100, abs=60)
    # A topic that no bridge has ticked yet: since it was made, or since a bridge came.
    Stream.objects.update(ticked_at=None)
    Topic.objects.update(adopted_at=ago(1_000))
    BridgeStart.objects.all().delete()
    assert starting() == pytest.approx(1_000, abs=60)
    BridgeStart.objects.create(name="host:4", at=ago(700))
    assert starting() == pytest.approx(700, abs=60)


def test_rates_are_of_the_time_in_which_updates_came(app: App) -> None:
    """N7: ten minutes of updates of one partition were decided at once, beside another partition."""
    topic = Topic.objects.get()
    Stream.objects.create(
        id=2, topic_id=topic.id, partition=1, lanes=2, lanes_wanted=2, planned=9, frontier=5,
        ticked_at=now(),
    )  # fmt: skip
    other = App.objects.create(name="Other")
    sampled(messages=1_800, accepted_s=600.0)
    StreamSample.objects.filter(stream=1).update(
        bucket=bucket(-60), at=now() + timedelta(seconds=60)
    )
    sampled(stream=2, bucket=bucket(-60), at=now() + timedelta(seconds=60), messages=700)
    for stream, whose, n in ((1, app, 1_800), (2, other, 700)):
        AppSample.objects.create(
            bucket=bucket(-60), stream=stream, app=whose.id, updates=n, mirrored=0, error=0
        )
        Hot.objects.create(
            bucket=bucket(-60),
            stream=stream,
            app=whose.id,
            record=RECORD,
            direct=n,
            mirrored=0,
            error=0,
        )
    seen = snapshot.read()
    assert seen.seconds < 600
    rates = {each.app: each.per_s for each in seen.hot_apps}
    assert rates == pytest.approx({app.id: 1_800 / 600, other.id: 700 / seen.seconds})
    assert {each.app: each.per_s for each in seen.hot} == pytest.approx(rates)
    whole = sum(rates.values())
    shares = {each.app: each.share for each in seen.hot_apps}
    assert shares == pytest.approx({whose: rate / whole for whose, rate in rates.items()})


def test_how_many_waited_before_is_of_the_sample_just_before(app: App) -> None:
    for ago_s, log_end in ((40, 900), (10, 500), (0, 20)):
        sampled(ago_s, log_end=log_end)
    assert snapshot.streams()[0].lag_messages_before == 495
    StreamSample.objects.filter(log_end=500).delete()
    assert snapshot.streams()[0].lag_messages_before is None
