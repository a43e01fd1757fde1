"""A real Chromium against a live server with a real database.

Without Chromium these tests are skipped with a reason, in CI they fail.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from tests.browser.visit import PATIENCE_MS, PHONE, WIDE, opened

expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser on a busy machine takes its time."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def plain_http() -> Iterator[None]:
    """Middleware reads these when the server starts."""
    with override_settings(
        SECURE_SSL_REDIRECT=False, SECURE_PROXY_SSL_HEADER=None, STATIC_ROOT=None
    ):
        yield


@pytest.fixture(scope="session")
def live_server(plain_http: None, live_server: LiveServer) -> LiveServer:
    """pytest-django's, started with those settings."""
    return live_server


@pytest.fixture
def site(live_server: LiveServer, settings: Settings) -> str:
    """The URL of a live server that speaks plain HTTP; its policy is that of production."""
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = False
    # What is so when a test begins is so when a slow browser shows it.
    settings.NOTIFY_STALLED_AFTER_MS = 900_000
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return str(live_server.url)


@pytest.fixture
def page(chromium: Browser, site: str) -> Iterator[Page]:
    """A page 1280 px wide. The test fails if its console had an error or a violation of the CSP."""
    with opened(chromium, site, WIDE) as page:
        yield page


@pytest.fixture
def phone(chromium: Browser, site: str) -> Iterator[Page]:
    """The same, 390 px wide."""
    with opened(chromium, site, PHONE) as page:
        yield page
