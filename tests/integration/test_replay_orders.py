"""Orders and letters in PostgreSQL alone: what is refused, bounded, permitted and written down."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from notify.domain.records.decide import LINK_REFUSED, SKIPPED
from notify.domain.records.replay import CannotReplay
from notify.domain.records.update import Update, encode, parse
from notify.kafka.producer import Acked, KafkaUnavailable
from notify.kafka.topic import Head
from notify.models import App, DeadLetter, Replay, Skipped, SkipRule, Stream, Topic
from notify.operations import replays

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain_http")]

RECORD = uuid.UUID("0f3dd5ce-5a6a-4d6f-8f2e-1c1f5b5f8a10")
LIST = "/admin/notify/deadletter/"


@pytest.fixture
def app() -> App:
    return App.objects.create(name="Closely")


@pytest.fixture
def stream() -> Stream:
    topic = Topic.objects.create(id=uuid.uuid4(), name="t", partitions=4)
    return Stream.objects.create(
        topic_id=topic.id, partition=3, lanes=4, lanes_wanted=4, planned=0, frontier=0
    )


def skipped(stream: Stream, app: App, n: int = 10, reason: str = SKIPPED) -> Skipped:
    return Skipped.objects.create(
        stream=stream.pk, app=app.id, record=RECORD, reason=reason, rule=1, first=0, last=9, n=n
    )


def rule(app: App, **fields: Any) -> SkipRule:
    made = SkipRule(app=app, record=RECORD, author="grace", reason="hot", **fields)
    made.save()
    return made


def ordered(app: App) -> Replay:
    return replays.order(app.id, RECORD, author="grace", reason="bring them back")


def test_an_order_covers_what_no_order_covered(app: App, stream: Stream) -> None:
    first = skipped(stream, app)
    skipped(stream, app, reason=LINK_REFUSED)
    assert replays.waiting(app.id, RECORD) == 10
    one = ordered(app)
    assert (one.position, one.until) == (0, first.pk)
    with pytest.raises(replays.NotOrdered, match="is running"):
        ordered(app)
    Replay.objects.update(finished_at=timezone.now())
    with pytest.raises(replays.NotOrdered, match="nothing"):
        ordered(app)
    second = skipped(stream, app, 7)
    assert replays.waiting(app.id, RECORD) == 7
    two = ordered(app)
    assert (two.position, two.until) == (first.pk, second.pk)


@pytest.mark.parametrize("scope", ["all", "mirrored"])
def test_a_rule_in_force_refuses_the_order(app: App, stream: Stream, scope: str) -> None:
    skipped(stream, app)
    rule(app, scope=scope)
    with pytest.raises(replays.NotOrdered, match="lift the rule first"):
        ordered(app)
    rule(app, expires_at=timezone.now() - timedelta(seconds=1))
    assert ordered(app).until


def test_a_step_takes_about_its_limit_but_one_row_at_least(app: App, stream: Stream) -> None:
    rows = [skipped(stream, app, n) for n in (10, 5, 5, 5)]
    order = ordered(app)

    def taken(limit: int) -> list[Skipped]:
        return replays._next_rows(order, limit)

    assert taken(1) == rows[:1]
    assert taken(15) == rows[:2]
    assert taken(1_000) == rows
    for _ in range(replays.ROWS_MAX):
        skipped(stream, app, 1)
    order.until = Skipped.objects.latest("id").pk
    assert len(taken(1_000)) == replays.ROWS_MAX


def test_only_one_step_at_a_time(app: App, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    skipped(stream, app)
    ordered(app)
    seen: list[replays.Step] = []

    def advance(order: Replay, limit: int) -> tuple[int, int, int]:
        # The lock is the session's, which may take it again: ask as another session would.
        from notify.databases import postgres

        with postgres.connect(name="another", lock_timeout_ms=1_000) as other:
            (got,) = other.execute("SELECT pg_try_advisory_lock(%s)", (replays._LOCK,)).fetchone()  # type: ignore[misc]
        assert got is False
        seen.append(replays.Step())
        return 1, 1, 0

    monkeypatch.setattr(replays, "_advance", advance)
    assert replays.step() == replays.Step(1, 1, 1, 0)
    assert seen


class Sink:
    """A producer that takes all but what is for `away`."""

    def __init__(self) -> None:
        self.away = ""
        self.sent: list[tuple[str, bytes]] = []

    def send(self, app: str, values: list[bytes], **_: object) -> list[Acked]:
        if app == self.away:
            raise KafkaUnavailable("Kafka does not answer")
        self.sent += [(app, value) for value in values]
        return [Acked(0, n) for n in range(len(values))]


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Sink:
    sink = Sink()
    monkeypatch.setattr(replays, "producer", lambda: sink)
    return sink


def letter(stream: Stream, app: uuid.UUID, offset: int = 1, **fields: Any) -> DeadLetter:
    message = encode(Update(str(app), str(RECORD), 1, f"m{offset}", kind="push"))
    given = {"error": "23514: x", "record": RECORD, "message": message, **fields}
    return DeadLetter.objects.create(stream=stream.pk, offset=offset, app=app, **given)


def replay(client: Client, *letters: DeadLetter, reason: str = "mended") -> str:
    ids = ",".join(str(each.pk) for each in letters)
    answer = client.post("/admin/dead-letters/replay/", {"ids": ids, "reason": reason}, follow=True)
    return answer.text


def test_an_app_that_kafka_did_not_take_keeps_its_letters(
    app: App, stream: Stream, sink: Sink, admin_client: Client
) -> None:
    other = App.objects.create(name="Acme")
    first, second = letter(stream, app.id, 1), letter(stream, other.id, 2)
    sink.away = str(other.id)
    text = replay(admin_client, first, second)
    assert "1 dead letter replayed" in text
    assert "stay in the list" in text
    assert list(DeadLetter.objects.all()) == [second]
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"error": "23514: x", "record": None}, "names no record"),
        ({"message": b"{"}, "it is malformed"),
        ({"message": b""}, "it is malformed"),
        (
            {"error": "malformed: v", "message": b'{"v":2}'},
            "upgrade web to a release that reads v 2",
        ),
    ],
)
def test_what_cannot_be_replayed_stays_and_says_why(
    app: App, stream: Stream, sink: Sink, admin_client: Client, fields: dict[str, Any], why: str
) -> None:
    made = letter(stream, app.id, **fields)
    assert why in replay(admin_client, made)
    assert DeadLetter.objects.count() == 1
    assert sink.sent == []
    assert LogEntry.objects.count() == 0


def test_a_letter_that_can_be_read_by_now_is_sent_whole(
    app: App, stream: Stream, sink: Sink, admin_client: Client
) -> None:
    """An older bridge lists what it cannot read without an app."""
    parent = str(uuid.uuid4())
    message = Update(str(app.id), str(RECORD), 1, "m", kind="push", links={"email": parent})
    unread = {"error": "malformed: v", "app": None, "record": None}
    letters = [
        DeadLetter.objects.create(stream=stream.pk, offset=offset, message=value, **unread)
        for offset, value in enumerate((encode(message), b"{"))
    ]
    text = replay(admin_client, *letters)
    assert "1 dead letter replayed" in text
    assert "it is malformed" in text
    ((sent_to, value),) = sink.sent
    sent = parse(value)
    assert (sent_to, sent.links, sent.only) == (str(app.id), {"email": parent}, False)
    assert list(DeadLetter.objects.all()) == letters[1:]
    assert f"Replayed to record {RECORD} of app {app.id}" in LogEntry.objects.get().change_message


def test_a_skipped_update_of_a_later_release_is_not_counted_as_lost(
    app: App, stream: Stream
) -> None:
    made = rule(app, active=False)
    row = skipped(stream, app, 1)
    row.rule = made.rule
    with pytest.raises(CannotReplay, match="offset 0: v is 2, of a later release"):
        replays._again(ordered(app), row, [Head(0, 1, b'{"v":2}')])


def test_a_misrouted_letter_is_replayed_where_its_app_is_known(
    app: App, stream: Stream, sink: Sink, admin_client: Client
) -> None:
    lost = letter(stream, uuid.uuid4(), 1, error="misrouted: x")
    known = letter(stream, app.id, 2, error="misrouted: x")
    text = replay(admin_client, lost, known)
    assert "there is no app" in text
    assert [each for each, _ in sink.sent] == [str(app.id)]
    assert list(DeadLetter.objects.all()) == [lost]


def test_no_more_letters_at_a_time_than_the_limit(
    app: App, stream: Stream, sink: Sink, admin_client: Client, settings: Settings
) -> None:
    settings.NOTIFY_REPLAY_MESSAGES = 2
    letters = [letter(stream, app.id, n) for n in range(3)]
    assert "at most 2 letters at a time" in replay(admin_client, *letters)
    chosen = {"action": "replay_many", "_selected_action": [each.pk for each in letters]}
    assert "at most 2 letters" in admin_client.post(LIST, chosen, follow=True).text
    assert sink.sent == []
    replay(admin_client, *letters[:2])
    assert len(sink.sent) == 2


@pytest.mark.parametrize("what", ["replay", "delete"])
def test_each_needs_its_own_permission_and_a_reason(
    app: App, stream: Stream, sink: Sink, what: str
) -> None:
    made = letter(stream, app.id)
    user = User.objects.create_user("staff", is_staff=True)
    other = "delete" if what == "replay" else "replay"
    for name in ("view", other):
        user.user_permissions.add(Permission.objects.get(codename=f"{name}_deadletter"))
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    path = f"/admin/dead-letters/{what}/"
    assert client.get(path).status_code == 403
    assert client.post(path, {"ids": made.pk, "reason": "x"}).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename=f"{what}_deadletter"))
    for reason in ("", "  "):
        assert "required" in client.post(path, {"ids": made.pk, "reason": reason}).text
    assert DeadLetter.objects.count() == 1
    assert client.post(path, {"ids": made.pk, "reason": "x"}).status_code == 302
    assert DeadLetter.objects.count() == 0


@pytest.mark.parametrize(
    ("do", "needs"),
    [("extend", "add_skiprule"), ("lift", "add_skiprule"), ("replay", "replay_skipped")],
)
def test_each_thing_to_do_with_a_skipped_record_needs_its_permission(
    app: App, stream: Stream, do: str, needs: str
) -> None:
    skipped(stream, app)
    if do != "replay":
        rule(app, expires_at=timezone.now() + timedelta(hours=1))
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_skipped"))
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    path = f"/admin/skipped/{app.id}/{RECORD}/"
    fields = {"do": do, "by": "never", "reason": "why not"}
    assert client.post(path, fields).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename=needs))
    assert "required" in client.post(path, fields | {"reason": " "}).text
    assert LogEntry.objects.count() == 0
    assert client.post(path, fields).status_code == 302
    assert "why not" in LogEntry.objects.get().change_message
    newest = SkipRule.objects.order_by("-version").first()
    if newest is not None:
        assert (newest.active, newest.expires_at is None) == (do == "extend", True)
        assert newest.author == "staff"


def test_a_rule_without_an_end_is_not_extended(app: App, admin_client: Client) -> None:
    rule(app)
    path = f"/admin/skipped/{app.id}/{RECORD}/"
    fields = {"do": "extend", "by": "1", "reason": "x"}
    assert "The rule does not expire" in admin_client.post(path, fields, follow=True).text
    assert SkipRule.objects.count() == 1


def test_the_list_is_of_records_the_newest_first(
    app: App, stream: Stream, admin_client: Client
) -> None:
    for n in range(30):
        Skipped.objects.create(
            stream=stream.pk,
            app=app.id,
            record=uuid.UUID(int=n + 1),
            reason=SKIPPED,
            first=n,
            last=n,
            n=1,
            rule=1,
            at=timezone.now() - timedelta(hours=1, minutes=30 - n),
        )
    rule(app)
    found = admin_client.get("/admin/notify/skipped/").context["records"]
    assert [each["record"] for each in found] == [
        RECORD,
        *(uuid.UUID(int=n) for n in range(30, 11, -1)),
    ]
    assert found[0]["rule"] is not None
    assert admin_client.get("/admin/notify/skipped/?q=x").context.get("records") is None
