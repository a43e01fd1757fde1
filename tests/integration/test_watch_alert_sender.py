"""The watcher's statements on a real PostgreSQL, and sending with receivers that fail."""

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from pytest_django import Settings

from notify.databases import postgres
from notify.models import Alert, WorkerSample
from notify.monitoring.watch.alert_channels import Mail, NotSent, Webhook
from notify.monitoring.watch.alert_rows import AlertRows
from notify.monitoring.watch.alert_sender import MUTED, AlertSender
from notify.monitoring.watch.leader_lock import LeaderLock, Session, run
from notify.monitoring.watch.message import CLOSED, OPENED, DueAlert, Event
from notify.monitoring.watch.pace import Pace
from tests.receivers import webhook

pytestmark = pytest.mark.django_db(transaction=True)


class FakeChannel:
    """A channel that notes what it is given, and fails while `away`."""

    name, due, done = "webhook", "due_posts", "posted"

    def __init__(self) -> None:
        self.sent: list[tuple[int, str]] = []
        self.away: set[int] = set()
        self.meanwhile: Callable[[], None] = lambda: None

    def send(self, alert: DueAlert, event: Event) -> None:
        if alert.id in self.away:
            raise NotSent("it answered 500")
        self.meanwhile()
        self.sent.append((alert.id, event))


@pytest.fixture
def session() -> Iterator[Session]:
    with postgres.connect(name="test", lock_timeout_ms=1_000) as session:
        yield session


class NoTimePasses(Pace):
    """However long the test takes."""

    def is_ready(self, alert: int, *, now_s: float) -> bool:
        return super().is_ready(alert, now_s=0)

    def failed(self, alert: int, *, now_s: float) -> None:
        super().failed(alert, now_s=0)


class Sending:
    """An AlertSender of alerts in PostgreSQL."""

    def __init__(self, channel: FakeChannel, *, per_hour: int = 60, may_send: bool = True) -> None:
        self._channel = channel
        self._sender = AlertSender(
            channel, NoTimePasses(per_hour=per_hour), may_send=lambda: may_send
        )

    def round(self, session: Session) -> None:
        self._sender.round(AlertRows(session, self._channel, hours=24))


def sender(channel: FakeChannel, *, per_hour: int = 60) -> Sending:
    return Sending(channel, per_hour=per_hour)


def alert(key: str = "lag") -> Alert:
    return Alert.objects.create(key=key, kind="lag", level="bad", text="late", path="/admin/")


def close(found: Alert, **ago: float) -> None:
    Alert.objects.filter(id=found.id).update(closed_at=Now() - timedelta(**ago))


def test_an_alert_is_told_once_opened_and_once_closed(session: Session) -> None:
    channel, found = FakeChannel(), alert()
    sending = sender(channel)
    for _ in range(2):
        sending.round(session)
    assert channel.sent == [(found.id, OPENED)]
    close(found)
    for _ in range(2):
        sending.round(session)
    assert channel.sent == [(found.id, OPENED), (found.id, CLOSED)]


def test_what_closes_while_its_opening_is_told_is_told_again(session: Session) -> None:
    channel, found = FakeChannel(), alert()
    channel.meanwhile = lambda: close(found)
    sender(channel).round(session)
    channel.meanwhile = lambda: None
    sender(channel).round(session)
    assert channel.sent == [(found.id, OPENED), (found.id, CLOSED)]


def test_a_failure_is_shown_waits_and_holds_up_no_other(session: Session) -> None:
    channel, bad, good = FakeChannel(), alert("bad"), alert("good")
    channel.away = {bad.id}
    sending = sender(channel)
    for _ in range(3):
        sending.round(session)
    bad.refresh_from_db()
    assert channel.sent == [(good.id, OPENED)]
    assert (bad.posted_at, bad.tries, bad.error) == (None, 1, "webhook: it answered 500")
    channel.away = set()
    sender(channel).round(session)  # another watcher, which knows nothing of the wait
    bad.refresh_from_db()
    assert channel.sent[-1] == (bad.id, OPENED)
    assert (bad.error, bad.posted_at is None) == ("", False)


def test_past_the_hours_share_nothing_is_sent_and_it_says_so(session: Session) -> None:
    channel, alerts = FakeChannel(), [alert(str(number)) for number in range(4)]
    sending = sender(channel, per_hour=3)
    for _ in range(2):
        sending.round(session)
    assert channel.sent == [(each.id, OPENED) for each in alerts[:3]]
    alerts[3].refresh_from_db()
    assert alerts[3].error == MUTED


def test_nobody_is_told_of_what_closed_long_ago(session: Session) -> None:
    channel = FakeChannel()
    close(alert("old"), hours=25)
    fresh = alert("fresh")
    close(fresh, hours=23)
    sender(channel).round(session)
    assert channel.sent == [(fresh.id, OPENED), (fresh.id, CLOSED)]


def test_one_that_may_not_send_sends_nothing(session: Session) -> None:
    channel = FakeChannel()
    alert()
    Sending(channel, may_send=False).round(session)
    assert channel.sent == []


def due(session: Session) -> DueAlert:
    return DueAlert(*run(session, "due_posts", hours=24)[0])


@pytest.mark.parametrize("status", [302, 307, 404, 500])
def test_only_2xx_is_a_receipt(session: Session, status: int) -> None:
    alert()
    with webhook(status) as hook:
        channel = Webhook(hook.url, secret="", timeout_s=60, admin_url="")
        with pytest.raises(NotSent, match=f"the receiver answered {status}"):
            channel.send(due(session), OPENED)
        assert hook.bodies == []
        channel.send(due(session), OPENED)
    assert len(hook.bodies) == 1
    assert "x-notify-signature" not in hook.headers[0]


def test_nobody_there(session: Session, settings: Settings) -> None:
    alert()
    with socket.socket() as taken:  # so that no other process listens there meanwhile
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        url = f"http://127.0.0.1:{port}/"
        with pytest.raises(NotSent, match="refused"):
            Webhook(url, secret="", timeout_s=60, admin_url="").send(due(session), OPENED)
        for name, value in {
            "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": port,
        }.items():
            setattr(settings, name, value)
        with pytest.raises(NotSent, match="refused"):
            Mail(["a@example.com"], admin_url="").send(due(session), OPENED)


def test_only_one_watcher_holds_the_leader_lock() -> None:
    first, second = LeaderLock(), LeaderLock()
    try:
        assert first.acquire()
        assert first.acquire()
        assert second.acquire() is None
        first.release()
        assert second.acquire()
        assert first.acquire() is None
    finally:
        first.release()
        second.release()


def test_the_lock_is_free_before_postgresql_notices_that_its_session_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F24. Nothing is closed here at all until the other watcher has the lock."""
    first, second = LeaderLock(), LeaderLock()
    session = first.acquire()
    assert session is not None
    with session:
        monkeypatch.setattr(type(session), "close", lambda self: None)
        first.release()
        monkeypatch.undo()
        try:
            assert second.acquire()
        finally:
            second.release()


def test_of_a_key_one_alert_is_open(session: Session) -> None:
    finding = {
        "key": "k", "kind": "lag", "level": "bad", "app": None, "record": None, "text": "t", "path": "/",
    }  # fmt: skip
    assert run(session, "open", **finding)
    assert not run(session, "open", **finding)
    ((alert_id, key, kind),) = run(session, "open_alerts")
    assert (key, kind) == ("k", "lag")
    assert run(session, "close", id=alert_id)
    assert not run(session, "close", id=alert_id)
    assert run(session, "open", **finding)
    Alert.objects.filter(id=alert_id).update(closed_at=Now() - timedelta(days=31))
    run(session, "forget_alerts", days=30)
    assert [each.closed_at for each in Alert.objects.all()] == [None]


def heard(session: Session, *, ago_s: float, active: int, processed: int) -> float:
    """Seconds since progress, after that was heard."""
    run(
        session, "workers", names=["w"], ago_s=[ago_s], active=[active], processed=[processed],
        offline=[False],
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM clock_timestamp() - progressed_at)::float8 FROM worker_sample"
        )
        since_s: float = cursor.fetchone()[0]
    return since_s


def test_progress_is_a_task_that_ended_or_none_to_do(session: Session) -> None:
    assert heard(session, ago_s=500, active=1, processed=4) >= 500
    assert heard(session, ago_s=400, active=1, processed=4) >= 500  # still the same task
    assert 400 > heard(session, ago_s=300, active=1, processed=5) >= 300
    assert 300 > heard(session, ago_s=200, active=0, processed=5) >= 200
    assert 200 > heard(session, ago_s=100, active=1, processed=0) >= 100  # it began anew
    run(session, "forget_workers", after_s=200)
    assert WorkerSample.objects.count() == 1
    run(session, "forget_workers", after_s=50)
    assert WorkerSample.objects.count() == 0
