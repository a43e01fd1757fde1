"""A support person at a browser: real headless Chromium, and only the permissions of the group."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
from playwright.sync_api import Browser, Page, expect, sync_playwright

from devstack.services import DevstackError
from tests.browser.executable import MISSING, arguments, executable

NAME: Final = "grace"
PASSWORD: Final = "rehearsal-only"
#: Until a page is given up: a browser on a busy machine takes its time.
PATIENCE_MS: Final = 120_000
#: In the support group, as roles.py ships it, and in nothing else.
MAKE: Final = f"""
from django.contrib.auth.models import Group, User
user = User.objects.create_user("{NAME}", password="{PASSWORD}", is_staff=True)
user.groups.add(Group.objects.get(name="{{group}}"))
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser. Raises DevstackError where there is none.

    It gets the CPU that others leave: a support person's is on another machine.
    """
    found = executable()
    if found is None:
        raise DevstackError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments())
        for process in psutil.Process().children(recursive=True):
            if "chrom" in process.name():
                process.nice(19)
        yield browser
        browser.close()


class Staff:
    """Logged in; every method is what a person does with the mouse and the keyboard."""

    def __init__(self, browser: Browser, web_url: str) -> None:
        self._url = web_url
        self.page: Page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.goto(f"{web_url}/admin/login/")
        self.page.get_by_label("Username").fill(NAME)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page).to_have_url(f"{web_url}/admin/", timeout=PATIENCE_MS)

    def reads(self, path: str, *, within_s: float, **words: str) -> float | None:
        """Seconds until the page shows all the words, looked at once a second; None: not in time."""
        began = time.monotonic()
        while time.monotonic() - began < within_s:
            self.page.goto(f"{self._url}{path}")
            text = self.page.locator("main, #content, body").last.inner_text()
            if all(word in text for word in words.values()):
                return time.monotonic() - began
            time.sleep(1)
        return None

    def draw(self, path: str, picture: Path) -> None:
        """Save what a window of that page shows."""
        self.page.goto(f"{self._url}{path}")
        self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=picture)

    def skip(self, record: str) -> float:
        """Skip the record from the hot page; when the button was pressed (monotonic)."""
        self.page.goto(f"{self._url}/admin/notify/hot/")
        self._row(record).get_by_role("link", name="Skip").first.click()
        self._reason("every device mirrors to it")
        return self._press("Skip this record")

    def limit(self, record: str, children: int) -> float:
        """Set the link limit of the record's app from the hot page; when the button was pressed."""
        self.page.goto(f"{self._url}/admin/notify/hot/")
        self._row(record).get_by_role("link", name="Set limit").first.click()
        self.page.locator("[name=children]").fill(str(children))
        self._reason("every device mirrors to one record")
        return self._press("Set this limit")

    def rate(self, app: str, requests_per_s: int) -> float:
        """Set the app's requests a second on its page; when the button was pressed."""
        self.page.goto(f"{self._url}/admin/notify/app/{app}/change/")
        self.page.locator("[name=requests_per_s]").fill(str(requests_per_s))
        self._reason("it floods")
        return self._press("Save")

    def _row(self, record: str):  # type: ignore[no-untyped-def] # Playwright's Locator
        return self.page.get_by_role("row").filter(has_text=record)

    def _reason(self, text: str) -> None:
        self.page.locator("[name=reason]").fill(text)

    def _press(self, name: str) -> float:
        at = time.monotonic()
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=name, exact=True).click()
        return at
