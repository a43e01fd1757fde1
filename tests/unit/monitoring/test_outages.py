"""When an outage of PostgreSQL opens, when it closes, and what is sent of it without PostgreSQL."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from notify.monitoring.watch.alert_channels import NotSent
from notify.monitoring.watch.alert_sender import AlertSender
from notify.monitoring.watch.message import CLOSED, OPENED, DueAlert, Event
from notify.monitoring.watch.outages import KEPT, Outages, UnsentOutages
from notify.monitoring.watch.pace import Pace

BEGAN = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
REFUSED = psycopg.OperationalError("connection to 10.0.0.1 failed: refused\n\tIs it running?")


class Clock:
    """Both clocks of the watcher, moved by the test."""

    def __init__(self) -> None:
        self.s = 100.0

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.s)


class Watcher:
    """The loop's side: `fail` and `answer` are checks that take no time, `hang` is one that takes long."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.outages = Outages("host:7", after_s=30, close_after_s=10, now=self.clock.now)

    def fail(self, *, seconds: int = 1) -> float:
        away_s = 0.0
        for _ in range(seconds):
            self.clock.s += 1
            now_s = self.clock.s
            away_s = self.outages.failed(REFUSED, began_s=now_s, now_s=now_s)
        return away_s

    def hang(self, seconds: float) -> None:
        began_s, self.clock.s = self.clock.s, self.clock.s + seconds
        self.outages.failed(REFUSED, began_s=began_s, now_s=self.clock.s)

    def answer(self, *, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.clock.s += 1
            self.outages.answered(now_s=self.clock.s)


class FakeChannel:
    """A channel that notes what it is given, and fails while `away`."""

    name, due, done = "webhook", "", ""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Event]] = []
        self.away = False

    def send(self, alert: DueAlert, event: Event) -> None:
        if self.away:
            raise NotSent("it answered 500")
        self.sent.append((alert.id, event))


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


def test_it_opens_after_the_time_and_says_since_when_and_what_to_do(watcher: Watcher) -> None:
    assert watcher.fail(seconds=30) == 29
    assert watcher.outages.kept() == []
    assert watcher.fail(seconds=5) == 34
    (outage,) = watcher.outages.kept()
    assert outage.text == (
        "PostgreSQL has not answered the watcher host:7 for 30 s: OperationalError: connection to 10.0.0.1 "
        "failed: refused. Until it answers, no other problem can be found."
    )
    assert (outage.opened_at, outage.closed_at) == (BEGAN + timedelta(seconds=101), None)
    assert outage.id < 0
    (due,) = UnsentOutages(watcher.outages).due()
    assert (due.key, due.kind, due.level) == ("postgres_away", "postgres_away", "bad")


def test_a_check_that_hung_counts_from_its_beginning_and_once_is_not_enough(
    watcher: Watcher,
) -> None:
    """A watcher that was frozen wakes up in such a check too, and PostgreSQL has ended its session."""
    watcher.hang(60)
    assert watcher.outages.kept() == []
    watcher.answer()
    watcher.hang(35)
    watcher.fail()
    (outage,) = watcher.outages.kept()
    assert "for 36 s" in outage.text


def test_a_short_absence_is_none(watcher: Watcher) -> None:
    for _ in range(3):
        watcher.fail(seconds=29)
        watcher.answer()
    assert watcher.outages.kept() == []


def test_it_closes_when_postgresql_has_answered_for_long_enough(watcher: Watcher) -> None:
    watcher.fail(seconds=40)
    watcher.answer(seconds=10)
    watcher.fail()
    watcher.answer(seconds=10)
    assert watcher.outages.kept()[0].closed_at is None
    watcher.answer()
    (outage,) = watcher.outages.kept()
    assert outage.closed_at == watcher.clock.now()
    watcher.fail(seconds=40)
    assert [each.closed_at is None for each in watcher.outages.kept()] == [False, True]


def test_only_the_last_are_kept(watcher: Watcher) -> None:
    for _ in range(KEPT + 1):
        watcher.fail(seconds=40)
        watcher.answer(seconds=20)
    assert len(watcher.outages.kept()) == KEPT


def test_each_channel_is_sent_to_once_opened_and_once_closed(watcher: Watcher) -> None:
    channels = [(FakeChannel(), UnsentOutages(watcher.outages)) for _ in range(2)]
    senders = [
        AlertSender(channel, Pace(per_hour=9), may_send=lambda: True) for channel, _ in channels
    ]

    def rounds() -> None:
        for sender, (_, outages) in zip(senders, channels, strict=True):
            for _ in range(2):
                sender.round(outages)

    watcher.fail(seconds=40)
    rounds()
    watcher.answer(seconds=20)
    rounds()
    ((opened, _),) = [(each.id, each) for each in watcher.outages.kept()]
    for channel, _ in channels:
        assert channel.sent == [(opened, OPENED), (opened, CLOSED)]


def test_what_a_receiver_did_not_take_is_told_whole_later(watcher: Watcher) -> None:
    channel, outages = FakeChannel(), UnsentOutages(watcher.outages)
    channel.away = True
    watcher.fail(seconds=40)
    AlertSender(channel, Pace(per_hour=9), may_send=lambda: True).round(outages)
    watcher.answer(seconds=20)
    channel.away = False
    AlertSender(channel, Pace(per_hour=9), may_send=lambda: True).round(outages)
    assert [event for _, event in channel.sent] == [OPENED, CLOSED]
