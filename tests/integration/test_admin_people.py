"""Staff: what the roles that ship may do, who makes whom, and what the sidebar shows them."""

from collections import Counter
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db.models import Model
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from notify import admin_theme
from notify.security import roles

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http")]

USERS = "/admin/auth/user/"


def member(role: str, name: str = "grace") -> tuple[User, Client]:
    """A staff user in the role, and a client where he is logged in."""
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return user, client


def migrated() -> None:
    """What a migration sends when it is done."""
    call_command("migrate", "notify", verbosity=0)


def may(user: User) -> set[str]:
    """The names of what the user may do."""
    return User.objects.get(pk=user.pk).get_all_permissions()


class TestRoles:
    def test_each_may_what_the_one_before_may(self) -> None:
        viewer, support, admin = (
            may(member(role, role)[0]) for role in (roles.VIEWER, roles.SUPPORT, roles.ADMIN)
        )
        assert viewer < support < admin

    def test_a_viewer_sees_all_but_app_keys_and_changes_nothing(self) -> None:
        names = may(member(roles.VIEWER)[0])
        ours = {
            model._meta.model_name
            for model in apps.get_app_config("notify").get_models()
            if model._meta.managed
        }
        assert names == {f"notify.view_{name}" for name in ours - {"appkey"}}

    def test_support_skips_and_limits_and_replays(self) -> None:
        more = may(member(roles.SUPPORT)[0]) - may(member(roles.VIEWER, "ada")[0])
        assert more == {
            "notify.add_skiprule",
            "notify.add_linklimit",
            "notify.delete_deadletter",
            "notify.replay_deadletter",
            "notify.replay_skipped",
        }

    def test_an_admin_deletes_no_user_and_no_app(self) -> None:
        names = may(member(roles.ADMIN)[0])
        assert {"notify.change_app", "notify.add_appkey", "auth.change_user"} <= names
        assert "admin.view_logentry" in names
        assert not {"auth.delete_user", "notify.delete_app", "admin.delete_logentry"} & names

    def test_a_migration_gives_back_what_lacks_and_keeps_what_was_added(self) -> None:
        support = Group.objects.get(name=roles.SUPPORT)
        before = set(support.permissions.all())
        support.permissions.remove(Permission.objects.get(codename="add_skiprule"))
        added = Permission.objects.get(codename="change_app")
        support.permissions.add(added)
        Group.objects.get(name=roles.VIEWER).delete()
        migrated()
        assert set(support.permissions.all()) == before | {added}
        assert Group.objects.get(name=roles.VIEWER).permissions.exists()
        assert Group.objects.count() == 3

    def test_permissions_that_are_not_there_are_no_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(roles, "_SUPPORT", (*roles._SUPPORT, "notify.fly", "nowhere.land"))
        before = may(member(roles.SUPPORT)[0])
        migrated()
        assert may(User.objects.get()) == before

    def test_without_groups_nothing_is_made(self) -> None:
        class NoGroups:
            def get_model(self, *names: str) -> Any:
                raise LookupError

        Group.objects.all().delete()
        sender = apps.get_app_config("notify")
        roles.ship(sender, using="default", apps=NoGroups())
        assert not Group.objects.exists()


class TestUsers:
    def form(self, user: User, **fields: Any) -> dict[str, Any]:
        filled = {"username": user.username, "is_active": "on", "is_staff": "on"}
        groups = [group.pk for group in user.groups.all()]
        return {**filled, "groups": groups, "reason": "a ticket", **fields}

    def test_an_admin_adds_a_user_by_the_form_that_is_shown(self) -> None:
        """N1: what the page asks for is all that it takes, and the row has the name."""
        _, client = member(roles.ADMIN)
        page = client.get(f"{USERS}add/")
        filled = {
            "username": "ada",
            "password1": "quite new 7",
            "password2": "quite new 7",
            "usable_password": "true",
            "reason": "she joins the team",
        }
        assert set(page.context["adminform"].fields) == set(filled)
        shown = {
            name for each in page.context["adminform"] for line in each for name in line.fields
        }
        assert shown == set(filled)
        answer = client.post(f"{USERS}add/", filled)
        user = User.objects.get(username="ada")
        assert answer["Location"] == f"{USERS}{user.pk}/change/"
        assert user.check_password("quite new 7")

    def test_a_user_without_a_name_is_not_made_and_the_form_says_which_field(self) -> None:
        _, client = member(roles.ADMIN)
        answer = client.post(f"{USERS}add/", {"password1": "quite new 7", "reason": "x"})
        assert {"username", "password2"} <= set(answer.context["adminform"].form.errors)
        assert "This field is required." in answer.text
        assert not User.objects.filter(username="").exists()

    @pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model.__name__)
    def test_each_form_shows_every_field_that_it_asks_for_once(
        self, model: type[Model], admin_client: Client
    ) -> None:
        """N1's kind: an error of a field that is not shown is not seen either, and of a field that is
        shown twice the second, empty one counts."""
        label = model._meta
        answer = admin_client.get(f"/admin/{label.app_label}/{label.model_name}/add/")
        if answer.status_code == 403:  # rows that nobody adds
            return
        form = answer.context["adminform"]
        shown = Counter(name for each in form for line in each for name in line.fields)
        asked = {name for name, field in form.form.fields.items() if field.required}
        assert asked <= set(shown)
        assert set(shown.values()) == {1}

    def test_a_group_is_changed_by_the_form_that_is_shown(self) -> None:
        _, client = member(roles.ADMIN)
        group = Group.objects.get(name=roles.VIEWER)
        page = f"/admin/auth/group/{group.pk}/change/"
        form = client.get(page).context["adminform"]
        shown = Counter(name for each in form for line in each for name in line.fields)
        assert shown == Counter(["name", "permissions", "reason"])

    def test_an_admin_gives_roles(self) -> None:
        _, client = member(roles.ADMIN)
        other = User.objects.create_user("ada", password="x", is_staff=True)
        role = Group.objects.get(name=roles.SUPPORT)
        page = f"{USERS}{other.pk}/change/"
        assert client.post(page, self.form(other, groups=[role.pk])).status_code == 302
        assert list(other.groups.all()) == [role]
        assert "support" in client.get(USERS).text

    def test_an_admin_makes_no_superuser_and_reaches_none(self) -> None:
        user, client = member(roles.ADMIN)
        client.post(f"{USERS}{user.pk}/change/", self.form(user, is_superuser="on"))
        assert not User.objects.get(pk=user.pk).is_superuser
        root = User.objects.create_superuser("root", "", "x")
        before = root.password
        assert client.get(f"{USERS}{root.pk}/change/").status_code == 200
        assert client.post(f"{USERS}{root.pk}/change/", self.form(root)).status_code == 403
        new = {"password1": "quite new 7", "password2": "quite new 7", "reason": "x"}
        assert client.post(f"{USERS}{root.pk}/password/", new).status_code == 403
        assert User.objects.get(pk=root.pk).password == before

    def test_a_superuser_makes_another(self, admin_client: Client) -> None:
        other = User.objects.create_user("ada", password="x", is_staff=True)
        form = self.form(other, is_superuser="on")
        assert admin_client.post(f"{USERS}{other.pk}/change/", form).status_code == 302
        assert User.objects.get(pk=other.pk).is_superuser

    def test_nobody_deletes_one(self, admin_client: Client) -> None:
        other = User.objects.create_user("ada", password="x")
        url = f"{USERS}{other.pk}/delete/"
        assert admin_client.post(url, {"post": "yes", "reason": "x"}).status_code == 403
        admin_client.post(USERS, {"action": "delete_selected", "_selected_action": other.pk})
        assert User.objects.filter(pk=other.pk).exists()

    @pytest.mark.parametrize("role", [roles.VIEWER, roles.SUPPORT])
    def test_other_roles_see_no_people(self, role: str) -> None:
        _, client = member(role)
        for path in ("auth/user/", "auth/group/", "admin/logentry/"):
            assert client.get(f"/admin/{path}").status_code == 403

    def test_the_list_costs_no_query_a_row(
        self, admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for n in range(20):
            member(roles.VIEWER, f"user{n}")
        with django_assert_max_num_queries(10):
            assert admin_client.get(USERS).text.count("viewer") >= 20


class TestSidebar:
    def shown(self, user: Any) -> dict[str, list[str]]:
        request = RequestFactory().get("/admin/")
        request.user = user
        groups = admin_theme.navigation(request)
        return {group["title"]: [item["title"] for item in group["items"]] for group in groups}

    def test_a_page_that_is_shown_opens_and_others_do_not(self) -> None:
        for role in (roles.VIEWER, roles.SUPPORT, roles.ADMIN):
            user, client = member(role, role)
            request = RequestFactory().get("/admin/")
            request.user = user
            shown = {
                item["link"] for group in admin_theme.navigation(request) for item in group["items"]
            }
            for _, items in admin_theme._GROUPS:
                for item in items:
                    link = item.link()
                    if link:
                        opens = client.get(link).status_code == 200
                        assert opens is (link in shown), (role, link)

    def test_who_may_nothing_sees_the_overview_alone(self) -> None:
        assert self.shown(User.objects.create_user("x", is_staff=True)) == {"Now": ["Overview"]}

    def test_groups(self) -> None:
        shown = self.shown(User.objects.create_superuser("root"))
        assert list(shown) == ["Now", "Policy", "Dropped", "Customers", "People"]
        assert shown["Policy"] == ["Skip rules", "Link limits"]
        assert shown["People"] == ["Users", "Groups", "Audit trail"]

    def test_flower_is_linked_where_it_is_set(self, settings: Settings) -> None:
        root = User.objects.create_superuser("root")
        assert "Flower" not in self.shown(root)["Now"]
        settings.NOTIFY_FLOWER_URL = "https://flower.example.com/"
        assert self.shown(root)["Now"][-1] == "Flower"
        assert "Flower" not in self.shown(User.objects.create_user("x", is_staff=True))["Now"]

    @pytest.mark.parametrize("url", ["", "/flower/", "http://x:5555", "https://flower.example.com"])
    def test_links_that_are_taken(self, url: str) -> None:
        assert admin_theme.checked_link("NOTIFY_FLOWER_URL", url) == url

    @pytest.mark.parametrize("url", ["flower.example.com", "javascript:alert(1)"])
    def test_links_that_are_not(self, url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="NOTIFY_FLOWER_URL must begin with"):
            admin_theme.checked_link("NOTIFY_FLOWER_URL", url)


def test_ours_come_before_unfolds_and_djangos() -> None:
    order = django_settings.INSTALLED_APPS
    places = [
        order.index(name) for name in ("notify.apps.NotifyConfig", "unfold", "django.contrib.admin")
    ]
    assert places == sorted(places)
    assert reverse("admin:search")  # Unfold's site has it, Django's has not
