"""Hot records and their cures: who may, what a preview says, which version is made."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ingest.ledger import PostgresLedger
from notify.models import App, Hot, LinkLimit, Parent, PolicyHead, SkipCount, SkipRule, StreamSample
from tests.sampled_incident import RECORD, Incident, flood, hot, incident, linked, now
from tests.staff import staff

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http", "patient")]
HOT = "/admin/notify/hot/"
#: All windows cover it, and it began more than ten seconds ago.
AGO_S = 20


@pytest.fixture
def made() -> Incident:
    return incident()


def skip_path(app: App, record: uuid.UUID = RECORD) -> str:
    return f"/admin/hot/skip/{app.id}/{record}/"


def limit_path(app: App, label: str = "email") -> str:
    return f"/admin/hot/limit/{app.id}/{label}/"


def row_of(answer: Any, record: uuid.UUID = RECORD) -> Any:
    return next(row for row in answer.context["rows"] if row.hot.record == record)


class TestList:
    def test_a_record_with_its_shares_lane_links_and_state(self, made: Incident) -> None:
        answer = staff("view_hot").get(HOT)
        row = row_of(answer)
        assert (row.name, row.hot.direct, row.hot.mirrored) == ("Closely", 30, 830)
        assert (row.hot.share, row.direct_share, row.mirrored_share) == pytest.approx(
            (0.86, 0.03, 0.83)
        )
        assert [(each.label, each.n, each.limit) for each in row.children] == [
            ("email", 41_200, 100)
        ]
        assert row.over == ["email"]
        partition, lane = row.lane.split(" / ")
        assert int(partition) in (0, 1)
        assert 0 <= int(lane) < 16
        for text in ("41,200 by email", "over limit by email", str(RECORD)):
            assert text in answer.text

    def test_by_all_their_updates_and_no_more_than_the_top(self, made: Incident) -> None:
        for n in range(40):
            hot(made.app, uuid.UUID(int=n + 1), direct=n)
        rows = staff("view_hot").get(HOT).context["rows"]
        assert len(rows) == 20
        updates = [row.hot.updates for row in rows]
        assert updates == sorted(updates, reverse=True)
        assert rows[0].hot.record == RECORD

    @pytest.mark.parametrize(
        ("span", "found"), [("1min", 1), ("10min", 2), ("1h", 3), ("nonsense", 1), ("", 1)]
    )
    def test_windows(self, span: str, found: int, made: Incident) -> None:
        hot(made.app, uuid.uuid4(), direct=9, ago_s=200)
        hot(made.app, uuid.uuid4(), direct=9, ago_s=2_000)
        answer = staff("view_hot").get(HOT, {"span": span, "app": "x"})
        assert len(answer.context["rows"]) == found
        assert "?span=10min&amp;app=x" in answer.text

    def test_an_own_limit_counts_and_one_that_is_over_does_not(self, made: Incident) -> None:
        client = staff("view_hot")

        def set_to(children: int | None, app: App | None = made.app, **fields: Any) -> Any:
            LinkLimit(
                app=app, label="email", children=children, reason="w", author="a", **fields
            ).save()
            row = row_of(client.get(HOT))
            return row.children[0].limit, row.over

        assert set_to(500, app=None) == (500, ["email"])
        assert set_to(50_000) == (50_000, [])
        assert set_to(7, expires_at=timezone.now() - timedelta(1)) == (500, ["email"])
        assert set_to(None) == (500, ["email"])

    def test_the_record_of_the_address_is_marked_and_shown(self, made: Incident) -> None:
        other = uuid.uuid4()
        hot(made.app, other, direct=9)
        client = staff("view_hot")
        answer = client.get(HOT, {"app": str(made.app.id), "record": str(other)})
        assert [row.is_chosen for row in answer.context["rows"]] == [False, True]
        assert answer.context["chosen"].minute == (9, 0)
        nowhere = client.get(HOT, {"app": str(uuid.uuid4()), "record": str(uuid.uuid4())})
        assert nowhere.context["chosen"].name is None
        assert client.get(HOT, {"app": "x", "record": "y"}).context["chosen"] is None

    def test_a_flood_is_the_apps_and_leads_to_its_limit(self, made: Incident) -> None:
        Hot.objects.all().delete()
        answer = staff("view_hot", "change_app").get(HOT)
        (culprit,) = answer.context["culprits"]
        assert "come from Closely, over many records" in culprit["finding"].text
        assert "Limit its requests…" in answer.text
        assert f"/admin/notify/app/{made.app.id}/change/" in answer.text

    def test_buttons_are_for_those_who_may(self, made: Incident) -> None:
        def shown(*permissions: str) -> tuple[bool, bool]:
            User.objects.filter(username="grace").delete()
            text = staff("view_hot", *permissions).get(HOT).text
            return "Skip…" in text, "Set limit…" in text

        assert shown() == (False, False)
        assert shown("add_skiprule") == (True, False)
        assert shown("add_linklimit") == (False, True)

    def test_an_app_that_is_not_ours_has_no_buttons(self, made: Incident) -> None:
        Hot.objects.update(app=uuid.uuid4())
        answer = staff("view_hot", "add_skiprule", "add_linklimit").get(HOT)
        assert str(RECORD) in answer.text
        assert "Skip…" not in answer.text

    def test_who_may_not_view_it(self, made: Incident) -> None:
        assert staff("add_skiprule").get(HOT).status_code == 403

    def test_as_many_queries_for_ten_records_as_for_a_thousand(self, made: Incident) -> None:
        client = staff("view_hot", "view_app", "change_app", "add_skiprule", "add_linklimit")
        asked = {"app": str(made.app.id), "record": str(RECORD)}
        counts = []
        for n in (10, 1_000):
            for _ in range(n):
                app, record = App.objects.create(name=str(uuid.uuid4())), uuid.uuid4()
                hot(app, record, direct=5)
                linked(app, record, "email", 20)
                flood(app, 3)
            with CaptureQueriesContext(connection) as captured:
                client.get(HOT, asked)
            counts.append(len(captured))
        assert counts[0] == counts[1] <= 44


class TestSkip:
    def test_the_preview_is_of_the_last_minute(self, made: Incident) -> None:
        hot(made.app, RECORD, direct=1_000, ago_s=AGO_S)
        hot(made.app, RECORD, direct=5_000_000, ago_s=300)
        hot(App.objects.create(name="Acme"), RECORD, direct=7_000_000)
        text = staff("add_skiprule").get(skip_path(made.app)).text
        assert (
            "In the last minute this would have dropped 1,030 own and 830 mirrored updates." in text
        )
        assert (
            "this would have dropped 830 mirrored updates; 1,030 own updates would have been"
            in text
        )
        assert "The skipped updates are not applied." in text

    @pytest.mark.parametrize(
        ("hours", "delta"), [("1", 3_600), ("24", 86_400), ("168", 604_800), ("0", None)]
    )
    @pytest.mark.parametrize("scope", ["all", "mirrored"])
    def test_it_makes_a_version(
        self, scope: str, hours: str, delta: int | None, made: Incident
    ) -> None:
        client = staff("add_skiprule", "view_hot")
        answer = client.post(
            skip_path(made.app),
            {"scope": scope, "hours": hours, "reason": "it is hot"},
            follow=True,
        )
        rule = SkipRule.objects.get()
        assert (rule.app, rule.record, rule.scope, rule.active) == (made.app, RECORD, scope, True)
        assert (rule.author, rule.reason) == ("grace", "it is hot")
        if delta is None:
            assert rule.expires_at is None
        else:
            assert rule.expires_at is not None
            assert abs((rule.expires_at - rule.at).total_seconds() - delta) < 60
        assert PolicyHead.objects.get().version == rule.version
        entry = LogEntry.objects.get()
        assert (entry.action_flag, entry.object_id) == (ADDITION, str(rule.pk))
        assert answer.redirect_chain == [(f"{HOT}?app={made.app.id}&record={RECORD}", 302)]
        assert "The record is skipped. Writes to it stop within seconds." in answer.text
        assert row_of(answer).hot.skipped == scope

    def test_the_page_then_says_who_skipped_it_and_what_it_dropped(self, made: Incident) -> None:
        rule = SkipRule(app=made.app, record=RECORD, reason="hot", author="ada")
        rule.save()
        for stream in (1, 2):
            SkipCount.objects.create(
                stream=stream, rule=rule.rule, hits=1_500, last_at=timezone.now()
            )
        client = staff("view_hot", "add_skiprule", "add_linklimit", "view_skiprule")
        answer = client.get(HOT, {"app": str(made.app.id), "record": str(RECORD)})
        assert "3,000 updates" in answer.text
        assert "by ada" in answer.text
        assert "Skip…" not in answer.text
        assert f"/admin/notify/skiprule/{rule.pk}/change/" in answer.text
        assert "A rule skips all its updates already" in client.get(skip_path(made.app)).text
        SkipRule(app=made.app, record=RECORD, reason="r", author="ada", active=False).save()
        answer = client.get(HOT, {"app": str(made.app.id), "record": str(RECORD)})
        assert answer.context["chosen"].rule is None

    @pytest.mark.parametrize("wrong", [{"reason": " "}, {"scope": "none"}, {"hours": "5"}])
    def test_what_is_wrong_is_said_and_nothing_is_made(
        self, wrong: dict[str, str], made: Incident
    ) -> None:
        sent = {"scope": "all", "hours": "24", "reason": "it is hot"} | wrong
        answer = staff("add_skiprule").post(skip_path(made.app), sent)
        assert answer.status_code == 200
        assert "errorlist" in answer.text
        assert not SkipRule.objects.exists()
        assert not LogEntry.objects.exists()

    def test_one_permission_is_enough_and_another_is_not(self, made: Incident) -> None:
        client = staff("add_skiprule")
        sent = {"scope": "all", "hours": "24", "reason": "hot"}
        assert client.post(skip_path(made.app), sent)["Location"] == "/admin/"
        User.objects.all().delete()
        client = staff("view_hot", "view_skiprule", "add_linklimit")
        assert client.get(skip_path(made.app)).status_code == 403
        assert client.post(skip_path(made.app), sent).status_code == 403
        assert SkipRule.objects.count() == 1

    def test_an_app_that_is_not_ours(self, made: Incident) -> None:
        path = f"/admin/hot/skip/{uuid.uuid4()}/{RECORD}/"
        assert staff("add_skiprule").get(path).status_code == 404


class TestLimit:
    def test_the_preview_counts_parents_and_what_is_mirrored_to_them(self, made: Incident) -> None:
        second, small = uuid.uuid4(), uuid.uuid4()
        linked(made.app, second, "email", 150)
        hot(made.app, second, mirrored=70, direct=9)
        linked(made.app, small, "email", 90)
        hot(made.app, small, mirrored=5)
        linked(made.app, uuid.uuid4(), "sms", 900)
        linked(App.objects.create(name="Acme"), uuid.uuid4(), "email", 900)
        left = uuid.uuid4()
        Parent.objects.create(app=made.app.id, id=left, gen=3)
        linked(made.app, left, "email", 700, gen=2)
        client = staff("add_linklimit")
        answer = client.get(limit_path(made.app))
        assert answer.context["children"] == 100
        assert answer.context["preview"] == (2, 900)
        answer = client.post(
            limit_path(made.app), {"children": "80", "preview": "1", "hours": "24"}
        )
        assert answer.context["preview"] == (3, 905)
        assert "errorlist" not in answer.text
        assert not LinkLimit.objects.exists()

    @pytest.mark.parametrize(("label", "suggested"), [("sms", 100), ("merged", 1_000)])
    def test_it_suggests_the_default(self, label: str, suggested: int, made: Incident) -> None:
        answer = staff("add_linklimit").get(limit_path(made.app, label))
        assert answer.context["children"] == suggested
        assert answer.context["preview"] == (0, 0)

    def test_it_opens_with_the_limit_in_force(self, made: Incident) -> None:
        LinkLimit(app=made.app, label="email", children=50_000, reason="r", author="a").save()
        answer = staff("add_linklimit").get(limit_path(made.app))
        assert answer.context["children"] == 50_000
        assert 'value="50000"' in answer.text

    @pytest.mark.parametrize(
        ("label", "children", "said"),
        [
            ("email", 100, "and 5 more can be added. To stop mirroring to it, choose fewer than 95."),
            ("email", 95, "can be linked to it. Mirroring to it continues: choose fewer than 95"),
            ("email", 94, "and their updates are no longer mirrored to it. The 95 links stay."),
            ("user", 94, "no more records can be linked to it. The 95 links stay."),
            ("user", 95, "no more records can be linked to it. Choose more to allow new links."),
            ("user", 96, "its links are not affected, and 1 more can be added.</p>"),
        ],
    )  # fmt: skip
    def test_it_says_how_many_are_linked_and_what_a_choice_means(
        self, label: str, children: int, said: str, made: Incident
    ) -> None:
        record = uuid.uuid4()
        linked(made.app, record, "alias", 7)
        linked(made.app, record, label, 95)
        linked(made.app, record, "sms", 8)
        sent = {"children": str(children), "preview": "1", "hours": "24"}
        path = f"{limit_path(made.app, label)}?record={record}"
        answer = staff("add_linklimit").post(path, sent)
        assert f'95 are now linked to <code class="n-id">{record}</code>.' in answer.text
        assert said in answer.text

    def test_without_a_record_it_says_which_has_most(self, made: Incident) -> None:
        linked(made.app, uuid.uuid4(), "email", 95)
        client = staff("add_linklimit")
        answer = client.get(limit_path(made.app))
        assert answer.context["linked"] == (RECORD, 41_200)
        assert "which has the most links in this app" in answer.text
        assert client.get(limit_path(made.app, "sms")).context["linked"] is None
        answer = client.get(f"{limit_path(made.app)}?record={uuid.uuid4()}")
        assert answer.context["linked"].n == 0
        assert "which has the most links in this app" not in answer.text

    def test_it_makes_a_version(self, made: Incident) -> None:
        client = staff("add_linklimit", "view_hot")
        answer = client.post(
            f"{limit_path(made.app)}?record={RECORD}",
            {"children": "5", "hours": "24", "reason": "it is hot"},
            follow=True,
        )
        version = LinkLimit.objects.get()
        assert (version.app, version.label, version.children) == (made.app, "email", 5)
        assert (version.author, version.reason) == ("grace", "it is hot")
        assert LogEntry.objects.get().object_id == str(version.pk)
        assert answer.redirect_chain == [(f"{HOT}?app={made.app.id}&record={RECORD}", 302)]
        assert "The limit by email is now 5." in answer.text
        assert row_of(answer).children[0].limit == 5

    @pytest.mark.parametrize(
        "wrong", [{"children": "-1"}, {"children": "x"}, {"children": ""}, {"reason": ""}]
    )
    @pytest.mark.parametrize("extra", [{}, {"preview": "1"}])
    def test_what_is_wrong_is_said(
        self, wrong: dict[str, str], extra: dict[str, str], made: Incident
    ) -> None:
        sent = {"children": "5", "hours": "24", "reason": "hot"} | wrong | extra
        answer = staff("add_linklimit").post(limit_path(made.app), sent)
        assert answer.status_code == 200
        assert ("errorlist" in answer.text) is ("children" in wrong or not extra)
        assert not LinkLimit.objects.exists()

    def test_who_may_not_and_what_there_is_not(self, made: Incident) -> None:
        client = staff("view_hot", "view_linklimit", "add_skiprule")
        assert client.get(limit_path(made.app)).status_code == 403
        User.objects.all().delete()
        client = staff("add_linklimit")
        assert client.get(limit_path(made.app, "phone")).status_code == 404
        assert client.get(f"/admin/hot/limit/{uuid.uuid4()}/email/").status_code == 404


def test_what_bridges_told_long_ago_is_said_to_be_old(made: Incident) -> None:
    client = staff("view_hot")
    assert "so the numbers below are old" not in client.get(HOT).text
    StreamSample.objects.update(at=now() - timedelta(seconds=40))
    assert "No bridge has sent samples for 4" in client.get(HOT).text
    StreamSample.objects.all().delete()
    assert "No bridge has sent samples in the last hour" in client.get(HOT).text


@pytest.mark.django_db(transaction=True)
def test_the_bridge_reads_both_cures(made: Incident) -> None:
    client = staff("add_skiprule", "add_linklimit")
    client.post(skip_path(made.app), {"scope": "mirrored", "hours": "1", "reason": "hot"})
    client.post(limit_path(made.app), {"children": "5", "hours": "0", "reason": "hot"})
    ledger = PostgresLedger()
    try:
        with ledger.tick([]) as tick:
            policy = tick.policy()
    finally:
        ledger.close()
    assert policy.skips[str(made.app.id), str(RECORD)].scope == "mirrored"
    assert policy.limit(str(made.app.id), "email") == 5
