"""The frame of pages of our own: their door, title, what is above them, how old their data is."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import clear_url_caches, path, set_urlconf
from pytest_django import Settings

from notify.admin import pages
from tests.staff import staff as client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http")]

AT = datetime(2026, 11, 23, 20, 5, 7, tzinfo=UTC)


class Routes:
    """A urlconf with the pages that are registered when it is made."""

    def __init__(self) -> None:
        self.urlpatterns = [path("admin/", admin.site.urls)]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[str]:
    """The path of a page that needs notify.view_record."""
    monkeypatch.setattr(pages, "_PAGES", pages._PAGES.copy())

    @pages.page("probe/<int:n>/", name="probe", permission="notify.view_record")
    def show(request: HttpRequest, n: int) -> HttpResponse:
        crumbs = [("Find <a> record", "/admin/")]
        title = f"Probe {n}"
        return pages.shown(
            request, "admin/notify/page.html", title=title, crumbs=crumbs, as_of=AT, status=202
        )

    settings.ROOT_URLCONF = Routes()
    clear_url_caches()
    yield "/admin/probe/7/"
    set_urlconf(None)
    clear_url_caches()


def test_who_is_not_logged_in_is_sent_to_the_login(probe: str) -> None:
    answer = Client().get(probe)
    assert (answer.status_code, answer["Location"]) == (302, f"/admin/login/?next={probe}")


def test_who_lacks_the_permission_is_refused(probe: str) -> None:
    assert client("view_hot").get(probe).status_code == 403


def test_the_frame(probe: str) -> None:
    answer = client("view_record").get(probe)
    assert answer.status_code == 202
    text = answer.text
    assert text.count("<h1") == 1
    assert "Probe 7</h1>" in text
    assert "<title>" in text
    assert '<a href="/admin/">Find &lt;a&gt; record</a>' in text
    assert 'datetime="2026-11-23T20:05:07+00:00">2026-11-23 20:05:07 UTC</time>' in text
    assert "/static/notify/admin.css" in text
