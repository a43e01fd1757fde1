"""A visit to the site: a window that notices errors, a login, and what must hold of any page."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Response, ViewportSize
from playwright.sync_api import expect as has_text

WIDE = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=390, height=844)
#: Until a test gives up waiting for a page: a browser on a busy machine takes its time.
PATIENCE_MS = 120_000
_VIOLATION = """
    document.addEventListener('securitypolicyviolation', event => console.error(
        `CSP: ${event.effectiveDirective} refuses ${event.blockedURI} ${event.sample}`));
"""


@contextmanager
def opened(
    browser: Browser, url: str, size: ViewportSize, *, dark: bool = False, expect: str = ""
) -> Iterator[Page]:
    """A page of a context of its own. AssertionError at the end if its console had an error, a script
    failed, something was not found, or the policy refused something; `expect` is in an error that
    is meant to be.
    """
    found: list[str] = []

    def told(message: ConsoleMessage) -> None:
        if message.type == "error":
            found.append(f"{message.text} ({message.location['url']})")

    def failed(error: Error) -> None:
        found.append(f"uncaught: {error}")

    def answered(answer: Response) -> None:
        if answer.status >= 400:
            found.append(f"{answer.status} for {answer.url}")

    context = browser.new_context(
        base_url=url,
        viewport=size,
        has_touch=size["width"] < 500,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    try:
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(_VIOLATION)
        page = context.new_page()
        page.on("console", told)
        page.on("pageerror", failed)
        page.on("response", answered)
        yield page
        page.wait_for_load_state()
        seen = [each for each in found if not (expect and expect in each)]
        assert not seen, seen
    finally:
        context.close()


def staff(*permissions: str, name: str = "grace") -> User:
    """A staff user with these permissions (`app.codename`) and no others."""
    user = User.objects.create_user(name, password="x", is_staff=True)
    for permission in permissions:
        label, codename = permission.split(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=label, codename=codename)
        )
    return user


def log_in(page: Page, user: User, url: str) -> None:
    """From now on the page's context is the user's, by a session cookie."""
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": url}])


def is_whole(page: Page, *, h1: str) -> None:
    """Assert that the page has one h1, which begins so, is drawn (Alpine ran), and is no wider than
    its window."""
    heading = page.locator("h1")
    # The page before may still be shown.
    has_text(heading).to_have_text(re.compile(rf"^\s*{re.escape(h1)}"))
    heading.wait_for(state="visible")
    assert heading.count() == 1
    page.wait_for_load_state("load")
    width, limit = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= limit, f"{page.url} is {width} px wide in a window of {limit} px"
    assert limit == (page.viewport_size or WIDE)["width"]
