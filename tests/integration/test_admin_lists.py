"""Skipped updates and dead letters in the admin: read only, bounded, searchable."""

import json
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import Model, UniqueConstraint
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from notify.admin import dropped_groups, listing
from notify.admin.masking import masked
from notify.domain.records.aliases import ALIAS_TAKEN
from notify.domain.records.decide import LINK_REFUSED, MALFORMED, MISROUTED, SKIPPED
from notify.domain.records.patch import ADD, REMOVE, SET, Patch
from notify.domain.records.update import Update, encode
from notify.models import App, DeadLetter, Skipped, Stream
from tests.sampled_incident import linked
from tests.staff import staff

pytestmark = pytest.mark.usefixtures("plain_http")

LISTS = {
    Skipped: "/admin/notify/skipped/",
    DeadLetter: "/admin/notify/deadletter/",
}
RECORDS = [uuid.UUID(int=n + 1) for n in range(30)]


@pytest.fixture
def apps() -> list[App]:
    return [App.objects.create(name=name) for name in ("Closely", "Acme")]


@pytest.fixture
def stream() -> Stream:
    return Stream.objects.create(
        topic_id=uuid.uuid4(), partition=3, lanes=4, lanes_wanted=4, planned=0, frontier=0
    )


def fill(model: type[Model], apps: list[App], stream: Stream) -> None:
    """A row of each of the 30 records, of one app and the other in turn, one each minute back."""
    now = timezone.now()
    for n, record in enumerate(RECORDS):
        at = now - timedelta(minutes=n)
        fields: dict[str, Any] = {"stream": stream.pk, "app": apps[n % 2].id, "record": record}
        if model is Skipped:
            reason = LINK_REFUSED if n % 3 else SKIPPED
            fields |= {"reason": reason, "first": n, "last": n, "n": 1, "at": at}
        else:
            kinds = (f"{MALFORMED}: x", f"{MISROUTED}: x", "22003: out of range")
            fields |= {"offset": n, "error": kinds[n % 3], "message": b"{}", "at": at}
        model.objects.create(**fields)  # type: ignore[attr-defined]


def rows(client: Client, url: str, **query: str) -> list[Any]:
    answer = client.get(url, query)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


@pytest.mark.django_db
@pytest.mark.parametrize("model", LISTS)
class TestAll:
    def test_nobody_edits_them(
        self, model: type[Model], apps: list[App], stream: Stream, admin_client: Client
    ) -> None:
        fill(model, apps, stream)
        url = LISTS[model]
        row = model.objects.first()  # type: ignore[attr-defined]
        for path in ("add/", f"{row.pk}/delete/"):
            assert admin_client.post(url + path, {"post": "yes"}).status_code == 403
        assert admin_client.post(f"{url}{row.pk}/change/", {"n": "9"}).status_code == 403
        assert "_save" not in admin_client.get(f"{url}{row.pk}/change/").text
        assert model.objects.count() == 30  # type: ignore[attr-defined]

    def test_only_who_may_view_sees_them(self, model: type[Model]) -> None:
        user = User.objects.create_user("staff", password="x", is_staff=True)
        client = Client()
        client.force_login(user)
        assert client.get(LISTS[model]).status_code == 403
        name = f"view_{model._meta.model_name}"
        user.user_permissions.add(Permission.objects.get(codename=name))
        assert client.get(LISTS[model]).status_code == 200

    def test_cost_does_not_grow_with_rows(
        self,
        model: type[Model],
        apps: list[App],
        stream: Stream,
        admin_client: Client,
        django_assert_max_num_queries: DjangoAssertNumQueries,
    ) -> None:
        fill(model, apps, stream)
        # Skipped updates have groups with limits, the records and the replays above them.
        with django_assert_max_num_queries(17 if model is Skipped else 8) as captured:
            assert len(rows(admin_client, LISTS[model])) == 30
        table = model._meta.db_table
        counted = [query["sql"] for query in captured if "COUNT(" in query["sql"]]
        assert all("LIMIT 1000" in sql for sql in counted if table in sql)

    def test_no_more_than_the_newest_rows_are_paged_through(
        self,
        model: type[Model],
        apps: list[App],
        stream: Stream,
        admin_client: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(listing, "ROWS_MAX", 7)
        monkeypatch.setattr(listing.ListAdmin, "list_per_page", 3)
        fill(model, apps, stream)
        found = [rows(admin_client, LISTS[model], p=page) for page in "123"]
        assert [len(page) for page in found] == [3, 3, 1]
        assert admin_client.get(LISTS[model], {"p": "4"}).status_code == 302

    @pytest.mark.parametrize("where", ["q", "in_app"])
    def test_an_app_is_found_by_name_and_id(
        self, model: type[Model], where: str, apps: list[App], stream: Stream, admin_client: Client
    ) -> None:
        fill(model, apps, stream)
        url = LISTS[model]
        for term in ("CLOSE", str(apps[0].id)):
            found = rows(admin_client, url, **{where: term})
            assert {row.record for row in found} == set(RECORDS[::2])
        assert rows(admin_client, url, **{where: "nobody"}) == []
        assert len(rows(admin_client, url, **{where: " "})) == 30

    def test_a_record_is_found_by_its_id(
        self, model: type[Model], apps: list[App], stream: Stream, admin_client: Client
    ) -> None:
        fill(model, apps, stream)
        found = rows(admin_client, LISTS[model], q=f" {RECORDS[4]} ")
        assert [row.record for row in found] == [RECORDS[4]]
        assert rows(admin_client, LISTS[model], q=str(RECORDS[4]), in_app="acme") == []

    def test_time(
        self, model: type[Model], apps: list[App], stream: Stream, admin_client: Client
    ) -> None:
        fill(model, apps, stream)
        assert len(rows(admin_client, LISTS[model], since="10min")) == 10
        assert len(rows(admin_client, LISTS[model], since="hour")) == 30
        assert len(rows(admin_client, LISTS[model], since="nonsense")) == 30

    def test_rows_show_app_record_and_partition(
        self, model: type[Model], apps: list[App], stream: Stream, admin_client: Client
    ) -> None:
        fill(model, apps, stream)
        text = admin_client.get(LISTS[model], {"q": str(RECORDS[0])}).text
        assert "Closely" in text
        assert str(RECORDS[0]) in text
        (row,) = rows(admin_client, LISTS[model], q=str(RECORDS[0]))
        assert (row.named_app, row.partition) == ("Closely", 3)

    def test_the_app_filter_keeps_the_others(
        self, model: type[Model], admin_client: Client
    ) -> None:
        text = admin_client.get(LISTS[model], {"since": "hour", "q": "x", "in_app": "y"}).text
        assert '<input type="hidden" name="since" value="hour">' in text
        assert '<input type="hidden" name="q" value="x">' in text
        assert '<input type="search" name="in_app" value="y"' in text
        assert '<input type="hidden" name="in_app" value="y">' in text

    def test_what_is_searched_by_is_indexed(self, model: type[Model]) -> None:
        options = model._meta
        first = {index.fields[0] for index in options.indexes if index.fields}
        first |= {
            constraint.fields[0]
            for constraint in options.constraints
            if isinstance(constraint, UniqueConstraint) and constraint.fields
        }
        assert {"record", "app", "at"} <= first


@pytest.mark.django_db
def test_skipped_by_reason(apps: list[App], stream: Stream, admin_client: Client) -> None:
    fill(Skipped, apps, stream)
    found = rows(admin_client, LISTS[Skipped], reason=SKIPPED)
    assert [row.reason for row in found] == [SKIPPED] * 10


@pytest.mark.django_db
@pytest.mark.parametrize("reason", [MALFORMED, MISROUTED, "refused"])
def test_dead_letters_by_reason(
    reason: str, apps: list[App], stream: Stream, admin_client: Client
) -> None:
    fill(DeadLetter, apps, stream)
    start = "22003" if reason == "refused" else reason
    found = rows(admin_client, LISTS[DeadLetter], reason=reason)
    assert len(found) == 10
    assert all(row.error.startswith(start) for row in found)


@pytest.mark.django_db
def test_no_letter_has_a_reason_that_no_error_can_begin_with(admin_client: Client) -> None:
    assert rows(admin_client, LISTS[DeadLetter], reason="\0") == []


@pytest.mark.django_db
def test_an_unreadable_letter_has_no_app(stream: Stream, admin_client: Client) -> None:
    letter = DeadLetter.objects.create(
        stream=stream.pk, offset=1, error="malformed: v", message=b"\xff\0"
    )
    assert "unreadable" in admin_client.get(LISTS[DeadLetter]).text
    text = admin_client.get(f"{LISTS[DeadLetter]}{letter.pk}/change/").text
    assert "not JSON: 2 bytes" in text


@pytest.mark.django_db
def test_what_was_refused_of_many_records_is_listed_under_its_app(
    apps: list[App], stream: Stream, admin_client: Client
) -> None:
    app = apps[0]
    Skipped.objects.create(
        stream=stream.pk, app=app.id, reason="link_limit", first=1, last=900, n=77_000
    )
    text = admin_client.get(LISTS[Skipped]).text
    assert f"{app.name}<br>records that are not listed" in text
    assert "77,000" in text


def groups(client: Client, model: type[Model]) -> list[Any]:
    """Of the page as it opens."""
    return [row[0] for row in client.get(LISTS[model]).context["groups"]]


@pytest.mark.django_db
class TestGroups:
    @pytest.mark.parametrize("model", LISTS)
    def test_a_group_opens_into_its_list(
        self,
        model: type[Model],
        apps: list[App],
        stream: Stream,
        admin_client: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(dropped_groups, "GROUPS_SHOWN", 60)
        for each in LISTS:
            fill(each, apps, stream)
        found = groups(admin_client, model)
        assert sum(group.n for group in found) == 30
        for group in found:
            listed = rows(admin_client, f"{LISTS[model]}?{group.query}")
            assert len(listed) == group.n if group.record else len(listed) >= group.n
            assert {row.app for row in listed} == {group.app}
        assert admin_client.get(LISTS[model], {"reason": "x"}).context.get("groups") is None

    def test_counts_over_time(self, apps: list[App], stream: Stream, admin_client: Client) -> None:
        now = timezone.now()
        app, record = apps[0].id, RECORDS[0]
        row = {"stream": stream.pk, "app": app, "record": record, "reason": LINK_REFUSED}
        for ago, n in (
            (timedelta(minutes=1), 5),
            (timedelta(hours=2), 70),
            (timedelta(hours=25), 900),
            (timedelta(hours=-1), 1_000),
        ):
            Skipped.objects.create(**row, first=1, last=9, n=n, at=now - ago)
        (group,) = groups(admin_client, Skipped)
        assert (group.name, group.record, group.reason) == ("Closely", record, LINK_REFUSED)
        assert (group.of_hour, group.of_day, group.n) == (1_005, 1_075, 1_975)
        assert (group.first, group.last) == (now - timedelta(hours=25), now + timedelta(hours=1))
        high = [n for n, bar in enumerate(group.chart) if bar.height]
        assert high in ([21, 23], [22, 23])

    def test_the_records_with_most_have_a_group_and_the_others_share_one(
        self, apps: list[App], stream: Stream, admin_client: Client
    ) -> None:
        for n, record in enumerate(RECORDS):
            for _ in range(1 + (n < 3)):
                DeadLetter.objects.create(
                    stream=stream.pk, offset=n, app=apps[0].id, record=record,
                    error="23514: poison", message=b"",
                )  # fmt: skip
        DeadLetter.objects.create(stream=stream.pk, offset=99, error="malformed: v", message=b"")
        others, *named, unreadable = groups(admin_client, DeadLetter)
        assert (others.record, others.others, others.n) == (None, 27, 27)
        assert {group.record for group in named} == set(RECORDS[:3])
        assert (unreadable.app, unreadable.record, unreadable.others) == (None, None, 0)
        text = admin_client.get(LISTS[DeadLetter]).text
        assert "27 more records" in text
        assert "refused by PostgreSQL: 23514" in text
        assert len(rows(admin_client, f"{LISTS[DeadLetter]}?{others.query}")) == 33

    def test_no_more_rows_are_read_than_the_bound_and_the_page_says_so(
        self,
        apps: list[App],
        stream: Stream,
        admin_client: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        fill(Skipped, apps, stream)
        assert "This table counts the newest" not in admin_client.get(LISTS[Skipped]).text
        monkeypatch.setattr(dropped_groups, "ROWS_READ", 7)
        monkeypatch.setattr(dropped_groups, "GROUPS_SHOWN", 3)
        answer = admin_client.get(LISTS[Skipped])
        assert answer.context["since"] == min(row.at for row in Skipped.objects.all()[:7])
        assert "This table counts the newest 7 rows of skipped updates" in answer.text
        assert len(answer.context["groups"]) == 3
        assert re.search("3 of [0-9] groups", answer.text)

    def test_what_a_limit_dropped_says_which_and_why_it_cannot_be_replayed(
        self, apps: list[App], stream: Stream, admin_client: Client
    ) -> None:
        app, parent = apps[0], RECORDS[0]
        linked(app, parent, "email", 100)
        row = {"stream": stream.pk, "app": app.id, "first": 1, "last": 9, "n": 9}
        Skipped.objects.create(**row, record=parent, reason=LINK_REFUSED)
        Skipped.objects.create(**row, record=RECORDS[1], reason=LINK_REFUSED)
        Skipped.objects.create(**row, record=parent, reason=ALIAS_TAKEN)
        path = f"/admin/hot/limit/{app.id}/email/?record={parent}"
        text = admin_client.get(LISTS[Skipped]).text
        assert text.count(f'100 linked by email, limit 100: <a href="{path}">Set limit…</a>') == 2
        assert text.count("Cannot be replayed: only the link was refused, ") == 4
        assert text.count("Cannot be replayed: only the alias was refused, ") == 2
        viewer = staff("view_skipped", "view_app")
        text = viewer.get(LISTS[Skipped]).text
        usage = f"/admin/app/{app.id}/usage/"
        assert text.count(f'<a href="{usage}">100 linked by email, limit 100</a>') == 2
        assert path not in text
        text = staff("view_skipped").get(LISTS[Skipped]).text
        assert "100 linked by email, limit 100" in text
        assert usage not in text


@pytest.mark.django_db
def test_a_letter_shows_keys_and_no_values(
    apps: list[App], stream: Stream, admin_client: Client
) -> None:
    update = Update(
        app=str(apps[0].id),
        record=str(RECORDS[0]),
        at=1_700_000_000_000,
        message_id=str(uuid.uuid4()),
        patch=Patch(
            False,
            {
                "identifier": (SET, "secret@example.com"),
                "tags.plan": (SET, "gold-secret"),
                "tags.old": (REMOVE, None),
                "session_count": (ADD, 424_242),
            },
        ),
        links={"email": str(RECORDS[1]), "user": None},
    )
    letter = DeadLetter.objects.create(
        stream=stream.pk,
        offset=77,
        app=apps[0].id,
        record=RECORDS[0],
        error="22003: out of range",
        message=encode(update),
    )
    text = admin_client.get(f"{LISTS[DeadLetter]}{letter.pk}/change/").text
    for shown in (
        "tags.plan",
        "tags.old",
        "session_count",
        "22003",
        "77",
        str(RECORDS[1]),
        "Closely",
    ):
        assert shown in text
    for hidden in ("secret", "424242"):
        assert hidden not in text
    assert "tags.plan" not in admin_client.get(LISTS[DeadLetter]).text


LEAVES = st.text('sS€\0"', min_size=3) | st.integers(10**6) | st.booleans() | st.none()
BODIES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab.="), inner), max_leaves=10
)
NAMES = st.sampled_from(
    ["v", "op", "app", "kind", "at", "only", "patch", "links", "message_id", "x"]
)


@given(st.dictionaries(NAMES, BODIES) | BODIES)
def test_no_value_passes_the_mask(body: Any) -> None:
    shown = json.loads(masked(json.dumps(body).encode()))

    def compare(hidden: Any, seen: Any, path: tuple[str, ...]) -> None:
        if isinstance(hidden, dict):
            assert list(hidden) == list(seen)
            for name, value in hidden.items():
                compare(value, seen[name], (*path, name))
        elif isinstance(hidden, list):
            assert len(hidden) == len(seen)
            for value, mask in zip(hidden, seen, strict=True):
                compare(value, mask, path)
        elif isinstance(hidden, str):
            assert seen == f"<text of {len(hidden)} characters>" or path == ("patch", "-")
        elif isinstance(hidden, bool):
            assert seen == "<true or false>" or (path == ("only",) and hidden)
        elif hidden is not None:
            assert seen == "<number>" or path == ("at",)

    compare(body, shown, ())


def test_a_long_key_is_cut() -> None:
    assert masked(b'{"%s": 1}' % (b"k" * 500)) == f'{{\n  "{"k" * 128}…": "<number>"\n}}'
