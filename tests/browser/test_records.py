"""Find a record, its page, and an app's usage: wide and on a phone, light and dark, whole."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.utils import timezone
from playwright.sync_api import Browser, Page, ViewportSize, expect

from notify.domain.engine.lanes import lane_of, partition_of
from notify.domain.records import ids
from notify.domain.records.decide import LINK_REFUSED, SKIPPED
from notify.models import (
    Alert,
    App,
    AppSample,
    DeadLetter,
    Hot,
    Lane,
    LaneSample,
    Link,
    LinkCount,
    LinkLimit,
    Record,
    Skipped,
    SkipRule,
    Stream,
    Topic,
)
from notify.operations import app_keys
from tests.browser.visit import PHONE, WIDE, is_whole, log_in, opened, staff

pytestmark = pytest.mark.django_db(transaction=True)

EMAIL = "anna.mueller@brauerei.example"
WHY = "Its updates hold up everything: see the ticket of the customer."
PERMISSIONS = (
    *("notify.view_record", "notify.view_app", "notify.view_skipped", "notify.view_deadletter"),
    *("notify.view_skiprule", "notify.add_skiprule", "notify.add_linklimit", "notify.view_alert"),
    *("notify.view_linklimit", "notify.view_appkey"),
)


@pytest.fixture
def app(site: str) -> App:
    """With a hot record and all that can be known of both."""
    app, _ = app_keys.create_app("Closely, of the very long name", requires_key=False)
    id_ = hot_record(app)
    now = timezone.now()
    topic = Topic.objects.create(id=uuid.uuid4(), name="updates", partitions=8)
    stream = Stream.objects.create(
        topic_id=topic.id,
        partition=partition_of(str(app.id), 8),
        lanes=4,
        lanes_wanted=4,
        planned=9_000_123,
        frontier=9_000_000,
    )
    lane = lane_of(str(app.id), id_, 4)
    Lane.objects.create(stream=stream.pk, lane=lane, last=9_000_001, tries=2)
    LaneSample.objects.create(
        stream=stream.pk, lane=lane, at=now, writes=1234, oldest_s=42, attempt=3
    )
    Record.objects.create(
        app=app.id,
        id=id_,
        kind="email",
        identifier=EMAIL,
        tags={"plan": "gold", "a" * 128: 1},
        properties={"sdk": "050401", "alias:external_id": "u-1"},
        mirrored_updates=987_654_321_000,
        created_at=now,
        updated_at=now,
    )
    for label, n in (("email", 41_200), ("user", 100), ("merged", 4)):
        LinkCount.objects.create(app=app.id, parent=id_, label=label, gen=0, n=n)
    Link.objects.create(app=app.id, child=id_, label="user", parent=uuid.UUID(int=3), parent_gen=0)
    for n in range(3):
        where = {"stream": stream.pk, "app": app.id, "record": id_}
        SkipRule(app=app, record=id_, scope="mirrored", author="root", reason=WHY).save()
        Skipped.objects.create(
            **where,
            reason=(SKIPPED, LINK_REFUSED)[n % 2],
            rule=1,
            first=9_000_000,
            last=9_000_123,
            n=44,
        )
        DeadLetter.objects.create(
            **where, offset=n, error="22003: value is out of range " * 4, message=b"{}"
        )
    for n in range(140):
        at = now - timedelta(minutes=10 * n)
        Hot.objects.create(bucket=at, **where, direct=n, mirrored=(n * 7_919) % 90_000, error=1)
        AppSample.objects.create(
            bucket=at, stream=1, app=app.id, updates=(n * 7_919) % 90_000, mirrored=5, error=0
        )
    LinkLimit(
        app=app,
        label="email",
        children=9,
        author="root",
        reason=WHY,
        expires_at=now + timedelta(days=1),
    ).save()
    Alert.objects.create(
        key="k", kind="hot_record", level="bad", app=app.id, text=f"86 % belong to {id_}", path="/"
    )
    return app


def hot_record(app: App) -> str:
    return ids.record_id(str(app.id), "email", EMAIL)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_pages(chromium: Browser, site: str, app: App, size: ViewportSize, dark: bool) -> None:
    user = staff(*PERMISSIONS)
    LogEntry.objects.log_actions(
        user.pk, [app], CHANGE, f"Changed Enabled.\nReason: {WHY}", single_object=True
    )
    with opened(chromium, site, size, dark=dark) as page:
        log_in(page, user, site)
        for path, h1 in {
            "record/": "Find a record",
            f"record/{app.id}/{hot_record(app)}/": "Record",
            f"app/{app.id}/usage/": "Closely",
            f"notify/app/{app.id}/change/": "View app",
        }.items():
            page.goto(f"/admin/{path}")
            is_whole(page, h1=h1)
            assert page.locator("html.dark").count() == dark, path


def test_a_record_that_is_none(chromium: Browser, site: str, app: App) -> None:
    with opened(chromium, site, PHONE, expect="404") as page:
        log_in(page, staff(*PERMISSIONS), site)
        page.goto(f"/admin/record/{app.id}/{uuid.uuid4()}/")
        is_whole(page, h1="No such record")


def test_from_an_address_to_the_cure(phone: Page, site: str, app: App) -> None:
    log_in(phone, staff(*PERMISSIONS), site)
    phone.goto("/admin/record/")
    phone.get_by_label("App").fill(app.name)
    phone.get_by_label("Record").fill("nobody@brauerei.example")
    phone.get_by_role("button", name="Find").click()
    expect(phone.get_by_text("has no such record")).to_be_visible()
    is_whole(phone, h1="Find a record")
    phone.get_by_label("Record").fill(EMAIL.upper())
    phone.get_by_role("button", name="Find").click()
    phone.wait_for_url(f"**/record/{app.id}/{hot_record(app)}/")
    assert EMAIL not in phone.content()
    expect(phone.get_by_text("a…@b….example")).to_be_visible()
    phone.get_by_role("link", name="Set limit…").click()
    is_whole(phone, h1="Set a link limit")
    phone.go_back()
    phone.get_by_role("link", name="Skip…").click()
    is_whole(phone, h1="Skip a record")


def test_from_the_app_to_its_most_linked_record(page: Page, site: str, app: App) -> None:
    log_in(page, staff(*PERMISSIONS), site)
    page.goto(f"/admin/notify/app/{app.id}/change/")
    page.get_by_role("link", name="Usage, limits and history").click()
    is_whole(page, h1="Closely")
    page.locator(f"a[href$='/{app.id}/{hot_record(app)}/']").first.click()
    is_whole(page, h1="Record")
