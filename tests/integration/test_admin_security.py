"""The door of the admin: throttled logins, cookies, and what browsers are told to refuse."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings

from notify import env
from notify.admin.login import client_address

LOGIN = "/admin/login/?next=/admin/"
RIGHT = {"username": "root", "password": "the right password"}
WRONG = {"username": "root", "password": "a wrong password"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def plain(plain_http: None, settings: Settings) -> Settings:
    """No redirect to https, one proxy, three tries."""
    settings.NOTIFY_PROXIES = 1
    settings.AXES_FAILURE_LIMIT = settings.NOTIFY_LOGIN_FAILURES = 3
    return settings


@pytest.fixture
def root() -> User:
    """Who may log in."""
    return User.objects.create_superuser(**RIGHT)


def _try(credentials: dict[str, str], *, address: str = "192.0.2.1", **meta: Any) -> Any:
    return Client().post(LOGIN, credentials, HTTP_X_FORWARDED_FOR=address, **meta)


def test_an_address_with_too_many_failures_is_locked_out(plain: Settings, root: User) -> None:
    assert [_try(WRONG).status_code for _ in range(3)] == [200, 200, 429]
    page = _try(RIGHT)
    assert page.status_code == 429
    assert page["Retry-After"] == str(plain.NOTIFY_LOGIN_COOLOFF_S)
    assert "Wait 15 minutes" in page.content.decode()
    assert "Content-Security-Policy" in page
    User.objects.create_user("grace", password="x", is_staff=True)
    grace = {"username": "grace", "password": "x"}
    assert _try(grace).status_code == 429
    assert _try(grace, address="192.0.2.2").status_code == 302


def test_a_user_name_with_too_many_failures_is_locked_from_every_address(
    plain: Settings, root: User
) -> None:
    """So guesses are few, however many addresses there are."""
    tries = [_try(WRONG, address=f"192.0.2.{n}").status_code for n in range(3)]
    assert tries == [200, 200, 429]
    assert _try(RIGHT, address="192.0.2.9").status_code == 429
    AccessAttempt.objects.all().delete()  # as `manage.py axes_reset_username root` does
    assert _try(RIGHT, address="192.0.2.9").status_code == 302


def test_a_stranger_locks_nobody_out_of_an_address_that_he_uses(
    plain: Settings, root: User
) -> None:
    """A stranger's failures lock the name wherever its user has not been, so guesses stay few."""
    home, elsewhere = "192.0.2.1", "192.0.2.9"
    assert _try(RIGHT, address=home).status_code == 302
    for number in range(3):
        _try(WRONG, address=f"203.0.113.{number}")
    assert _try(RIGHT, address=elsewhere).status_code == 429
    assert [_try(WRONG, address=home).status_code for _ in range(2)] == [200, 200]
    assert _try(RIGHT, address=home).status_code == 302
    assert _try(RIGHT, address=elsewhere).status_code == 429, "it ends no count but its own"
    assert [_try(WRONG, address=home).status_code for _ in range(3)] == [200, 200, 429]


def test_an_address_is_known_for_so_many_days_and_to_its_user_alone(
    plain: Settings, root: User
) -> None:
    home = "192.0.2.1"
    User.objects.create_user("grace", password="x", is_staff=True)
    assert _try({"username": "grace", "password": "x"}, address=home).status_code == 302
    for number in range(3):
        _try(WRONG, address=f"203.0.113.{number}")
    assert _try(RIGHT, address=home).status_code == 429, "grace has been here, root has not"
    AccessLog.objects.update(username="root")
    assert _try(RIGHT, address=home).status_code == 302
    AccessLog.objects.update(
        attempt_time=timezone.now() - timedelta(days=plain.NOTIFY_LOGIN_KNOWN_DAYS)
    )
    assert _try(RIGHT, address=home).status_code == 429


def test_the_same_name_in_other_letters_counts_as_the_name(plain: Settings, root: User) -> None:
    """Django's form takes full-width letters for plain ones."""
    names = ("root", "\uff52oot", "r\uff4fot")
    tries = [
        _try(WRONG | {"username": name}, address=f"192.0.2.{number}").status_code
        for number, name in enumerate(names)
    ]
    assert tries == [200, 200, 429]


def test_a_login_that_succeeds_does_not_end_the_count_of_others(
    plain: Settings, root: User
) -> None:
    """Else who has an account could try those of others without an end."""
    User.objects.create_user("grace", password="x", is_staff=True)
    for number in range(2):
        assert _try(WRONG | {"username": f"name{number}"}).status_code == 200
        assert _try({"username": "grace", "password": "x"}).status_code == 302
    assert _try(WRONG).status_code == 429


def test_names_and_programs_that_change_do_not_help(plain: Settings, root: User) -> None:
    for number in range(3):
        page = _try(WRONG | {"username": f"name{number}"}, HTTP_USER_AGENT=f"program {number}")
    assert page.status_code == 429


def test_the_lock_ends_though_tries_go_on(plain: Settings, root: User) -> None:
    for _ in range(3):
        _try(WRONG)
    rows = AccessAttempt.objects.count()
    began = AccessAttempt.objects.latest("attempt_time").attempt_time
    assert _try(WRONG, HTTP_USER_AGENT="another").status_code == 429
    assert AccessAttempt.objects.count() == rows
    assert AccessAttempt.objects.latest("attempt_time").attempt_time == began
    AccessAttempt.objects.update(attempt_time=began - plain.AXES_COOLOFF_TIME)
    assert _try(RIGHT).status_code == 302


def test_a_login_that_succeeds_ends_the_count(plain: Settings, root: User) -> None:
    for _ in range(2):
        assert [_try(WRONG).status_code, _try(WRONG).status_code] == [200, 200]
        assert _try(RIGHT).status_code == 302


def test_a_password_is_not_written_down(plain: Settings, root: User) -> None:
    _try(WRONG)
    attempt = AccessAttempt.objects.get()
    assert WRONG["password"] not in f"{attempt.post_data}{attempt.get_data}"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "192.0.2.1", "198.51.100.7"),  # no proxy of ours: the header is the client's own
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "203.0.113.9, 192.0.2.1", "192.0.2.1"),  # what the client wrote is to the left
        (2, "203.0.113.9, 192.0.2.1, 10.0.0.1", "192.0.2.1"),
        (2, "192.0.2.1", "198.51.100.7"),  # not all proxies wrote: do not believe it
        (1, "unknown", "198.51.100.7"),
        (1, "", "198.51.100.7"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),  # who has one address has the /64
    ],
)
def test_the_address_that_counts(
    settings: Settings, proxies: int, forwarded: str, address: str
) -> None:
    settings.NOTIFY_PROXIES = proxies
    request = RequestFactory().get(
        "/admin/", REMOTE_ADDR="198.51.100.7", HTTP_X_FORWARDED_FOR=forwarded
    )
    assert client_address(request) == address


def test_the_header_that_the_proxies_write_has_the_name_of_the_setting(settings: Settings) -> None:
    settings.NOTIFY_PROXIES, settings.NOTIFY_ADDRESS_HEADER = 1, "ClientAddress"
    request = RequestFactory().get(
        "/admin/", HTTP_X_FORWARDED_FOR="203.0.113.9", HTTP_CLIENTADDRESS="192.0.2.1"
    )
    assert client_address(request) == "192.0.2.1"


@pytest.mark.parametrize("name", ["X_Forwarded_For", "", "X-Forwarded-For:", "Ä"])
def test_a_header_that_a_client_could_write_too_is_no_setting(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_ADDRESS_HEADER", name)
    with pytest.raises(ImproperlyConfigured, match="letters, digits and hyphens"):
        env.header("NOTIFY_ADDRESS_HEADER", "X-Forwarded-For")


def test_requests_of_the_api_never_reach_the_throttle(
    plain: Settings, root: User, django_assert_num_queries: Any
) -> None:
    for _ in range(3):
        _try(WRONG)
    with django_assert_num_queries(0):
        answer = Client().post("/no/such/path", HTTP_X_FORWARDED_FOR="192.0.2.1")
    assert answer.status_code == 404
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "Content-Security-Policy" not in answer


def test_cookies(plain: Settings, root: User) -> None:
    client = Client()
    client.get(LOGIN, secure=True)
    page = client.post(LOGIN, RIGHT, secure=True)
    assert page.status_code == 302
    for name, same_site in (("sessionid", "Lax"), ("csrftoken", "Strict")):
        cookie = client.cookies[name]
        assert (cookie["httponly"], cookie["samesite"]) == (True, same_site), name
        assert bool(cookie["secure"]) is plain.NOTIFY_TLS, name
    assert client.cookies["sessionid"]["max-age"] == ""  # it ends with the browser
    assert client.session.get_expiry_age() <= plain.NOTIFY_SESSION_S


def test_the_headers_of_a_page(plain: Settings) -> None:
    page = Client().get(LOGIN)
    policy = dict(
        directive.split(" ", 1) for directive in page["Content-Security-Policy"].split("; ")
    )
    assert policy["script-src"] == "'self' 'unsafe-eval'"  # for Alpine; nothing else
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert page["X-Content-Type-Options"] == "nosniff"
    assert page["Referrer-Policy"] == "same-origin"
    assert page["X-Frame-Options"] == "DENY"


class _Inline(HTMLParser):
    """Collects what the policy would stop: scripts without a source, and attributes that are scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        is_data = (given.get("type") or "").endswith("json")
        if tag == "script" and "src" not in given and not is_data:
            self.found.append(self.get_starttag_text() or tag)
        for name, value in attrs:
            if re.match(r"on[a-z]+$", name) or (value or "").startswith("javascript:"):
                self.found.append(f"{tag} {name}={value}")


@pytest.mark.parametrize(
    "path",
    [
        "/admin/login/",
        "/admin/",
        "/admin/notify/app/",
        "/admin/notify/app/add/",
        "/admin/notify/skiprule/",
        "/admin/notify/skiprule/add/",
        "/admin/notify/linklimit/add/",
        "/admin/notify/deadletter/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        "/admin/auth/group/add/",
        "/admin/admin/logentry/",
        "/admin/password_change/",
    ],
)
def test_no_page_has_what_the_policy_refuses(plain: Settings, root: User, path: str) -> None:
    client = Client()
    if path != "/admin/login/":
        client.force_login(root)
    page = client.get(path)
    assert page.status_code == 200
    inline = _Inline()
    inline.feed(page.content.decode())
    assert not inline.found
