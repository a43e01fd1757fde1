"""Every page of the admin, wide and on a phone, light and dark: drawn, whole, nothing refused."""

import uuid
from datetime import timedelta
from typing import NamedTuple

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.utils import timezone
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pytest_django import Settings

from notify.domain.records.decide import SKIPPED
from notify.models import App, DeadLetter, Hot, LinkLimit, Skipped, SkipRule, Stream
from notify.operations import app_keys, identity_keys
from tests.browser.visit import PHONE, WIDE, is_whole, log_in, opened, staff
from tests.identity_tokens import pair, public_pem

pytestmark = pytest.mark.django_db(transaction=True)

RECORD = uuid.UUID("0f3dd5ce-5a6a-4d6f-8f2e-1c1f5b5f8a10")
MESSAGE = b'{"v": 1, "op": "update", "patch": {"=": {"tags.plan": "gold"}}}'


class World(NamedTuple):
    """What the pages show."""

    root: User
    app: App
    rule: SkipRule
    limit: LinkLimit
    letter: DeadLetter


@pytest.fixture
def world(site: str) -> World:
    root = User.objects.create_superuser("root", "root@example.com", "x")
    app, _ = app_keys.create_app("Closely, of the very long name", requires_key=False)
    identity_keys.add(app, public_pem(pair("a")), by="root")
    stream = Stream.objects.create(
        topic_id=uuid.uuid4(), partition=3, lanes=4, lanes_wanted=4, planned=0, frontier=0
    )
    now = timezone.now()
    why = "Its updates hold up everything: see the ticket of the customer."
    rule = SkipRule(app=app, record=RECORD, author="root", reason=why)
    rule.save()
    limit = LinkLimit(
        app=app, label="email", children=9, author="root", reason=why, expires_at=now + timedelta(1)
    )
    limit.save()
    for n in range(60):
        where = {"stream": stream.pk, "app": app.id, "record": uuid.UUID(int=n + 1)}
        Skipped.objects.create(**where, reason=SKIPPED, rule=rule.rule, first=n, last=n, n=1)
        Hot.objects.create(**where, bucket=now, direct=n, mirrored=n * 90_000, error=1)
    letter = DeadLetter.objects.create(
        **where,
        offset=7,
        error="22003: value is out of range for the column " * 4,
        message=MESSAGE,
    )
    change(root, rule, ADDITION, "")
    change(root, app, CHANGE, f"Changed Enabled.\nReason: {why}")
    return World(root, app, rule, limit, letter)


def change(by: User, row: Model, flag: int, message: str) -> None:
    """An entry of the audit trail."""
    LogEntry.objects.log_actions(by.pk, [row], flag, message, single_object=True)


def pages(world: World) -> dict[str, str]:
    """The path of each page, and how its h1 begins."""
    support = Group.objects.get(name="support")
    return {
        "": "Overview",
        "notify/": "Notify",
        "notify/hot/": "Hot records",
        f"notify/hot/?span=1h&app={world.app.id}&record={RECORD}": "Hot records",
        f"hot/skip/{world.app.id}/{RECORD}/": "Skip a record",
        f"hot/limit/{world.app.id}/email/": "Set a link limit",
        "notify/skiprule/": "Skip rules",
        "notify/skiprule/?state=all": "Skip rules",
        "notify/skiprule/add/": "Add skip rule",
        f"notify/skiprule/{world.rule.pk}/change/": "View skip rule",
        "notify/linklimit/": "Link limits",
        "notify/linklimit/add/": "Add link limit",
        f"notify/linklimit/{world.limit.pk}/change/": "View link limit",
        "notify/skipped/": "Skipped updates",
        f"skipped/{world.app.id}/{RECORD}/": "Skipped record",
        "notify/deadletter/": "Dead letters",
        f"notify/deadletter/{world.letter.pk}/change/": "View dead letter",
        "notify/app/": "Apps",
        "notify/app/?q=nobody": "Apps",
        "notify/app/add/": "Add app",
        f"notify/app/{world.app.pk}/change/": "Change app",
        f"notify/app/{world.app.pk}/history/": "Change history",
        "auth/user/": "Users",
        "auth/user/add/": "Add user",
        f"auth/user/{world.root.pk}/change/": "Change user",
        f"auth/user/{world.root.pk}/password/": "Change password",
        "auth/group/": "Groups",
        f"auth/group/{support.pk}/change/": "Change group",
        f"auth/group/{support.pk}/delete/": "Delete",
        "admin/logentry/": "Audit trail",
        "password_change/": "Password change",
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_page(
    chromium: Browser, site: str, world: World, size: ViewportSize, dark: bool
) -> None:
    with opened(chromium, site, size, dark=dark) as page:
        log_in(page, world.root, site)
        for path, h1 in pages(world).items():
            page.goto(f"/admin/{path}")
            is_whole(page, h1=h1)
            assert page.locator("html.dark").count() == dark, path


def test_the_theme_is_switched_and_stays(page: Page, site: str, world: World) -> None:
    log_in(page, world.root, site)
    page.goto("/admin/")
    html = page.locator("html")
    expect(html).not_to_have_class("dark")
    page.get_by_text("root@example.com").click()
    page.get_by_text("Dark", exact=True).click()
    expect(html).to_have_class("dark")
    page.goto("/admin/notify/app/")
    expect(html).to_have_class("dark")
    page.get_by_text("root@example.com").click()
    page.get_by_text("Light", exact=True).click()
    expect(html).to_have_class("light")


def test_the_sidebar_on_a_phone(phone: Page, site: str, world: World) -> None:
    log_in(phone, world.root, site)
    phone.goto("/admin/")
    rules = phone.locator("#nav-sidebar").get_by_role("link", name="Skip rules")
    expect(rules).not_to_be_visible()
    phone.get_by_role("button", name="Toggle navigation").click()
    rules.click()
    is_whole(phone, h1="Skip rules")
    expect(phone.locator("#nav-sidebar")).not_to_be_in_viewport()


def test_filters_open_and_an_app_is_typed_in(page: Page, site: str, world: World) -> None:
    log_in(page, world.root, site)
    page.goto("/admin/notify/skipped/")
    page.locator("#changelist a", has_text="Filters").click()
    page.get_by_label("app: name or UUID").fill("Closely")
    page.keyboard.press("Enter")
    page.wait_for_url("**in_app=Closely**")
    is_whole(page, h1="Skipped updates")
    expect(page.locator("#result_list tbody")).to_have_count(50)


def test_who_adds_a_rule_sees_its_reason_in_the_trail(phone: Page, site: str, world: World) -> None:
    log_in(phone, world.root, site)
    phone.goto("/admin/notify/skiprule/add/")
    phone.get_by_label("App").fill(world.app.name)
    phone.get_by_label("Record").fill(str(uuid.uuid4()))
    phone.get_by_label("Reason").fill("it is too hot")
    phone.get_by_role("button", name="Save", exact=True).click()
    is_whole(phone, h1="Skip rules")
    phone.goto("/admin/admin/logentry/")
    expect(phone.locator("#result_list tbody").first).to_contain_text("it is too hot")


def test_a_group_is_deleted_with_a_reason(page: Page, site: str, world: World) -> None:
    log_in(page, world.root, site)
    group = Group.objects.create(name="interns")
    page.goto(f"/admin/auth/group/{group.pk}/delete/")
    page.get_by_label("Reason").fill("the summer is over")
    page.get_by_role("button", name="Yes").click()
    is_whole(page, h1="Groups")
    assert not Group.objects.filter(name="interns").exists()
    assert "the summer is over" in LogEntry.objects.latest("id").change_message


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_door(
    chromium: Browser, site: str, settings: Settings, size: ViewportSize, dark: bool
) -> None:
    settings.AXES_FAILURE_LIMIT = settings.NOTIFY_LOGIN_FAILURES = 2
    root = User.objects.create_superuser("root", "root@example.com", "the right password")
    with opened(chromium, site, size, dark=dark, expect="429") as page:
        page.goto("/admin/")
        is_whole(page, h1="Welcome back to")
        _try(page, "the right password")
        is_whole(page, h1="Overview")
        assert root.last_login != User.objects.get().last_login
        page.context.clear_cookies()
        for _ in range(2):
            page.goto("/admin/login/")
            _try(page, "a wrong password")
        is_whole(page, h1="Notify")
        expect(page.get_by_text("Wait 15 minutes")).to_be_visible()
        page.get_by_role("link", name="Back to the login").click()
        is_whole(page, h1="Welcome back to")


def _try(page: Page, password: str) -> None:
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_the_check_finds_what_the_policy_refuses(chromium: Browser, site: str) -> None:
    def refused() -> None:
        with opened(chromium, site, WIDE) as page:
            page.goto("/admin/login/")
            page.evaluate("document.body.setAttribute('onclick', 'this.remove()')")
            page.locator("body").click(position={"x": 1, "y": 1})

    with pytest.raises(AssertionError, match="CSP: script-src"):
        refused()


def test_the_sidebar_has_what_its_reader_may_open(page: Page, site: str, world: World) -> None:
    log_in(page, staff("notify.view_hot", "notify.view_app"), site)
    page.goto("/admin/")
    links = page.locator("#nav-sidebar-apps a")
    assert [text.split("\n")[-1].strip() for text in links.all_inner_texts()] == [
        "Overview",
        "Hot records",
        "Apps",
    ]
