"""Dead letters and skipped records in a browser: what was dropped, and how it is sent again."""

import uuid
from datetime import timedelta
from typing import NamedTuple

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone
from playwright.sync_api import Browser, Page, ViewportSize, expect

from notify.domain.records.decide import LINK_REFUSED, SKIPPED
from notify.domain.records.update import Update, encode
from notify.kafka.producer import Acked, KafkaUnavailable
from notify.models import App, DeadLetter, Replay, SkipCount, Skipped, SkipRule, Stream, Topic
from notify.operations import app_keys, replays
from tests.browser.visit import PHONE, WIDE, is_whole, log_in, opened, staff
from tests.sampled_incident import linked

pytestmark = pytest.mark.django_db(transaction=True)

RECORD = uuid.UUID("0f3dd5ce-5a6a-4d6f-8f2e-1c1f5b5f8a10")
PARENT = uuid.UUID("3a9f0c1e-8c55-4a7e-9f54-2a6d1d1b7c21")
ERROR = '23514: new row for relation "record" violates check constraint "poison" '
LIST = "/admin/notify/deadletter/"
SUPPORT = (
    *(f"notify.view_{model}" for model in ("deadletter", "skipped", "skiprule", "hot")),
    "notify.replay_deadletter",
    "notify.delete_deadletter",
    "notify.replay_skipped",
    "notify.add_skiprule",
)


class FakeProducer:
    """Takes everything, or is away."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_away = False

    def send(
        self, app: str, values: list[bytes], *, partitions: int, traceparent: str
    ) -> list[Acked]:
        if self.is_away:
            raise KafkaUnavailable("Kafka does not answer")
        self.sent += values
        return [Acked(0, n) for n in range(len(values))]


class World(NamedTuple):
    """What the pages show."""

    app: App
    letters: list[DeadLetter]
    rule: SkipRule
    producer: FakeProducer


@pytest.fixture
def world(site: str, monkeypatch: pytest.MonkeyPatch) -> World:
    app, _ = app_keys.create_app("Closely, of the very long name", requires_key=False)
    topic = Topic.objects.create(id=uuid.uuid4(), name="sdk-updates", partitions=4)
    stream = Stream.objects.create(
        topic_id=topic.id, partition=3, lanes=4, lanes_wanted=4, planned=0, frontier=0
    )
    letters = []
    for n in range(1, 4):
        record = uuid.UUID(int=n)
        message = encode(Update(str(app.id), str(record), 1_700_000_000_000, f"m{n}", kind="push"))
        row = {"stream": stream.pk, "app": app.id, "record": record, "offset": n}
        letters.append(DeadLetter.objects.create(**row, error=ERROR, message=message))
    DeadLetter.objects.create(stream=stream.pk, offset=9, error="malformed: not JSON", message=b"?")
    rule = SkipRule(
        app=app, record=RECORD, author="grace", reason="every device of the app mirrors to it"
    )
    rule.expires_at = timezone.now() + timedelta(hours=3)
    rule.save()
    SkipCount.objects.create(
        stream=stream.pk, rule=rule.rule, hits=4_812_345, last_at=timezone.now()
    )
    for n in range(3):
        where = {"stream": stream.pk, "app": app.id, "record": RECORD, "rule": rule.rule}
        Skipped.objects.create(**where, reason=SKIPPED, first=n * 10, last=n * 10 + 9, n=10)
    linked(app, PARENT, "email", 100)
    for ago_h in (0, 1, 2, 5, 6, 30):
        Skipped.objects.create(
            stream=stream.pk, app=app.id, record=PARENT, reason=LINK_REFUSED, first=1, last=9,
            n=55_000 + ago_h * 9_000, at=timezone.now() - timedelta(hours=ago_h),
        )  # fmt: skip
    producer = FakeProducer()
    monkeypatch.setattr(replays, "producer", lambda: producer)
    return World(app, letters, rule, producer)


def record_page(world: World) -> str:
    """The page of the record that the rule skips."""
    return f"/admin/skipped/{world.app.id}/{RECORD}/"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_page_is_whole(
    chromium: Browser, site: str, world: World, size: ViewportSize, dark: bool
) -> None:
    Replay.objects.create(
        app=world.app.id, record=uuid.uuid4(), author="grace", reason="x " * 60, until=9, sent=1_000
    )
    ids = ",".join(str(letter.pk) for letter in DeadLetter.objects.all())
    with opened(chromium, site, size, dark=dark) as page:
        log_in(page, staff(*SUPPORT), site)
        for path, h1 in {
            LIST: "Dead letters",
            f"{LIST}{world.letters[0].pk}/change/": "View dead letter",
            f"/admin/dead-letters/replay/?ids={ids}": "Replay 4 dead letters",
            f"/admin/dead-letters/delete/?ids={world.letters[0].pk}": "Delete 1 dead letter",
            "/admin/dead-letters/delete/?ids=123456": "Delete 1 dead letter",
            "/admin/notify/skipped/": "Skipped updates",
            record_page(world): "Skipped record",
        }.items():
            page.goto(path)
            is_whole(page, h1=h1)


def test_one_letter_is_replayed_from_its_page(phone: Page, site: str, world: World) -> None:
    letter = world.letters[0]
    log_in(phone, staff(*SUPPORT), site)
    phone.goto(f"{LIST}{letter.pk}/change/")
    expect(phone.get_by_text("as its newest update")).to_be_visible()
    phone.get_by_role("link", name="Replay…").click()
    is_whole(phone, h1="Replay 1 dead letter")
    expect(phone.get_by_text("is applied as the newest update")).to_be_visible()
    phone.get_by_label("Reason").fill("the constraint is gone")
    phone.get_by_role("button", name="Replay", exact=True).click()
    is_whole(phone, h1="Dead letters")
    expect(phone.get_by_text("1 dead letter replayed")).to_be_visible()
    assert len(world.producer.sent) == 1
    assert not DeadLetter.objects.filter(id=letter.pk).exists()
    entry = LogEntry.objects.latest("id").change_message
    assert str(letter.record) in entry
    assert "the constraint is gone" in entry


def test_many_letters_are_replayed_from_the_list(page: Page, site: str, world: World) -> None:
    log_in(page, staff(*SUPPORT), site)
    page.goto(LIST)
    choose(page, "Replay…")
    is_whole(page, h1="Replay 4 dead letters")
    expect(page.get_by_text("Cannot be replayed:")).to_have_count(1)
    page.get_by_label("Reason").fill("the constraint is gone")
    page.get_by_role("button", name="Replay", exact=True).click()
    is_whole(page, h1="Dead letters")
    expect(page.get_by_text("3 dead letters replayed")).to_be_visible()
    expect(page.get_by_text("cannot be replayed: it is malformed")).to_be_visible()
    assert DeadLetter.objects.count() == 1
    assert len(world.producer.sent) == LogEntry.objects.count() == 3


def test_many_letters_are_deleted_with_a_reason(page: Page, site: str, world: World) -> None:
    log_in(page, staff(*SUPPORT), site)
    page.goto(LIST)
    choose(page, "Delete…")
    is_whole(page, h1="Delete 4 dead letters")
    page.get_by_role("button", name="Delete", exact=True).click()
    assert DeadLetter.objects.count() == 4, "the browser asks for the reason"
    page.get_by_label("Reason").fill("a tool wrote them")
    page.get_by_role("button", name="Delete", exact=True).click()
    is_whole(page, h1="Dead letters")
    expect(page.get_by_text("4 dead letters deleted")).to_be_visible()
    assert DeadLetter.objects.count() == 0
    assert all("a tool wrote them" in entry.change_message for entry in LogEntry.objects.all())
    assert world.producer.sent == []


def test_a_letter_stays_while_kafka_is_away(page: Page, site: str, world: World) -> None:
    world.producer.is_away = True
    log_in(page, staff(*SUPPORT), site)
    page.goto(f"/admin/dead-letters/replay/?ids={world.letters[0].pk}")
    page.get_by_label("Reason").fill("now")
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(page.get_by_text("Kafka did not accept these letters")).to_be_visible()
    assert DeadLetter.objects.count() == 4
    assert LogEntry.objects.count() == 0


def test_who_only_looks_has_no_buttons(page: Page, site: str, world: World) -> None:
    log_in(page, staff("notify.view_deadletter", "notify.view_skipped"), site)
    page.goto(LIST)
    expect(page.locator("#result_list")).to_be_visible()
    expect(page.locator("#result_list input[type=checkbox]")).to_have_count(0)
    page.goto(f"{LIST}{world.letters[0].pk}/change/")
    expect(page.get_by_role("link", name="Replay…")).to_have_count(0)
    expect(page.get_by_role("link", name="Delete…")).to_have_count(0)
    page.goto(record_page(world))
    is_whole(page, h1="Skipped record")
    expect(page.locator(".n-form")).to_have_count(0)


def test_a_skipped_record_from_the_list_to_its_replay(page: Page, site: str, world: World) -> None:
    log_in(page, staff(*SUPPORT), site)
    page.goto("/admin/notify/skipped/")
    expect(page.get_by_text("Skipped updates are not applied")).to_be_visible()
    page.get_by_role("link", name=str(RECORD)).last.click()
    is_whole(page, h1="Skipped record")
    expect(page.get_by_text("4,812,345 updates").first).to_be_visible()
    expect(page.get_by_role("button", name="Replay")).to_have_count(0)
    expect(page.get_by_text("Lift the rule first")).to_be_visible()

    page.get_by_label("Extend by").select_option("7 days more")
    page.get_by_label("Reason").first.fill("it is still hot")
    page.get_by_role("button", name="Extend").click()
    expect(page.get_by_text("Extended until")).to_be_visible()
    newest = SkipRule.objects.latest("version")
    assert newest.expires_at == world.rule.expires_at + timedelta(days=7)  # type: ignore[operator]

    page.locator("#id_lift_reason").fill("the app is mended")
    page.get_by_role("button", name="Lift the rule").click()
    expect(page.get_by_text("Lifted.")).to_be_visible()
    assert not SkipRule.objects.latest("version").active

    page.get_by_label("Reason").fill("bring them back")
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("A replay is running")).to_be_visible()
    is_whole(page, h1="Skipped record")
    order = Replay.objects.get()
    assert (order.author, order.reason) == ("grace", "bring them back")
    assert [
        entry.change_message.split("Reason: ")[1] for entry in LogEntry.objects.all()[::-1]
    ] == [
        "it is still hot",
        "the app is mended",
        "bring them back",
    ]


def test_a_group_leads_to_its_rows_and_to_the_limit(phone: Page, site: str, world: World) -> None:
    log_in(phone, staff(*SUPPORT, "notify.add_linklimit"), site)
    phone.goto("/admin/notify/skipped/")
    groups = phone.locator("#groups")
    expect(groups.get_by_text("Cannot be replayed")).to_be_visible()
    groups.get_by_role("link", name=str(PARENT)).click()
    expect(phone.locator("#result_list tbody tr")).to_have_count(6)
    expect(phone.locator("#groups")).to_have_count(0)
    phone.get_by_role("link", name="Set limit…").first.click()
    is_whole(phone, h1="Set a link limit")
    expect(phone.get_by_text("100 are now linked to")).to_be_visible()
    phone.get_by_label("Records that may be linked to one record").fill("95")
    phone.get_by_role("button", name="Preview").click()
    expect(
        phone.get_by_text("no more records can be linked to it, and their updates")
    ).to_be_visible()


def choose(page: Page, action: str) -> None:
    """Tick every row of the list, and run the action."""
    page.locator("#action-toggle").click()
    page.locator("select[name=action]").select_option(label=action)
    page.get_by_role("button", name="Run").click()
