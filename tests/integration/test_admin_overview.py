"""The overview: what is wrong first, what of it to whom, and at what cost."""

import contextlib
import html
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from notify.models import (
    App,
    BridgeStart,
    DeadLetter,
    LaneSample,
    LeftOutSample,
    QueueSample,
    RefusedSample,
    Skipped,
    Stream,
    StreamSample,
    Topic,
    Watcher,
    WorkerSample,
)
from notify.monitoring import snapshot
from notify.monitoring.findings import find
from notify.monitoring.partition_state import StateBounds
from notify.web.http.pipeline import problems
from tests.sampled_incident import (
    AHEAD_S,
    RECORD,
    bucket,
    flood,
    hot,
    incident,
    linked,
    now,
    pipeline,
    sampled,
)
from tests.staff import staff

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http", "patient")]
INDEX = "/admin/"


def texts(client: Client) -> list[str]:
    return [alarm.text for alarm in client.get(INDEX).context["alarms"]]


def test_when_nothing_is_wrong_it_says_so_with_numbers() -> None:
    for stream in pipeline():
        sampled(stream, bucket=bucket(-AHEAD_S), messages=500)
    client = staff("view_stream")
    before = snapshot.read()
    answer = client.get(INDEX)
    after = snapshot.read()  # the window has moved on, so it is shorter
    assert "All is well." in answer.text
    assert answer.context["alarms"] == []
    assert 1_000 / before.seconds <= answer.context["now"]["updates_per_s"] <= 1_000 / after.seconds
    assert answer.context["now"]["lag_messages"] == 40
    assert answer.context["now"]["workers"] == 1
    assert 'data-live="5"' in answer.text
    assert "Data as of" in answer.text


def test_open_apps_are_told_to_whom_may_see_apps() -> None:
    for name, requires in (
        ("Open", {}), ("Also open", {}), ("Off", {"enabled": False}),
        ("Keyed", {"requires_key": True}), ("Verified", {"requires_identity": True}),
    ):  # fmt: skip
        App.objects.create(name=name, **requires)
    said = "2 apps are open"
    answer = staff("view_stream", "view_app").get(INDEX)
    assert said in answer.text
    href = "/admin/notify/app/?enabled__exact=1&requires_key__exact=0&requires_identity__exact=0"
    assert href in html.unescape(answer.text)
    listed = staff("view_app").get(href).text
    assert "Also open" in listed
    assert "Verified" not in listed
    assert said not in staff("view_stream").get(INDEX).text
    App.objects.filter(name__contains="pen").update(requires_key=True)
    assert "open:" not in staff("view_stream", "view_app").get(INDEX).text


def test_the_culprit_is_named_with_a_way_to_its_cure() -> None:
    made = incident()
    answer = staff("view_hot").get(INDEX)
    (alarm,) = answer.context["alarms"]
    assert (
        f"record {RECORD} of Closely: 41,200 devices are linked to it by email address"
        in alarm.text
    )
    assert alarm.href == f"/admin/notify/hot/?app={made.app.id}&record={RECORD}"
    assert "All is well" not in answer.text


def test_an_app_that_runs_into_its_limits_is_named_with_a_way_to_them() -> None:
    for stream in pipeline():
        sampled(stream)
    app, record = App.objects.create(name="Closely"), uuid.uuid4()
    linked(app, record, "email", 100)
    Skipped.objects.create(
        stream=1,
        app=app.id,
        record=record,
        reason="link_limit",
        first=1,
        last=9,
        n=900,
        bucket=bucket(-AHEAD_S),
    )
    LeftOutSample.objects.create(bucket=bucket(-AHEAD_S), app=app.id, what="tag", n=900)
    usage = f"/admin/app/{app.id}/usage/"
    for may, href in (
        (["view_hot", "add_linklimit"], f"/admin/hot/limit/{app.id}/email/?record={record}"),
        (["view_hot", "view_app"], usage),
        (["view_hot"], ""),
    ):
        refused, left_out = staff(*may).get(INDEX).context["alarms"]
        assert (
            f"links a second of Closely are refused, most of them to record {record}"
            in refused.text
        )
        assert "are left out of requests of Closely" in left_out.text
        assert refused.href == href
        assert left_out.href == (usage if "view_app" in may else "")
    told = staff("view_stream").get(INDEX).text
    assert "Links of one app are refused" in told
    assert "Values are left out" in told
    for hidden in ("Closely", str(app.id), str(record)):
        assert hidden not in told


def test_who_may_not_view_hot_records_sees_no_names() -> None:
    made = incident("Closely Secret")
    StreamSample.objects.update(lag_s=90)
    flood(App.objects.create(name="Acme Secret"), 10**6)
    answer = staff("view_stream").get(INDEX)
    told = " ".join(alarm.text for alarm in answer.context["alarms"])
    assert "86 % of updates" in told
    assert "belong to one record" in told
    assert "come from one app" in told
    assert "90 s late" in told
    for hidden in (str(RECORD), str(made.app.id), "Secret"):
        assert hidden not in answer.text
    assert list(answer.context["hot"]) == []
    assert "Closely Secret" in staff("view_hot").get(INDEX).text


def test_an_app_that_is_refused_is_named_to_whom_may_see_it() -> None:
    for stream in pipeline():
        sampled(stream)
    app = App.objects.create(name="Acme Secret")
    RefusedSample.objects.create(bucket=bucket(-AHEAD_S), app=app.id, limit="app_requests", n=4_000)
    told = staff("view_stream").get(INDEX)
    (alarm,) = told.context["alarms"]
    assert "Requests of one app are refused" in alarm.text
    assert "Secret" not in told.text
    assert str(app.id) not in told.text
    (alarm,) = staff("view_hot").get(INDEX).context["alarms"]
    assert "of Acme Secret are refused with 429" in alarm.text
    assert alarm.href == ""
    client = staff("view_hot", "view_app")
    (alarm,) = client.get(INDEX).context["alarms"]
    assert client.get(alarm.href).context["usage"].refused == 4_000


def test_who_has_no_permission_here_sees_nothing_of_it() -> None:
    incident()
    answer = staff("view_user").get(INDEX)
    assert answer.status_code == 200
    assert "alarms" not in answer.context
    for hidden in (str(RECORD), "Closely", "w1@host", "Partitions"):
        assert hidden not in answer.text


def test_a_flood_of_an_app_leads_to_its_limit_or_to_its_numbers() -> None:
    for stream in pipeline():
        sampled(stream, bucket=bucket(-AHEAD_S), messages=500)
    app = App.objects.create(name="Acme")
    flood(app, 900, ago_s=-AHEAD_S)
    (alarm,) = staff("view_hot", "change_app").get(INDEX).context["alarms"]
    assert alarm.href == f"/admin/notify/app/{app.id}/change/"
    assert alarm.action == "Limit its requests…"
    (alarm,) = staff("view_hot").get(INDEX).context["alarms"]
    assert alarm.href == f"/admin/notify/hot/?app={app.id}"


def test_what_is_old_is_not_shown_as_now() -> None:
    """N3: a bridge that is stopped tells nothing, and its last words are not shown as news."""
    streams = pipeline()
    for stream in streams:
        sampled(stream, 40, lag_s=0, log_end=880, held_writes=17)
    LaneSample.objects.update(at=now() - timedelta(seconds=40))
    Stream.objects.update(ticked_at=now() - timedelta(seconds=40))
    answer = staff("view_hot").get(INDEX)
    (alarm,) = answer.context["alarms"]
    assert alarm.text.startswith("Partitions 0-1 are stalled: no bridge has been active for 4")
    assert "host:7" in alarm.text
    assert "manage.py bridge" in alarm.cure
    shown = answer.context["now"]
    assert {shown[each] for each in ("updates_per_s", "lag_s", "lag_messages", "held_writes")} == {
        None
    }
    assert shown["behind"] is None
    assert answer.text.count('<strong class="n-card-value">unknown</strong>') == 5
    assert answer.text.count("unknown: the newest sample is") == 2
    assert "Unknown: no bridge sends samples." in answer.text
    assert "Nothing waits" not in answer.text
    assert "No updates" not in answer.text
    sampled(streams[0])
    LaneSample.objects.update(at=now())
    Stream.objects.filter(pk=streams[0].pk).update(ticked_at=now())
    answer = staff("view_hot").get(INDEX)
    assert answer.context["now"]["lag_s"] is None
    assert "no recent sample of partition 1" in answer.text
    assert [row.state for row in answer.context["partitions"]["rows"]] == ["ok", "stalled"]
    assert answer.text.count("unknown: the newest sample is") == 1


def test_workers_are_unknown_while_nobody_watches() -> None:
    for stream in pipeline():
        sampled(stream)
    Watcher.objects.update(at=now() - timedelta(minutes=5))
    WorkerSample.objects.update(seen_at=now() - timedelta(minutes=5))
    answer = staff("view_hot").get(INDEX)
    assert [alarm.text[:17] for alarm in answer.context["alarms"]] == ["`manage.py watch`"]
    assert [row.state for row in answer.context["workers"]] == ["unknown"]
    assert answer.context["now"]["workers"] is None


def test_many_of_a_kind_do_not_hide_the_rest() -> None:
    for n, stream in enumerate(pipeline(9)):
        sampled(stream, bridge=f"host:{n}")
    Stream.objects.filter(partition__lt=8).update(ticked_at=now() - timedelta(minutes=5))
    Watcher.objects.all().delete()
    alarms = staff("view_hot").get(INDEX).context["alarms"]
    assert [alarm.more for alarm in alarms] == [0, 0, 5, 0]
    assert alarms[-1].text.startswith("`manage.py watch` is not running")


def test_lanes_behind_lanes_without_workers_and_flower(settings: Settings) -> None:
    for stream in pipeline():
        sampled(stream)
    LaneSample.objects.filter(lane=5).update(writes=3_412, oldest_s=42)
    QueueSample.objects.filter(lane=9).update(workers=0)
    settings.NOTIFY_FLOWER_URL = "https://flower.example.com/"
    answer = staff("view_lane").get(INDEX)
    assert answer.context["now"]["behind"] == 1
    assert answer.context["lanes"]["unread"] == [9]
    first = answer.context["lanes"]["rows"][0]
    assert (first.of.lane, first.state) == (5, "behind")
    assert "No worker reads lane 9" in answer.text
    assert '<a href="https://flower.example.com/">Flower</a>' in answer.text
    assert "not the lag or lanes that no worker reads" in answer.text
    assert "flower.example.com" not in staff("view_hot").get(INDEX).text


def test_the_hour_has_a_gap_where_no_bridge_was() -> None:
    stream, other = pipeline()
    newest = bucket()
    for ago_s in (3_000, 2_980, 900):
        at = newest - timedelta(seconds=ago_s)
        sampled(stream, bucket=at, messages=100, skipped=20, lag_s_max=4, held_writes=7)
        sampled(other, bucket=at, messages=60, lag_s_max=9, held_writes=5)
    hour = staff("view_hot").get(INDEX).context["hour"]
    assert len(hour.messages_per_s.lines) == 2
    assert (hour.messages_per_s.most, hour.skipped_per_s.most) == (8, 1)
    assert (hour.lag_s.most, hour.held_writes.most) == (9, 12)


def test_each_partition_has_the_state_that_all_others_say(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """N4: one word for one state: the page, `manage.py status`, web's health and the findings."""
    settings.KAFKA_BOOTSTRAP_SERVERS = ["127.0.0.1:1"]
    # `status` waits for Kafka. What is so now must be so then.
    settings.NOTIFY_STALLED_AFTER_MS = 600_000
    settings.NOTIFY_START_GRACE_S = 600
    wanted = [
        "ok",
        "unread",
        "ok",
        "unheard",
        "stuck",
        "stalled",
        "starting",
        "halted",
        "unknown",
        "draining",
    ]
    streams = pipeline(partitions=len(wanted))
    said: list[dict[str, Any]] = [
        {},
        {"unread_s": 9_500},
        {"paused": True},
        {"unheard_s": 9_500},
        *[{}] * 6,
    ]
    for stream, fields in zip(streams, said, strict=True):
        if wanted[stream.partition] != "unknown":
            sampled(stream, **fields)
    long_ago = now() - timedelta(days=1)
    BridgeStart.objects.create(name="host:9", at=now())
    changed: dict[int, dict[str, Any]] = {
        4: {"waiting_since": long_ago, "waiting_at": 880},
        5: {"ticked_at": long_ago},
        6: {"ticked_at": None},
        7: {"halted": "bad deploy"},
        9: {"lanes_wanted": 99},
    }
    for partition, fields in changed.items():
        Stream.objects.filter(partition=partition).update(**fields)
    BridgeStart.objects.update(at=now() - timedelta(hours=1))
    Topic.objects.update(adopted_at=now() - timedelta(seconds=1))
    answer = staff("view_hot").get(INDEX)
    page = [row.state for row in answer.context["partitions"]["rows"]]
    assert page == wanted
    explained = [state for state, _ in answer.context["partitions"]["about"]]
    assert set(explained) == set(wanted) - {"ok"}
    for text in ("stream resume", "celery -A notify worker", "A stream is stuck"):
        assert text in answer.text
    with contextlib.suppress(SystemExit):
        call_command("status", "--json")
    listed = json.loads(capsys.readouterr().out)["partitions"]
    assert [each["state"] for each in listed] == wanted
    found = {each.kind for each in find(snapshot.read())}
    assert found == set(wanted) - {"ok", "draining"}
    told = problems(snapshot.streams(), StateBounds.of_settings())
    words = [each.split(":")[0].rpartition(" ")[2] for each in told]
    assert words == [word for word in wanted if word not in ("ok", "draining")]


def test_workers_that_stopped_long_ago_are_left_out() -> None:
    pipeline()
    for name, minutes in (("early", 5), ("gone", 90)):
        at = now() - timedelta(minutes=minutes)
        WorkerSample.objects.create(
            name=name, seen_at=at, progressed_at=at, active=0, processed=1, offline=True
        )
    rows = staff("view_hot").get(INDEX).context["workers"]
    assert [(row.of.name, row.state) for row in rows] == [
        ("w1@host", "busy"),
        ("early", "stopped"),
    ]


def test_as_many_queries_for_ten_records_as_for_a_thousand() -> None:
    made = incident()
    client = staff("view_hot", "view_deadletter", "change_app")
    counts = []
    for n in (10, 1_000):
        for _ in range(n):
            record = uuid.uuid4()
            hot(made.app, record, direct=5)
            linked(made.app, record, "email", 20)
            DeadLetter.objects.create(stream=1, offset=1, error="e", message=b"")
        with CaptureQueriesContext(connection) as captured:
            client.get(INDEX)
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 22
