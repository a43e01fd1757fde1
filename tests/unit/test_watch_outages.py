"""When an outage of PostgreSQL opens, when it closes, and what is told of it without PostgreSQL."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from notify.watch.message import CLOSED, OPENED, Due, Event
from notify.watch.outages import KEPT, Outages, UntoldOutages
from notify.watch.pace import Pace
from notify.watch.tell import Teller
from notify.watch.ways import NotTold

BEGAN = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
REFUSED = psycopg.OperationalError("connection to 10.0.0.1 failed: refused\n\tIs it running?")


class Clock:
    """Both clocks of the watcher, moved by the test."""

    def __init__(self) -> None:
        self.s = 100.0

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.s)


class Watcher:
    """The look's side: `fail` and `answer` are looks that take no time, `hang` is one that takes long."""

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


class Say:
    """A way that notes what it is told, and fails while `away`."""

    name, due, done = "webhook", "", ""

    def __init__(self) -> None:
        self.told: list[tuple[int, Event]] = []
        self.away = False

    def tell(self, alert: Due, event: Event) -> None:
        if self.away:
            raise NotTold("it answered 500")
        self.told.append((alert.id, event))


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
    (due,) = UntoldOutages(watcher.outages).due()
    assert (due.key, due.kind, due.level) == ("postgres_away", "postgres_away", "bad")


def test_a_look_that_hung_counts_from_its_beginning_and_once_is_not_enough(
    watcher: Watcher,
) -> None:
    """A watcher that was frozen wakes up in such a look too, and PostgreSQL has ended its session."""
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


def test_each_way_is_told_once_opened_and_once_closed(watcher: Watcher) -> None:
    ways = [(Say(), UntoldOutages(watcher.outages)) for _ in range(2)]
    tellers = [Teller(say, Pace(per_hour=9), acts=lambda: True) for say, _ in ways]

    def rounds() -> None:
        for teller, (_, outages) in zip(tellers, ways, strict=True):
            for _ in range(2):
                teller.round(outages)

    watcher.fail(seconds=40)
    rounds()
    watcher.answer(seconds=20)
    rounds()
    ((opened, _),) = [(each.id, each) for each in watcher.outages.kept()]
    for say, _ in ways:
        assert say.told == [(opened, OPENED), (opened, CLOSED)]


def test_what_a_receiver_did_not_take_is_told_whole_later(watcher: Watcher) -> None:
    say, outages = Say(), UntoldOutages(watcher.outages)
    say.away = True
    watcher.fail(seconds=40)
    Teller(say, Pace(per_hour=9), acts=lambda: True).round(outages)
    watcher.answer(seconds=20)
    say.away = False
    Teller(say, Pace(per_hour=9), acts=lambda: True).round(outages)
    assert [event for _, event in say.told] == [OPENED, CLOSED]
