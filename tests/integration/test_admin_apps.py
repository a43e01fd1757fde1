"""Apps and keys in the admin: a secret is shown once, to who may make keys."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import constants
from django.contrib.messages.storage.cookie import CookieStorage
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from notify.domain.records import nobody
from notify.domain.records.nobody import NAMES_CHARS_MAX
from notify.models import App, AppKey
from notify.operations import app_keys
from notify.security.keys import digest_of
from tests import app_page
from tests.app_page import APPS as LIST
from tests.app_page import make_key, page
from tests.staff import staff

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http")]


def form(app: App, **fields: str) -> dict[str, str]:
    """The app's change form with a reason, as it is but for `fields`."""
    return app_page.form(app, **({"reason": "a ticket"} | fields))


def shown_secret(text: str) -> str:
    found = re.search(r'<code class="n-id">(nk_[^<]+)</code>', text)
    assert found is not None
    return found[1]


def _as_messages(cookie: str) -> str:
    """What a cookie of messages says: it is signed, packed and for everybody to read."""
    storage: Any = CookieStorage(HttpRequest())
    return "; ".join(str(message) for message in storage._decode(cookie) or ())


def assert_shown_once(client: Client, answer: Any, app: App) -> str:
    """The answer's secret, which is in its body alone: in no cookie, session, page or log entry."""
    assert answer.status_code == 200
    secret = shown_secret(answer.text)
    assert "no-store" in answer["Cache-Control"]
    cookies = [each.value for jar in (answer.cookies, client.cookies) for each in jar.values()]
    kept = [*cookies, *(_as_messages(value) for value in cookies)]
    kept += [str(answer.headers), str(dict(client.session))]
    kept += [entry.change_message for entry in LogEntry.objects.all()]
    kept += [client.get(url).text for url in (LIST, page(app), f"{LIST}{app.id}/history/")]
    assert not any(secret in text for text in kept)
    return secret


def test_a_key_in_a_message_would_be_found(rf: RequestFactory) -> None:
    """The search itself can fail."""
    request = rf.get("/")
    storage = CookieStorage(request)
    storage.add(constants.WARNING, "The new key: nk_12345678_x")
    answer = HttpResponse()
    storage.update(answer)
    assert "nk_12345678_x" in _as_messages(answer.cookies["messages"].value)


def test_a_new_app_shows_its_key_once(admin_client: Client) -> None:
    fields = {"name": "Closely", "enabled": "on", "reason": "a new customer"}
    answer = admin_client.post(f"{LIST}add/", fields)
    app = App.objects.get()
    secret = assert_shown_once(admin_client, answer, app)
    assert AppKey.objects.get(app=app).digest == digest_of(secret)
    assert page(app) in answer.text


def test_an_app_has_its_own_list_of_names_that_are_nobodys(admin_client: Client) -> None:
    app, _ = app_keys.create_app("shop", requires_key=False)
    built_in = sorted(nobody.NAMES)
    shown = admin_client.get(page(app)).text
    assert all(escape(name) in shown for name in built_in)

    def save(names: list[str]) -> str | None:
        text = "\r\n".join(names)
        answer = admin_client.post(page(app), form(app, nobody_names=text), follow=True)
        assert answer.status_code == 200
        app.refresh_from_db()
        return app.nobody_names

    assert save([name.upper() for name in built_in]) is None
    own = [name for name in built_in if name not in ("0", "1")]
    assert save([*own, " Guest ", "guest", ""]) == "\n".join(sorted([*own, "guest"]))
    assert admin_client.post(page(app), form(app, name="Shop")).status_code == 302
    app.refresh_from_db()
    assert nobody.names_in(app.nobody_names) == {*own, "guest"}
    long = [f"name {n}" for n in range(NAMES_CHARS_MAX // 8)]
    assert save(long) == app.nobody_names
    assert len(app.nobody_names or "") < NAMES_CHARS_MAX
    assert save([]) == ""


def test_an_open_apps_page_says_so_and_how_to_close_it(admin_client: Client) -> None:
    app, _ = app_keys.create_app("Closely", requires_key=False)
    text = admin_client.get(page(app)).text
    assert "This app is open: anybody who has its id" in text
    assert "require tokens" in text
    for requires in ({"requires_key": True}, {"requires_key": False, "requires_identity": True}):
        App.objects.update(**requires)
        assert "This app is open" not in admin_client.get(page(app)).text
    assert "This app is open" not in admin_client.get(f"{LIST}add/").text


def test_a_key_more_revokes_the_oldest(admin_client: Client) -> None:
    app, first = app_keys.create_app("Closely", requires_key=False)
    second = app_keys.rotate(app)
    answer = admin_client.post(page(app), form(app, **make_key(app)))
    secret = assert_shown_once(admin_client, answer, app)
    assert f"Revoked: {first.prefix}…" in answer.text
    live = AppKey.objects.filter(app=app, revoked_at=None).values_list("digest", flat=True)
    assert set(live) == {digest_of(second.secret), digest_of(secret)}
    assert secret[:11] in LogEntry.objects.get().change_message


def test_the_button_of_a_page_makes_one_key(admin_client: Client) -> None:
    """The page that shows a key is the answer to a POST, which a browser sends again to reload it."""
    app, _ = app_keys.create_app("Closely", requires_key=False)
    pressed = make_key(app)
    assert f'name="_make_key" value="{pressed["_make_key"]}"' in admin_client.get(page(app)).text
    admin_client.post(page(app), form(app, **pressed))
    again = admin_client.post(page(app), form(app, **pressed), follow=True)
    assert "No key was made, because somebody made one after you loaded this page." in again.text
    assert "nk_" not in re.findall(r"<code[^>]*>([^<]*)", again.text)
    assert AppKey.objects.filter(revoked_at=None).count() == 2
    assert AppKey.objects.count() == 2


def test_an_app_without_keys_gets_one(admin_client: Client) -> None:
    app = App.objects.create(name="Closely")
    admin_client.post(page(app), form(app, **make_key(app)))
    assert AppKey.objects.get().app == app


def test_a_key_is_revoked_by_its_box(admin_client: Client) -> None:
    app, _ = app_keys.create_app("Closely", requires_key=False)
    admin_client.post(page(app), form(app))
    assert AppKey.objects.get().revoked_at is None
    admin_client.post(page(app), form(app, **{"keys-0-revoke": "on"}))
    revoked_at = AppKey.objects.get().revoked_at
    assert revoked_at is not None
    admin_client.post(page(app), form(app, **{"keys-0-revoke": "on"}))
    assert AppKey.objects.get().revoked_at == revoked_at


def test_an_app_is_disabled_and_never_deleted(admin_client: Client) -> None:
    app, _ = app_keys.create_app("Closely", requires_key=False)
    fields = form(app)
    del fields["enabled"]
    admin_client.post(page(app), fields)
    assert not App.objects.get().enabled
    assert admin_client.post(f"{LIST}{app.id}/delete/", {"post": "yes"}).status_code == 403
    answer = admin_client.post(LIST, {"action": "delete_selected", "_selected_action": app.id})
    assert App.objects.exists()
    assert "delete_selected" not in answer.text


def test_who_may_only_view_cannot_edit() -> None:
    app, _ = app_keys.create_app("Closely", requires_key=False)
    client = staff("view_app", "view_appkey")
    text = client.get(page(app)).text
    assert 'name="_save"' not in text
    assert "_make_key" not in text
    assert "revoke" not in re.findall(r'name="([^"]+)"', text)
    assert client.post(page(app), form(app, **make_key(app))).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403
    assert AppKey.objects.count() == 1


def test_who_may_change_apps_makes_no_keys() -> None:
    app, _ = app_keys.create_app("Closely", requires_key=False)
    client = staff("view_app", "change_app", "view_appkey")
    assert "_make_key" not in client.get(page(app)).text
    fields = {"name": "Closer", "keys-0-revoke": "on", **make_key(app)}
    client.post(page(app), form(app, **fields))
    assert App.objects.get().name == "Closer"
    assert AppKey.objects.get().revoked_at is None


def test_who_may_see_no_keys_sees_none() -> None:
    app, key = app_keys.create_app("Closely", requires_key=False)
    assert key.prefix not in staff("view_app").get(page(app)).text


def test_nothing_changes_without_a_reason(admin_client: Client) -> None:
    app, _ = app_keys.create_app("Closely", requires_key=False)
    for reason in ("", "  "):
        answer = admin_client.post(
            page(app), form(app, name="Closer", reason=reason, **make_key(app))
        )
        assert "This field is required" in answer.text
        answer = admin_client.post(f"{LIST}add/", {"name": "New", "reason": reason})
        assert "This field is required" in answer.text
    assert App.objects.get().name == "Closely"
    assert AppKey.objects.count() == 1
    assert not LogEntry.objects.exists()


def test_search_and_cost(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    apps = [app_keys.create_app(f"app {n:02d}", requires_key=False)[0] for n in range(30)]
    with django_assert_max_num_queries(5):
        text = admin_client.get(LIST).text
    assert text.count("/change/") >= 30
    for term in ("app 07", str(apps[7].id)):
        found = admin_client.get(LIST, {"q": term}).text
        assert str(apps[7].id) in found
        assert str(apps[8].id) not in found
