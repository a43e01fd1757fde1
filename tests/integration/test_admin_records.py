"""Find a record, and its page: found by what a customer knows, whole, and without a value of it."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notify.admin.record_seen import masked_identifier
from notify.domain.engine.lanes import lane_of, partition_of, queue_of
from notify.domain.records import ids
from notify.domain.records.decide import SKIPPED
from notify.domain.records.update import TOKEN, USER
from notify.models import (
    App,
    DeadLetter,
    Hot,
    Lane,
    LaneSample,
    Link,
    LinkCount,
    LinkLimit,
    Parent,
    Record,
    Skipped,
    SkipRule,
    Stream,
    Topic,
)
from tests.staff import staff as client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http")]

FIND = "/admin/record/"
EMAIL = "anna.mueller@brauerei.example"
SECRET = "goldmitglied-4711"
PHONE = "+49 170 555-0199"
NOBODY = "60d09626-78af-483b-bc70-55ad920f8816"
ALL = (
    *("view_record", "view_skipped", "view_deadletter", "view_skiprule", "view_app"),
    *("add_skiprule", "add_linklimit"),
)


@pytest.fixture
def app() -> App:
    return App.objects.create(name="Closely")


@pytest.fixture
def staff() -> Client:
    return client(*ALL)


def record(app: App, id_: str, **fields: Any) -> str:
    now = timezone.now()
    Record.objects.create(app=app.id, id=id_, created_at=now, updated_at=now, **fields)
    return id_


def link(app: App, child: str, label: str, parent: str, *, gen: int = 0) -> None:
    Link.objects.create(app=app.id, child=child, label=label, parent=parent, parent_gen=gen)


def page_of(app: App, id_: str) -> str:
    return f"/admin/record/{app.id}/{id_}/"


def ask(staff: Client, what: str, app: str = "Closely") -> Any:
    return staff.post(FIND, {"app": app, "what": what})


def leads_to(staff: Client, app: App, what: str, id_: str) -> None:
    answer = ask(staff, what)
    assert (answer.status_code, answer.get("Location")) == (302, page_of(app, id_)), what


@pytest.mark.parametrize("path", [FIND, f"/admin/record/{NOBODY}/{NOBODY}/"])
def test_only_who_may_view_records(path: str) -> None:
    assert Client().get(path).status_code == 302
    assert client("view_hot").get(path).status_code == 403


def test_by_its_id_in_any_case_and_the_app_by_its_id(staff: Client, app: App) -> None:
    id_ = record(app, ids.random_id())
    leads_to(staff, app, f" {id_.upper()} ", id_)
    assert ask(staff, id_, str(app.id))["Location"] == page_of(app, id_)


def test_by_an_address_in_any_case(staff: Client, app: App) -> None:
    id_ = record(app, ids.record_id(str(app.id), "email", EMAIL), kind="email", identifier=EMAIL)
    leads_to(staff, app, f"  {EMAIL.upper()} ", id_)


def test_by_an_address_that_another_subscription_has_now(staff: Client, app: App) -> None:
    id_ = record(app, ids.random_id(), kind="email", identifier=EMAIL)
    link(app, ids.alias_id(str(app.id), "email", TOKEN, EMAIL), "alias", id_)
    leads_to(staff, app, EMAIL.title(), id_)


def test_both_are_shown_where_the_address_has_moved(staff: Client, app: App) -> None:
    first = record(app, ids.record_id(str(app.id), "email", EMAIL), kind="email")
    now = record(app, ids.random_id(), kind="email")
    link(app, ids.alias_id(str(app.id), "email", TOKEN, EMAIL), "alias", now)
    shown = ask(staff, EMAIL).content.decode()
    assert page_of(app, first) in shown
    assert page_of(app, now) in shown
    assert shown.index(now) < shown.index(first)
    assert "2 records of Closely" in shown


@pytest.mark.parametrize("written", [PHONE, "+491705550199", "49 (170) 555.0199"])
def test_by_a_number_as_it_is_written(staff: Client, app: App, written: str) -> None:
    leads_to(staff, app, written, record(app, ids.record_id(str(app.id), "sms", PHONE), kind="sms"))


def test_by_a_push_token(staff: Client, app: App) -> None:
    leads_to(
        staff, app, "f7Token:Xy", record(app, ids.record_id(str(app.id), "push", "f7Token:Xy"))
    )


def test_by_an_external_id_that_was_given(staff: Client, app: App) -> None:
    id_ = record(app, ids.random_id(), kind=USER)
    link(app, ids.alias_id(str(app.id), USER, "external_id", "u-1"), "alias", id_)
    leads_to(staff, app, "u-1", id_)


def test_by_an_external_id_that_made_its_user(staff: Client, app: App) -> None:
    alias = ids.alias_id(str(app.id), USER, "external_id", EMAIL)
    Parent.objects.create(app=app.id, id=alias, gen=3)
    id_ = record(app, ids.named_user(str(app.id), alias, 3), kind=USER)
    leads_to(staff, app, EMAIL, id_)


def test_by_an_external_id_of_a_user_that_logged_in_as_another(staff: Client, app: App) -> None:
    first, then = ids.random_id(), record(app, ids.random_id(), kind=USER)
    link(app, ids.alias_id(str(app.id), USER, "external_id", "u-1"), "alias", first)
    link(app, first, "merged", then)
    leads_to(staff, app, "u-1", then)


def test_not_by_an_external_id_that_was_taken_away(staff: Client, app: App) -> None:
    id_ = record(app, ids.random_id(), kind=USER)
    Parent.objects.create(app=app.id, id=id_, gen=1)
    link(app, ids.alias_id(str(app.id), USER, "external_id", "u-1"), "alias", id_, gen=0)
    assert "Closely has no such record" in ask(staff, "u-1").content.decode()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (EMAIL, "has no such record"),
        (NOBODY, "has no such record"),
        ("u-1", "has no such record"),
        ("   ", "Enter the record"),
        ("\0", "Null characters are not allowed"),
    ],
)
def test_what_is_not_there_is_said(staff: Client, app: App, what: str, said: str) -> None:
    answer = ask(staff, what)
    assert answer.status_code == 200
    assert said in answer.content.decode()


def test_an_app_that_is_none(staff: Client) -> None:
    assert "There is no app with this name or UUID" in ask(staff, "x", "Nobody").content.decode()


def test_the_address_is_in_no_url(staff: Client, app: App) -> None:
    record(app, ids.record_id(str(app.id), "email", EMAIL))
    assert EMAIL not in ask(staff, EMAIL)["Location"]
    assert 'method="post"' in staff.get(FIND).content.decode()


def test_a_record_is_not_shown_under_another_app(staff: Client, app: App) -> None:
    other = App.objects.create(name="Acme")
    id_ = record(app, ids.random_id(), kind="push", tags={"plan": SECRET})
    Hot.objects.create(
        bucket=timezone.now(), stream=1, app=app.id, record=id_, direct=1, mirrored=0, error=0
    )
    answer = staff.get(page_of(other, id_))
    shown = answer.content.decode()
    assert answer.status_code == 404
    assert "plan" not in shown
    assert "Acme" in shown
    assert "has no such record" in ask(staff, id_, "Acme").content.decode()


def full(app: App, id_: str, *, n: int = 1) -> None:
    """A record with everything."""
    now = timezone.now()
    topic = Topic.objects.create(id=uuid.uuid4(), name="updates", partitions=8)
    partition = partition_of(str(app.id), 8)
    stream = Stream.objects.create(
        topic_id=topic.id, partition=partition, lanes=4, lanes_wanted=4, planned=900, frontier=800
    )
    lane = lane_of(str(app.id), id_, 4)
    Lane.objects.create(stream=stream.pk, lane=lane, last=777, tries=2)
    LaneSample.objects.create(
        stream=stream.pk, lane=lane, at=now, writes=1234, oldest_s=42.0, attempt=3
    )
    record(
        app,
        id_,
        kind="email",
        identifier=EMAIL,
        tags={"plan": SECRET, "record": str(uuid.UUID(int=99)), "age": 98765432101},
        properties={"sdk": SECRET, "alias:external_id": SECRET},
        session_count=31,
        mirrored_updates=5150,
    )
    Parent.objects.create(app=app.id, id=id_, gen=2)
    for label, gen, count in (("email", 1, 4_800_000), ("email", 2, 41_200), ("user", 2, 3)):
        LinkCount.objects.create(app=app.id, parent=id_, label=label, gen=gen, n=count)
    LinkLimit(app=app, label="email", children=40_000, author="grace", reason="a test").save()
    for each in range(n):
        link(app, id_, f"is:2:label{each}", str(uuid.UUID(int=each + 1)))
        SkipRule(
            app=app, record=id_, scope="mirrored", author="grace", reason=f"too hot {each}"
        ).save()
        where = {"stream": stream.pk, "app": app.id, "record": id_}
        Skipped.objects.create(**where, reason=SKIPPED, rule=1, first=7, last=9, n=3)
        DeadLetter.objects.create(
            **where, offset=70 + each, error="22003: out of range", message=b"{}"
        )
        Hot.objects.create(
            **where, bucket=now - timedelta(minutes=each), direct=300, mirrored=9_000, error=1
        )
    Hot.objects.create(
        **where, bucket=now - timedelta(hours=30), direct=1_000_000, mirrored=0, error=1
    )


def test_its_page(staff: Client, app: App) -> None:
    id_ = ids.record_id(str(app.id), "email", EMAIL)
    full(app, id_)
    answer = staff.get(page_of(app, id_))
    shown = answer.content.decode()
    assert answer.status_code == 200
    partition, lane = partition_of(str(app.id), 8), lane_of(str(app.id), id_, 4)
    for text in (
        "a…@b….example",
        "5,150",
        f"<dt>Partition</dt><dd>{partition}",
        f"<dt>Lane</dt><dd>{lane}, queue",
        queue_of(lane),
        "offset 777",
        "1,234 writes, the oldest 42 s old, sent 3 times",
        ">300 own and 9,000 mirrored updates",
        "41,200",
        "over: mirroring stopped",
        "has the alias label0",
        page_of(app, str(uuid.UUID(int=1))),
        "too hot 0",
        "22003: out of range",
        "<text of 17 characters>".replace("<", "&lt;").replace(">", "&gt;"),
        f"manage.py trail --app {app.id} --record {id_}",
        f"/admin/hot/skip/{app.id}/{id_}/",
        f"/admin/hot/limit/{app.id}/email/?record={id_}",
    ):
        assert text in shown, text
    assert "4,800,000" not in shown  # of an older generation


def test_no_value_of_it_is_in_the_page(staff: Client, app: App) -> None:
    id_ = ids.record_id(str(app.id), "email", EMAIL)
    full(app, id_)
    shown = staff.get(page_of(app, id_)).content.decode()
    for value in (
        EMAIL,
        EMAIL.split("@", maxsplit=1)[0],
        "brauerei",
        SECRET,
        "98765432101",
        str(uuid.UUID(int=99)),
    ):
        assert value not in shown, value
    for key in ("plan", "age", "sdk", "alias:external_id"):
        assert f'<td class="n-wrap">{key}</td>' in shown, key


@pytest.mark.parametrize(
    ("kind", "identifier", "shown"),
    [
        ("email", "anna@brauerei.example", "a…@b….example"),
        ("email", "no address", "<text of 10 characters>"),
        ("email", "anna@localhost", "a…@l…"),
        ("sms", "+491705550199", "<text of 13 characters>"),
        ("push", "f7@Token", "<text of 8 characters>"),
        (None, "anna@brauerei.example", "<text of 21 characters>"),
        ("push", None, ""),
    ],
)
def test_an_identifier(kind: str | None, identifier: str | None, shown: str) -> None:
    assert masked_identifier(kind, identifier) == shown


def test_parts_that_its_reader_may_not_see(app: App) -> None:
    id_ = ids.random_id()
    full(app, id_)
    shown = client("view_record").get(page_of(app, id_)).content.decode()
    for text in (
        "22003: out",
        "too hot",
        "/admin/hot/skip/",
        "/admin/hot/limit/",
        'n-panel-note">the newest',
    ):
        assert text not in shown, text


def test_a_record_that_only_was_skipped(staff: Client, app: App) -> None:
    id_ = ids.random_id()
    Skipped.objects.create(stream=1, app=app.id, record=id_, reason=SKIPPED, first=1, last=1, n=1)
    leads_to(staff, app, id_, id_)
    shown = staff.get(page_of(app, id_)).content.decode()
    assert "It has no row" in shown
    assert "Its partition is not set up yet" in shown


def test_of_an_app_that_is_not_ours_nothing_can_be_ordered(staff: Client, app: App) -> None:
    stranger = App(id=uuid.uuid4(), name="never saved")
    id_ = record(stranger, ids.random_id())
    answer = staff.get(page_of(stranger, id_))
    assert answer.status_code == 200
    assert "/admin/hot/skip/" not in answer.content.decode()


def test_who_is_skipped_is_not_offered_it_again(staff: Client, app: App) -> None:
    id_ = record(app, ids.random_id())
    SkipRule(app=app, record=id_, author="grace", reason="too hot").save()
    shown = staff.get(page_of(app, id_)).content.decode()
    assert "skipped: all its updates" in shown
    assert "/admin/hot/skip/" not in shown


def test_as_many_queries_however_much_there_is(staff: Client, app: App) -> None:
    one = ids.random_id()
    full(app, one)
    few = queries(staff, page_of(app, one))
    Topic.objects.all().delete()
    Stream.objects.all().delete()
    many = ids.random_id()
    full(app, many, n=30)
    assert queries(staff, page_of(app, many)) == few
    assert few < 35
    shown = staff.get(page_of(app, many)).content.decode()
    assert shown.count("22003: out") == 10


def test_a_search_is_bounded(staff: Client, app: App) -> None:
    with CaptureQueriesContext(
        connection,
    ) as seen:
        ask(staff, EMAIL)
    touched = [each["sql"] for each in seen if '"record"' in each["sql"] or " link" in each["sql"]]
    assert len(touched) < 10
    assert "LIKE" not in json.dumps(touched)


def queries(staff: Client, path: str) -> int:
    staff.get(path)  # content types are cached from the first time on
    with CaptureQueriesContext(connection) as seen:
        assert staff.get(path).status_code == 200
    return len(seen)
