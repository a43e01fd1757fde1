"""Skip rules and link limits in the admin: versions are added, and stay."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from ingest.ledger import PostgresLedger
from notify.models import App, LinkLimit, SkipCount, SkipRule
from tests.staff import staff

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http")]
RULES = "/admin/notify/skiprule/"
LIMITS = "/admin/notify/linklimit/"
RECORD = uuid.UUID(int=7)


@pytest.fixture
def app() -> App:
    return App.objects.create(name="Closely")


def rule(app: App, record: uuid.UUID = RECORD, **fields: Any) -> SkipRule:
    made = SkipRule(app=app, record=record, **({"reason": "why", "author": "ada"} | fields))
    made.save()
    return made


def limit(app: App | None, children: int | None, **fields: Any) -> LinkLimit:
    made = LinkLimit(
        app=app, children=children, **({"label": "email", "reason": "w", "author": "ada"} | fields)
    )
    made.save()
    return made


def skip(client: Client, **fields: str) -> Any:
    filled = {
        "app": "Closely",
        "record": str(RECORD),
        "scope": "all",
        "active": "on",
        "reason": "why",
    }
    return client.post(f"{RULES}add/", filled | fields)


class TestSkipRules:
    @pytest.mark.parametrize("by", ["name", "id"])
    def test_who_may_only_add_can_skip(self, app: App, by: str) -> None:
        client = staff("add_skiprule")
        assert client.get(f"{RULES}add/").status_code == 200
        assert skip(client, app=str(getattr(app, by))).status_code == 302
        made = SkipRule.objects.get()
        assert (made.app, made.record, made.active, made.author) == (app, RECORD, True, "grace")
        assert client.get(RULES).status_code == 403
        assert client.get(f"{RULES}{made.version}/change/").status_code == 403

    def test_who_may_only_view_cannot(self, app: App) -> None:
        made = rule(app)
        client = staff("view_skiprule")
        assert client.get(RULES).status_code == 200
        text = client.get(f"{RULES}{made.version}/change/").text
        assert "Lift" not in text
        assert "_save" not in text
        assert skip(client).status_code == 403
        assert client.post(f"{RULES}{made.version}/change/", {"reason": "x"}).status_code == 403
        assert client.post(f"{RULES}{made.version}/delete/", {"post": "yes"}).status_code == 403
        assert SkipRule.objects.count() == 1

    def test_not_even_an_admin_edits_a_version(self, app: App, admin_client: Client) -> None:
        made = rule(app)
        change = f"{RULES}{made.version}/change/"
        assert admin_client.post(change, {"reason": "x"}).status_code == 403
        assert (
            admin_client.post(f"{RULES}{made.version}/delete/", {"post": "yes"}).status_code == 403
        )
        made.refresh_from_db()
        assert made.reason == "why"

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"reason": ""}, "This field is required"),
            ({"reason": "  "}, "This field is required"),
            ({"app": "nobody"}, "There is no app with this name or UUID"),
            ({"app": str(uuid.uuid4())}, "There is no app with this name or UUID"),
            ({"app": ""}, "This field is required"),
            ({"record": "x"}, "Enter a valid UUID"),
            ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "in the past"),
        ],
    )
    def test_a_wrong_form_adds_nothing(
        self, app: App, admin_client: Client, fields: dict[str, str], said: str
    ) -> None:
        assert said in skip(admin_client, **fields).content.decode()
        assert not SkipRule.objects.exists()

    def test_lift_is_a_version_with_a_reason_of_its_own(
        self, app: App, admin_client: Client
    ) -> None:
        made = rule(app, scope="mirrored")
        shown = admin_client.get(f"{RULES}{made.version}/change/")
        buttons = dict(shown.context["new_versions"])
        assert set(buttons) == {"Change", "Lift"}
        filled = admin_client.get(buttons["Lift"]).context["adminform"].form
        assert filled.initial["record"] == str(RECORD)
        assert filled["app"].value() == "Closely"
        assert 'name="active"' in str(filled["active"])
        assert " checked" not in str(filled["active"]).replace(" checked:", " ")
        skip(admin_client, active="", reason="fixed by the customer")
        lifted = SkipRule.objects.get(version__gt=made.version)
        assert (lifted.rule, lifted.active, lifted.author) == (made.rule, False, "admin")
        assert dict(
            admin_client.get(f"{RULES}{lifted.version}/change/").context["new_versions"]
        ).keys() == {"Skip again"}
        text = admin_client.get(f"{RULES}{made.version}/change/").text
        for said in ("replaced", "fixed by the customer", "lifted", "skips mirrored updates only"):
            assert said in text

    def test_the_list_shows_what_is_in_force(self, app: App, admin_client: Client) -> None:
        now = timezone.now()
        records = {
            "in force": rule(app, uuid.UUID(int=1), expires_at=now + timedelta(days=1)).record,
            "expired": rule(app, uuid.UUID(int=2), expires_at=now - timedelta(days=1)).record,
            "lifted": uuid.UUID(int=3),
        }
        rule(app, records["lifted"])
        rule(app, records["lifted"], active=False)
        rule(app, records["in force"], reason="newest")
        for state, query in (
            ("in force", {}),
            ("expired", {"state": "expired"}),
            ("lifted", {"state": "lifted"}),
        ):
            shown = admin_client.get(RULES, query).context["cl"].result_list
            assert [row.record for row in shown] == [records[state]]
        assert "newest" in admin_client.get(RULES).text
        assert len(admin_client.get(RULES, {"state": "all"}).context["cl"].result_list) == 5

    def test_hits_of_all_streams_are_one_number(self, app: App, admin_client: Client) -> None:
        made = rule(app)
        rule(app, reason="changed")
        at = timezone.now() - timedelta(hours=3)
        for stream, hits in ((1, 4_000), (2, 500)):
            SkipCount.objects.create(
                stream=stream, rule=made.rule, hits=hits, last_at=at + timedelta(hours=stream)
            )
        row = admin_client.get(RULES).context["cl"].result_list[0]
        assert (row.hits, row.last_hit) == (4_500, at + timedelta(hours=2))
        assert "4,500" in admin_client.get(RULES).text

    def test_search_filter_and_cost(
        self,
        app: App,
        admin_client: Client,
        django_assert_max_num_queries: DjangoAssertNumQueries,
    ) -> None:
        other = App.objects.create(name="Acme")
        for n in range(30):
            rule(app if n % 2 else other, uuid.UUID(int=n + 1))
        with django_assert_max_num_queries(9):
            assert len(admin_client.get(RULES).context["cl"].result_list) == 30
        for query, found in (
            ({"q": str(uuid.UUID(int=5))}, 1),
            ({"q": "acm"}, 15),
            ({"q": str(app.id)}, 15),
            ({"q": "nothing"}, 0),
            ({"app__id__exact": str(app.id)}, 15),
        ):
            assert len(admin_client.get(RULES, query).context["cl"].result_list) == found

    @pytest.mark.django_db(transaction=True)
    def test_the_bridge_reads_what_was_added(self, app: App, admin_client: Client) -> None:
        ledger = PostgresLedger()
        try:
            for active, skips in (("on", 1), ("", 0)):
                skip(admin_client, active=active)
                with ledger.tick([]) as tick:
                    assert len(tick.policy().skips) == skips
        finally:
            ledger.close()


class TestLinkLimits:
    def test_a_new_limit_is_a_version(self, app: App, admin_client: Client) -> None:
        fields = {"app": "Closely", "label": "email", "children": "5", "reason": "incident"}
        assert admin_client.post(f"{LIMITS}add/", fields).status_code == 302
        made = LinkLimit.objects.get()
        assert (made.app, made.children, made.author) == (app, 5, "admin")
        buttons = admin_client.get(f"{LIMITS}{made.version}/change/").context["new_versions"]
        ((label, url),) = buttons
        assert label == "Change"
        assert admin_client.get(url).context["adminform"].form["children"].value() == "5"
        admin_client.post(f"{LIMITS}add/", fields | {"children": "9", "reason": "they asked"})
        assert list(LinkLimit.objects.values_list("children", flat=True)) == [9, 5]
        text = admin_client.get(f"{LIMITS}{made.version}/change/").text
        for said in ("they asked", "9 children", "incident", "replaced"):
            assert said in text

    def test_the_default_has_no_app(self, admin_client: Client) -> None:
        fields = {"app": "", "label": "email", "children": "200", "reason": "families"}
        assert admin_client.post(f"{LIMITS}add/", fields).status_code == 302
        assert LinkLimit.objects.get().app is None
        assert "all apps without their own" in admin_client.get(LIMITS).text

    def test_the_list_shows_what_is_in_force(self, app: App, admin_client: Client) -> None:
        past = timezone.now() - timedelta(days=1)
        limit(None, 100)
        default = limit(None, 200)
        limit(app, 5)
        own = limit(app, 6)
        limit(app, 7, label="sms")
        lifted = limit(app, None, label="sms")
        expired = limit(None, 3, label="user", expires_at=past)
        for query, found in (
            ({}, {default, own}),
            ({"state": "lifted"}, {lifted}),
            ({"state": "expired"}, {expired}),
            ({"q": "close"}, {own}),
            ({"label__exact": "sms"}, set()),
        ):
            assert set(admin_client.get(LIMITS, query).context["cl"].result_list) == found

    def test_who_may_only_view_cannot_change(self, app: App) -> None:
        made = limit(app, 5)
        client = staff("view_linklimit")
        change = f"{LIMITS}{made.version}/change/"
        assert "new_versions" not in client.get(change).context
        assert client.post(change, {"children": "9"}).status_code == 403
        fields = {"app": "Closely", "label": "email", "children": "9", "reason": "x"}
        assert client.post(f"{LIMITS}add/", fields).status_code == 403
        assert LinkLimit.objects.count() == 1

    def test_cost(
        self, admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for n in range(30):
            limit(App.objects.create(name=f"app {n}"), n)
        with django_assert_max_num_queries(8):
            assert len(admin_client.get(LIMITS).context["cl"].result_list) == 30
