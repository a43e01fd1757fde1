"""Support finds the culprit on the overview and cures it by clicks; the pages refresh themselves."""

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Browser, Page, ViewportSize, expect

from notify.models import Hot, LinkLimit, SkipRule, StreamSample
from tests.browser.visit import PHONE, WIDE, is_whole, log_in, opened, staff
from tests.sampled_incident import RECORD, Incident, hot, incident

pytestmark = pytest.mark.django_db(transaction=True)
#: Milliseconds in which a page that refreshes itself every 5 s has done so, on a busy machine.
REFRESHED_MS = 120_000

IN_SIGHT = """
cure => cure.getBoundingClientRect().right
    <= cure.closest('.n-table-box').getBoundingClientRect().right
"""


@pytest.fixture
def made(site: str) -> Incident:
    return incident("Closely, of the very long name")


def support() -> User:
    """Staff, of the group that is shipped, and with nothing else."""
    user = staff()
    user.groups.add(Group.objects.get(name="support"))
    return user


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_support_skips_the_culprit(
    chromium: Browser, site: str, made: Incident, size: ViewportSize, dark: bool
) -> None:
    raised = LinkLimit(
        app=made.app, label="email", children=10_000_000, reason="asked", author="ada"
    )
    raised.save()
    with opened(chromium, site, size, dark=dark) as page:
        log_in(page, support(), site)
        page.goto("/admin/")
        is_whole(page, h1="Overview")
        expect(page.get_by_text("41,200 devices are linked to it by email address")).to_be_visible()
        page.get_by_role("link", name="Show the record").click()
        is_whole(page, h1="Hot records")
        row = page.get_by_role("row").filter(has_text=str(RECORD))
        expect(row).to_have_attribute("aria-current", "true")
        skip = row.get_by_role("link", name="Skip…")
        expect(skip).to_be_visible()
        assert skip.evaluate(IN_SIGHT), "Skip is cut off at the table's edge"
        skip.click()
        is_whole(page, h1="Skip a record")
        expect(page.get_by_text("30 own and 830 mirrored updates")).to_be_visible()
        page.get_by_label("Mirrored updates only").check()
        page.get_by_label("All its updates").check()
        page.get_by_role("button", name="Skip this record").click()
        is_whole(page, h1="Skip a record")
        page.get_by_label("Ends after").select_option("7 days")
        page.get_by_label("Reason").fill("every device mirrors to it")
        page.get_by_role("button", name="Skip this record").click()
        is_whole(page, h1="Hot records")
        expect(
            page.get_by_text("The record is skipped. Writes to it stop within seconds.")
        ).to_be_visible()
        expect(row.get_by_text("skipped", exact=True)).to_be_visible()
        expect(row.get_by_role("link", name="Skip…")).to_have_count(0)
    rule = SkipRule.objects.get()
    assert (rule.record, rule.scope, rule.author) == (RECORD, "all", "grace")
    assert rule.reason == "every device mirrors to it"


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_limit_is_previewed_and_set(
    chromium: Browser, site: str, made: Incident, size: ViewportSize
) -> None:
    with opened(chromium, site, size) as page:
        log_in(page, staff("notify.view_hot", "notify.add_linklimit"), site)
        page.goto("/admin/notify/hot/")
        row = page.get_by_role("row").filter(has_text=str(RECORD))
        row.get_by_role("link", name="Set limit…").click()
        is_whole(page, h1="Set a link limit")
        expect(page.get_by_text("830 updates mirrored to it in the last minute")).to_be_visible()
        page.get_by_label("Records that may be linked to one record").fill("50000")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_text("No record of this app has more than 50,000")).to_be_visible()
        page.get_by_label("Records that may be linked to one record").fill("100")
        page.get_by_label("Reason").fill("every device mirrors to one record")
        page.get_by_role("button", name="Set this limit").click()
        is_whole(page, h1="Hot records")
        expect(page.get_by_text("The limit by email is now 100.")).to_be_visible()
        expect(row).to_have_attribute("aria-current", "true")
    assert LinkLimit.objects.get().children == 100


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_windows_and_an_app_that_floods(
    chromium: Browser, site: str, made: Incident, size: ViewportSize
) -> None:
    Hot.objects.all().delete()
    with opened(chromium, site, size) as page:
        log_in(page, staff("notify.view_hot", "notify.change_app", "notify.view_app"), site)
        page.goto("/admin/notify/hot/")
        expect(page.get_by_text("come from Closely, of the very long name")).to_be_visible()
        page.get_by_role("link", name="10 min").click()
        page.wait_for_url("**span=10min**")
        is_whole(page, h1="Hot records")
        expect(page.get_by_role("link", name="10 min")).to_have_attribute("aria-current", "page")
        page.get_by_role("link", name="Limit its requests…").first.click()
        is_whole(page, h1="Change app")
        expect(page.get_by_label("Requests a second")).to_be_editable()


def test_the_overview_refreshes_itself_where_it_is_scrolled_to(
    phone: Page, site: str, made: Incident
) -> None:
    page = phone
    log_in(page, support(), site)
    page.goto("/admin/")
    page.locator("#workers").scroll_into_view_if_needed()
    page.locator("#partitions .n-table-box").evaluate("box => { box.scrollLeft = 60 }")
    scrolled = page.evaluate("scrollY")
    assert scrolled > 0
    page.evaluate("document.body.dataset.same = 'yes'")
    StreamSample.objects.update(bridge="another:1")
    expect(page.locator("#partitions")).to_contain_text("another:1", timeout=REFRESHED_MS)
    assert page.evaluate("[scrollY, document.body.dataset.same]") == [scrolled, "yes"]
    assert page.locator("#partitions .n-table-box").evaluate("box => box.scrollLeft") == 60


def test_a_hidden_tab_asks_for_nothing(page: Page, site: str, made: Incident) -> None:
    log_in(page, support(), site)
    page.clock.install()
    page.goto("/admin/notify/hot/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    show = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    show += "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(show % "true")
    page.clock.run_for(60_000)
    assert [url for url in asked if "/admin/" in url] == []
    hot(made.app, made.record, direct=123_456, ago_s=20)
    with page.expect_request("**/admin/notify/hot/"):
        page.evaluate(show % "false")
    expect(page.get_by_text("123,486").first).to_be_visible()


def test_what_cannot_be_refreshed_says_so(chromium: Browser, site: str, made: Incident) -> None:
    with opened(chromium, site, WIDE, expect="ERR_FAILED") as page:
        log_in(page, support(), site)
        page.goto("/admin/")
        note = page.get_by_text("This page could not be refreshed")
        expect(note).to_be_hidden()
        page.route("**/admin/", lambda route: route.abort())
        expect(note).to_be_visible(timeout=REFRESHED_MS)
        page.unroute("**/admin/")
        expect(note).to_be_hidden(timeout=REFRESHED_MS)


def test_who_is_logged_out_is_told(page: Page, site: str, made: Incident) -> None:
    log_in(page, support(), site)
    page.goto("/admin/")
    page.context.clear_cookies()
    note = page.get_by_text("This page could not be refreshed")
    expect(note).to_be_visible(timeout=REFRESHED_MS)
    expect(page.locator("#partitions")).to_be_visible()
