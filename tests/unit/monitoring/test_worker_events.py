"""What the watcher makes of workers' events, their answers and the depths of queues."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from notify.monitoring.snapshot import WorkerNow
from notify.monitoring.watch.alert_receivers import (
    MailServer,
    checked_emails,
    checked_url,
    mail_server,
)
from notify.monitoring.watch.queues import ANSWER_GOOD_S, Queues
from notify.monitoring.watch.watch_loop import state
from notify.monitoring.watch.worker_events import SETTLE_S, LastEvent, WorkerEvents


def beat(name: str, kind: str = "worker-heartbeat", **fields: int) -> dict[str, object]:
    return {"type": kind, "hostname": name, "active": 1, "processed": 4, **fields}


def test_the_last_word_of_each_worker() -> None:
    worker_events = WorkerEvents()
    worker_events.note(beat("a"), now_s=1)
    worker_events.note(beat("a", processed=6), now_s=2)
    worker_events.note(beat("b", "worker-offline"), now_s=3)
    worker_events.note({"type": "task-received", "hostname": "c"}, now_s=3)
    worker_events.note({"type": "worker-online", "hostname": "d"}, now_s=4)
    assert worker_events.last(now_s=5, forget_after_s=60) == {
        "a": LastEvent(2, 1, 6, offline=False),
        "b": LastEvent(3, 1, 4, offline=True),
        "d": LastEvent(4, 0, 0, offline=False),
    }
    assert set(worker_events.last(now_s=63, forget_after_s=60)) == {"d"}


def test_silence_says_something_only_after_a_while_of_listening() -> None:
    worker_events = WorkerEvents()
    assert not worker_events.is_sure(now_s=100)
    worker_events.opened(now_s=100)
    assert not worker_events.is_sure(now_s=100 + SETTLE_S - 1)
    worker_events.opened(
        now_s=104
    )  # the line was opened anew after it was silent: it was open all along
    assert worker_events.is_sure(now_s=100 + SETTLE_S)
    worker_events.closed()
    assert not worker_events.is_sure(now_s=200)


def test_readers_of_lanes_of_those_that_answered_lately() -> None:
    queues = Queues()
    queues.lanes = 2
    assert queues.readers(now_s=0) == [None, None]
    queues.answered({"a": [{"name": "lane.00"}, {"name": "other"}]}, now_s=0)
    queues.answered({"b": [{"name": "lane.00"}]}, now_s=5)
    assert queues.readers(now_s=6) == [2, 0]
    assert queues.readers(now_s=ANSWER_GOOD_S) == [1, 0]
    queues.answered({}, now_s=ANSWER_GOOD_S + 5)
    assert queues.readers(now_s=ANSWER_GOOD_S + 5) == [None, None]


def test_redis_is_away_since_the_first_failure() -> None:
    queues = Queues()
    queues.away(now_s=1)
    queues.away(now_s=2)
    assert queues.away_since_s == 1
    queues.seen({0: 3}, now_s=3)
    assert queues.away_since_s is None


@pytest.mark.parametrize(
    ("seen_ago_s", "idle_ago_s", "active", "offline", "expected"),
    [
        (1, 1, 1, False, "ok"),
        (1, 60, 0, False, "ok"),
        (1, 60, 1, False, "stalled"),
        (60, 1, 0, False, "stalled"),
        (60, 60, 1, True, "offline"),
    ],
)
def test_states(
    seen_ago_s: float, idle_ago_s: float, active: int, offline: bool, expected: str
) -> None:
    worker = WorkerNow("w", seen_ago_s, idle_ago_s, active, 1, offline)
    assert state(worker, 10) == expected


NONE = mail_server("")


def test_mail_servers() -> None:
    assert mail_server("smtp://relay") == MailServer("relay", 25, "", "", False, False)
    assert mail_server("smtps://relay:2465").port == 2465
    assert mail_server("smtp+starttls://me%40x:p%3Aw@relay") == MailServer(
        "relay", 587, "me@x", "p:w", True, False
    )
    assert mail_server("smtps://relay").use_ssl


@pytest.mark.parametrize(
    "url",
    ["relay:25", "http://u:hunter2@relay", "smtp://", "smtp://u:hunter2@relay:99999", "smtp://r/x",
     "http://relay:25"],
)  # fmt: skip
def test_what_is_no_mail_server_is_refused_without_saying_it(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"NOTIFY_EMAIL_URL: give smtp://") as refused:
        mail_server(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "hooks.example.com",
        "https://",
        "https://u:hunter2@x/",
        "http://[x/",
        "http://x y",
    ],
)
@pytest.mark.parametrize("name", ["NOTIFY_ALERT_WEBHOOK_URL", "NOTIFY_WATCH_HEARTBEAT_URL"])
def test_what_nothing_can_be_posted_to_is_refused(name: str, url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=name) as refused:
        checked_url(name, url)
    assert "hunter2" not in str(refused.value)
    assert checked_url(name, "") == ""
    assert checked_url(name, "https://hooks.example.com/a?b=c")


def test_addresses() -> None:
    server = mail_server("smtp://relay")
    assert checked_emails(["a@example.com"], server) == ["a@example.com"]
    assert checked_emails([], NONE) == []
    with pytest.raises(ImproperlyConfigured, match="NOTIFY_EMAIL_URL is not"):
        checked_emails(["a@example.com"], NONE)
    with pytest.raises(ImproperlyConfigured, match="give e-mail addresses"):
        checked_emails(["a@example.com\nBcc: b"], server)
