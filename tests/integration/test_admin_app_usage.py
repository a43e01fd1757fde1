"""An app's usage: limits and where they come from, what it sent, and what was done about it."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from notify.admin import app_usage
from notify.domain.records.decide import LINK_REFUSED, SKIPPED
from notify.models import (
    Alert,
    App,
    AppSample,
    LeftOutSample,
    LinkCount,
    LinkLimit,
    Parent,
    RefusedSample,
    SkipCount,
    Skipped,
    SkipRule,
    StreamSample,
)
from notify.operations import app_keys
from tests.staff import staff as client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http")]

RECORD = uuid.UUID("0f3dd5ce-5a6a-4d6f-8f2e-1c1f5b5f8a10")
ALL = (
    *("view_app", "view_record", "view_linklimit", "view_skiprule", "view_alert"),
    *("view_appkey", "view_identitykey"),
)


@pytest.fixture
def app() -> App:
    return app_keys.create_app("Closely", requires_key=False)[0]


@pytest.fixture
def staff() -> Client:
    return client(*ALL)


def path(app: App) -> str:
    return f"/admin/app/{app.id}/usage/"


def shown(staff: Client, app: App) -> str:
    answer = staff.get(path(app))
    assert answer.status_code == 200
    return answer.content.decode()


def limit(app: App | None, children: int | None, **fields: Any) -> LinkLimit:
    version = LinkLimit(
        app=app, label="email", children=children, author="grace", reason="a test", **fields
    )
    version.save()
    return version


def email_limit(app: App) -> tuple[int, str]:
    (found,) = [x for x in app_usage.limits_now(app.id) if x.label == "email"]
    return found.children, found.source


def test_only_who_may_view_apps(app: App) -> None:
    assert Client().get(path(app)).status_code == 302
    assert client("view_record").get(path(app)).status_code == 403


def test_an_app_that_is_none(staff: Client) -> None:
    assert staff.get(f"/admin/app/{uuid.uuid4()}/usage/").status_code == 404


def test_the_apps_page_leads_to_it(staff: Client, app: App) -> None:
    assert path(app) in staff.get(f"/admin/notify/app/{app.id}/change/").content.decode()


def test_where_a_link_limit_comes_from(app: App) -> None:
    soon, gone = timezone.now() + timedelta(hours=1), timezone.now() - timedelta(hours=1)
    assert email_limit(app) == (100, "built in")
    limit(App.objects.create(name="Acme"), 5)
    limit(None, 70)
    assert email_limit(app) == (70, "for all apps")
    limit(app, 30, expires_at=soon)
    assert email_limit(app) == (30, "this app's own")
    limit(app, None)
    assert email_limit(app) == (70, "for all apps")
    limit(app, 20, expires_at=gone)
    assert email_limit(app) == (70, "for all apps")
    limit(None, None)
    assert email_limit(app) == (100, "built in")


def test_a_limit_of_none_is_its_own(app: App) -> None:
    limit(None, 70)
    limit(app, 0)
    assert email_limit(app) == (0, "this app's own")


@pytest.mark.parametrize(
    ("own", "of_all", "said"),
    [
        (None, 1_000, ("1,000", "NOTIFY_LIMIT_REQUESTS_PER_S, for all apps")),
        (None, 0, ("no limit", "NOTIFY_LIMIT_REQUESTS_PER_S, for all apps")),
        (25, 1_000, ("25", "this app&#x27;s own")),
        (0, 1_000, ("no limit", "this app&#x27;s own")),
    ],
)
def test_the_requests_a_second(
    settings: Settings, staff: Client, app: App, own: int | None, of_all: int, said: tuple[str, str]
) -> None:
    settings.NOTIFY_LIMIT_REQUESTS_PER_S = of_all
    App.objects.filter(id=app.id).update(requests_per_s=own)
    row = f'<td>Requests</td><td class="n-number">{said[0]}</td><td class="n-wrap">{said[1]}</td>'
    assert row in shown(staff, app)


def sample(
    app: App, *, ago: timedelta, updates: int, mirrored: int = 0, of: int | None = None
) -> None:
    bucket = timezone.now() - ago
    AppSample.objects.create(
        bucket=bucket, stream=1, app=app.id, updates=updates, mirrored=mirrored, error=0
    )
    counts = {
        "writes": 0,
        "mirrored": 0,
        "skipped": 0,
        "dead": 0,
        "held_bytes": 0,
        "held_writes": 0,
    }
    StreamSample.objects.get_or_create(
        bucket=bucket,
        stream=1,
        defaults={
            **counts,
            "at": bucket,
            "bridge": "b",
            "planned": 0,
            "frontier": 0,
            "lag_s": 0,
            "lag_s_max": 0,
            "paused": False,
            "messages": updates if of is None else of,
        },
    )


def test_its_last_minute(app: App) -> None:
    other = App.objects.create(name="Acme")
    sample(app, ago=timedelta(seconds=5), updates=300, mirrored=60, of=1_000)
    sample(app, ago=timedelta(seconds=90), updates=70_000)
    sample(other, ago=timedelta(seconds=6), updates=500, of=0)
    for reason, n, whose, ago in (
        (SKIPPED, 7, app, 1),
        (SKIPPED, 5, app, 2),
        (LINK_REFUSED, 3, app, 3),
        (LINK_REFUSED, 999, app, 90),
        (SKIPPED, 888, other, 1),
    ):
        Skipped.objects.create(
            stream=1, app=whose.id, record=RECORD, reason=reason, first=1, last=1, n=n,
            at=timezone.now() - timedelta(seconds=ago),
        )  # fmt: skip
    seen = app_usage.usage(app.id, timezone.now())
    assert (seen.updates, seen.mirrored, seen.share, seen.is_counted) == (300, 60, 0.3, True)
    assert list(seen.dropped) == [(SKIPPED, 12), (LINK_REFUSED, 3)]
    assert 50 <= seen.seconds < 60


def test_what_was_left_out_of_its_requests(staff: Client, app: App) -> None:
    assert "Left out" not in shown(staff, app)
    other = App.objects.create(name="Acme")
    for whose, what, n, ago in (
        (app, "tag", 4_200, timedelta(seconds=5)),
        (app, "tag", 3, timedelta(hours=3)),
        (app, "name", 7, timedelta(hours=3)),
        (app, "link", 5_555, timedelta(hours=25)),
        (other, "tag", 888_888, timedelta(seconds=5)),
    ):
        LeftOutSample.objects.create(bucket=timezone.now() - ago, app=whose.id, what=what, n=n)
    assert list(app_usage.usage(app.id, timezone.now()).left_out) == [("tag", 4_203), ("name", 7)]
    page = shown(staff, app)
    assert "Left out: tag" in page
    assert "4,203" in page
    assert "Left out: link" not in page


def test_its_requests_that_were_refused(staff: Client, app: App) -> None:
    assert "0 in 24 h" in shown(staff, app)
    other = App.objects.create(name="Acme")
    for whose, limit, n, ago in (
        (app, "app_requests", 4_200, timedelta(seconds=5)),
        (app, "app_updates", 3, timedelta(seconds=5)),
        (app, "app_requests", 20_000, timedelta(hours=3)),
        (app, "app_requests", 999_999, timedelta(hours=25)),
        (other, "app_requests", 888_888, timedelta(seconds=5)),
    ):
        RefusedSample.objects.create(bucket=timezone.now() - ago, app=whose.id, limit=limit, n=n)
    seen = app_usage.usage(app.id, timezone.now())
    assert (seen.refused, seen.refused_day) == (4_203, 24_203)
    page = shown(staff, app)
    assert "4,203" in page
    assert "24,203 in 24 h" in page


def test_its_day_is_of_24_hours_and_its_own(app: App) -> None:
    other = App.objects.create(name="Acme")
    for hours, updates in ((1, 6_000), (23, 600), (25, 9_999)):
        sample(app, ago=timedelta(hours=hours), updates=updates)
    sample(other, ago=timedelta(hours=2), updates=77)
    day = app_usage.day(app.id, timezone.now())
    assert day.updates == 6_600
    assert day.per_s.most == 10


def test_the_most_linked_of_its_generation(staff: Client, app: App) -> None:
    other = App.objects.create(name="Acme")
    stale = uuid.uuid4()
    Parent.objects.create(app=app.id, id=stale, gen=1)
    LinkCount.objects.create(app=app.id, parent=stale, label="email", gen=0, n=8_888_888)
    LinkCount.objects.create(app=other.id, parent=stale, label="email", gen=0, n=7_777_777)
    for n in range(20):
        LinkCount.objects.create(
            app=app.id, parent=uuid.UUID(int=n), label="email", gen=0, n=41_000 + n
        )
    page = shown(staff, app)
    assert f"/admin/record/{app.id}/{uuid.UUID(int=19)}/" in page
    assert "41,010" in page
    for absent in ("41,009", "8,888,888", "7,777,777"):
        assert absent not in page, absent


def test_its_rules_keys_history_and_alerts(staff: Client, app: App) -> None:
    rule = SkipRule(app=app, record=RECORD, author="ada", reason="it is far too hot")
    rule.save()
    SkipCount.objects.create(stream=1, rule=rule.rule, hits=4_321, last_at=timezone.now())
    lifted = SkipRule(app=app, record=uuid.UUID(int=5), author="ada", reason="b", active=False)
    lifted.save()
    limit(app, 30)
    LogEntry.objects.log_actions(
        User.objects.get(username="grace").pk, [app], CHANGE, "Changed Enabled.\nReason: <they> paid",
        single_object=True,
    )  # fmt: skip
    Alert.objects.create(
        key="k", kind="hot_app", level="bad", app=app.id, text="Closely floods", path="/admin/x/"
    )
    Alert.objects.create(
        key="l", kind="hot_app", level="bad", app=uuid.uuid4(), text="Another floods", path="/"
    )
    page = shown(staff, app)
    key = app.keys.get()
    for text in (
        "it is far too hot",
        "4,321",
        f"{key.prefix}…",
        "Changed Enabled.",
        "&lt;they&gt; paid",
        "Limits links by email to 30.",
        f"Skips all its updates of {RECORD}.",
        f"Lifted the rule that skips {uuid.UUID(int=5)}.",
        '<a href="/admin/x/">Closely floods</a>',
    ):
        assert text in page, text
    assert "Another floods" not in page
    assert key.digest not in page
    assert f"/admin/notify/skiprule/{lifted.pk}/" not in page


def test_parts_that_its_reader_may_not_see(app: App) -> None:
    SkipRule(app=app, record=RECORD, author="ada", reason="it is far too hot").save()
    limit(app, 30)
    Alert.objects.create(
        key="k", kind="hot_app", level="bad", app=app.id, text="Closely floods", path="/"
    )
    LinkCount.objects.create(app=app.id, parent=RECORD, label="email", gen=0, n=12)
    page = shown(client("view_app"), app)
    for absent in (
        "it is far too hot",
        "Limits links by",
        "Closely floods",
        f"{app.keys.get().prefix}…",
        "/admin/record/",
    ):
        assert absent not in page, absent


def test_as_many_queries_however_much_there_is(staff: Client, app: App) -> None:
    shown(staff, app)
    few = queries(staff, app)
    for n in range(30):
        SkipRule(app=app, record=uuid.uuid4(), author="ada", reason="hot").save()
        limit(app, 30 + n)
        LinkCount.objects.create(app=app.id, parent=uuid.uuid4(), label="email", gen=0, n=12)
        sample(app, ago=timedelta(minutes=n, seconds=1), updates=1)
        LogEntry.objects.log_actions(
            User.objects.get(username="grace").pk, [app], CHANGE, "Changed.", single_object=True
        )
    assert queries(staff, app) == few
    assert few < 30


def queries(staff: Client, app: App) -> int:
    with CaptureQueriesContext(connection) as seen:
        shown(staff, app)
    return len(seen)
