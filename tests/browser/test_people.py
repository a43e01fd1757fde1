"""A colleague gets an account, a role and another password, in a real browser."""

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Browser, Page, ViewportSize

from notify.security import roles
from tests.browser.visit import PHONE, WIDE, is_whole, log_in, opened

pytestmark = pytest.mark.django_db(transaction=True)


def admin() -> User:
    """Staff, of the group `admin`, and no superuser."""
    user = User.objects.create_user("grace", password="x", is_staff=True)
    user.groups.add(Group.objects.get(name=roles.ADMIN))
    return user


def saved(page: Page) -> None:
    with page.expect_navigation():  # the page before may say the same
        page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("successfully").wait_for()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_user_is_added_and_gets_a_role_and_another_password(
    chromium: Browser, site: str, size: ViewportSize
) -> None:
    with opened(chromium, site, size) as page:
        log_in(page, admin(), site)
        page.goto("/admin/auth/user/add/")
        is_whole(page, h1="Add user")
        page.get_by_label("Username").fill("ada")
        page.get_by_label("Password", exact=True).fill("quite new 7")
        page.get_by_label("Password confirmation").fill("quite new 7")
        page.get_by_label("Reason").fill("she joins the team")
        saved(page)
        ada = User.objects.get(username="ada")
        assert ada.check_password("quite new 7")
        is_whole(page, h1="Change user")
        page.get_by_label("support").check()
        page.get_by_label("Staff status").check()
        page.get_by_label("Reason").fill("she answers customers")
        saved(page)
        assert list(ada.groups.values_list("name", flat=True)) == [roles.SUPPORT]
        page.goto(f"/admin/auth/user/{ada.pk}/password/")
        is_whole(page, h1="Change password")
        page.get_by_label("Password", exact=True).fill("another one 8")
        page.locator("[name=password2]").fill("another one 8")
        page.get_by_label("Reason").fill("she lost it")
        page.get_by_role("button", name="Change password").click()
        page.get_by_text("successfully").wait_for()
    ada.refresh_from_db()
    assert ada.check_password("another one 8")


def test_a_group_is_added(page: Page, site: str) -> None:
    log_in(page, admin(), site)
    page.goto("/admin/auth/group/add/")
    is_whole(page, h1="Add group")
    page.get_by_label("Name").fill("auditors")
    page.get_by_label("notify: Can view alert").check()
    page.get_by_label("Reason").fill("they only read")
    saved(page)
    group = Group.objects.get(name="auditors")
    assert list(group.permissions.values_list("codename", flat=True)) == ["view_alert"]
