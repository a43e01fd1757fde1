"""The audit trail: every change in the admin leaves who, what, when and why."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from notify.admin import reasons
from notify.models import App, SkipRule
from notify.operations import app_keys
from tests import app_page

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http")]

TRAIL = "/admin/admin/logentry/"
RECORD = str(uuid.uuid4())
WHY = "ticket 4711 <b>"
SHOWN = "ticket 4711 &lt;b&gt;"


@pytest.fixture
def app() -> App:
    return app_keys.create_app("Closely", requires_key=False)[0]


def changes(app: App) -> dict[str, tuple[str, dict[str, Any]]]:
    """Each change that the admin makes: its address and form, without the reason."""
    user = User.objects.create_user("ada", password="x")
    group = Group.objects.create(name="interns")
    version = {"app": "Closely", "expires_at_0": "", "expires_at_1": ""}
    passwords = {"password1": "quite new 7", "password2": "quite new 7", "usable_password": "true"}
    return {
        "add an app": ("notify/app/add/", {"name": "New"}),
        "change an app": (f"notify/app/{app.pk}/change/", app_page.form(app, name="Closer")),
        "add a rule": (
            "notify/skiprule/add/",
            {**version, "record": RECORD, "scope": "all", "active": "on"},
        ),
        "add a limit": ("notify/linklimit/add/", {**version, "label": "email", "children": "9"}),
        "add a user": ("auth/user/add/", {"username": "new", **passwords}),
        "change a user": (f"auth/user/{user.pk}/change/", {"username": "ada2"}),
        "set a password": (
            f"auth/user/{user.pk}/password/",
            {**passwords, "set-password": "x", "username": "ada"},
        ),
        "add a group": ("auth/group/add/", {"name": "more"}),
        "change a group": (f"auth/group/{group.pk}/change/", {"name": "fewer"}),
        "delete a group": (f"auth/group/{group.pk}/delete/", {"post": "yes"}),
    }


NAMES = [
    "add an app",
    "change an app",
    "add a rule",
    "add a limit",
    "add a user",
    "change a user",
    "set a password",
    "add a group",
    "change a group",
    "delete a group",
]


@pytest.mark.parametrize("name", NAMES)
class TestEveryChange:
    def test_leaves_its_reason(self, name: str, app: App, admin_client: Client) -> None:
        path, form = changes(app)[name]
        answer = admin_client.post(f"/admin/{path}", {**form, "reason": WHY})
        # A new app's key is in the answer itself.
        assert answer.status_code == (200 if name == "add an app" else 302), answer.text
        assert LogEntry.objects.count() == 1
        text = admin_client.get(TRAIL).text
        assert SHOWN in text
        assert "none was asked" not in text

    def test_needs_one(self, name: str, app: App, admin_client: Client) -> None:
        path, form = changes(app)[name]
        for reason in ("", "  "):
            answer = admin_client.post(f"/admin/{path}", {**form, "reason": reason}, follow=True)
            assert "This field is required" in answer.text or "enter a reason" in answer.text
        assert not LogEntry.objects.exists()


def test_every_change_is_listed() -> None:
    assert set(NAMES) == set(changes(app_keys.create_app("x", requires_key=False)[0]))


def test_the_reason_is_no_changed_field(app: App, admin_client: Client) -> None:
    form = app_page.form(app, name="Closer", reason=WHY)
    admin_client.post(app_page.page(app), form)
    assert reasons.change_and_reason(LogEntry.objects.get()) == ("Changed Name.", WHY)
    assert "ticket 4711" in admin_client.get(f"/admin/notify/app/{app.pk}/history/").text


class TestNote:
    def request(self) -> Any:
        request = RequestFactory().post("/")
        request.user = User.objects.create_user("grace")
        return request

    def test_what_forms_do_not_write(self, app: App) -> None:
        entry = reasons.note(
            self.request(), app, did="Sent\n3 again.", reason=" why\nindeed ", flag=DELETION
        )
        assert reasons.change_and_reason(entry) == ("Sent 3 again.", "why\nindeed")
        assert (entry.user.username, entry.object_repr) == ("grace", "Closely")
        assert entry.is_deletion()

    def test_it_needs_a_reason(self, app: App) -> None:
        with pytest.raises(ValueError, match="needs a reason"):
            reasons.note(self.request(), app, did="Sent.", reason=" ")
        assert not LogEntry.objects.exists()


class TestTrail:
    def fill(self, app: App, people: int = 2) -> list[User]:
        users = [User.objects.create_user(f"staff{n}", is_staff=True) for n in range(people)]
        for n in range(30):
            request = RequestFactory().post("/")
            request.user = users[n % people]
            row = app if n % 3 else SkipRule(app=app, record=uuid.uuid4(), author="x", reason="hot")
            if isinstance(row, SkipRule):
                row.save()
            entry = reasons.note(request, row, did=f"Did {n}.", reason=f"because {n}")
            LogEntry.objects.filter(pk=entry.pk).update(
                action_time=timezone.now() - timedelta(minutes=30 - n)
            )
        return users

    def rows(self, client: Client, **query: str) -> list[Any]:
        return list(client.get(TRAIL, query).context["cl"].result_list)

    def test_newest_first_by_person_kind_and_time(self, app: App, admin_client: Client) -> None:
        users = self.fill(app)
        ids = [entry.pk for entry in self.rows(admin_client)]
        assert ids == sorted(ids, reverse=True)
        assert len(ids) == 30
        of_one = self.rows(admin_client, person=str(users[1].pk))
        assert {entry.user_id for entry in of_one} == {users[1].pk}
        assert len(of_one) == 15
        assert len(self.rows(admin_client, kind="skip-rule")) == 10
        assert len(self.rows(admin_client, kind="app", since="10min")) == 6
        assert len(self.rows(admin_client, q="Closely")) == 20
        for odd in ({"person": "x"}, {"kind": "x"}, {"since": "x"}):
            assert len(self.rows(admin_client, **odd)) == 30

    def test_its_cost(
        self,
        app: App,
        admin_client: Client,
        django_assert_max_num_queries: DjangoAssertNumQueries,
    ) -> None:
        self.fill(app)
        self.rows(admin_client)  # content types are cached from here on
        with django_assert_max_num_queries(7) as captured:
            assert len(self.rows(admin_client)) == 30
        counted = [query["sql"] for query in captured if "COUNT(" in query["sql"]]
        assert all("LIMIT 1000" in sql for sql in counted if "django_admin_log" in sql)

    def test_nobody_edits_it(self, app: App, admin_client: Client) -> None:
        self.fill(app)
        entry = LogEntry.objects.latest("id")
        for path in ("add/", f"{entry.pk}/delete/", f"{entry.pk}/change/"):
            assert admin_client.post(TRAIL + path, {"post": "yes"}).status_code == 403
        assert LogEntry.objects.count() == 30
