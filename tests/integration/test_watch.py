"""The watcher as a process, on real services: which one leads, what it samples, finds and sends."""

import email
import email.policy
import hashlib
import hmac
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack import product
from notify.domain.records.update import Update
from tests.receivers import Hook, Post, mail_server, webhook
from tests.running import Running, running

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
SECRET = "a key of both"
ENVIRON = {
    "NOTIFY_ADMIN_URL": "https://notify.example.com",
    "NOTIFY_ALERT_WEBHOOK_SECRET": SECRET,
    "NOTIFY_ALERT_EMAILS": "night@example.com, day@example.com",
    "NOTIFY_ALERT_CLOSE_S": "2",
    "NOTIFY_STALLED_AFTER_MS": "5000",
    "NOTIFY_START_GRACE_S": "5",
    # No cause of its own on a busy machine, where a worker that was stopped is told late.
    "NOTIFY_FIND_LAG_S": "600",
}


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Fails first, in the ways that receivers do."""
    with webhook(500, 302) as hook:
        yield hook


@pytest.fixture
def post() -> Iterator[Post]:
    with mail_server() as post:
        yield post


@pytest.fixture
def run(
    tmp_path: Path, namespace: str, kafka: list[str], redis_url: str, postgres: str,
    hook: Hook, post: Post,
) -> Iterator[Running]:  # fmt: skip
    environ = ENVIRON | {
        "NOTIFY_ALERT_WEBHOOK_URL": hook.url,
        "NOTIFY_EMAIL_URL": f"smtp://127.0.0.1:{post.port}",
    }
    with running(tmp_path, namespace, environ=environ) as run:
        yield run


def alerts(run: Running, kind: str) -> list[dict[str, Any]]:
    names = ("id", "level", "text", "path", "closed_at", "posted_at", "mailed_at", "tries", "error")
    rows = run.rows(
        "SELECT id, level, text, path, closed_at, posted_at, mailed_at, tries, error FROM alert "
        "WHERE kind = %s ORDER BY id",
        kind,
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


#: Fewer in the ten seconds of a sample than make an app a hot one (NOTIFY_FIND_UPDATES_PER_S).
LATE = 100


def updates(run: Running, n: int) -> list[Update]:
    now_ms = time.time_ns() // 1_000_000
    return [Update(run.app.app_id, str(uuid.uuid4()), now_ms, "m") for _ in range(n)]


def test_a_worker_that_hangs_is_found_told_and_over(run: Running, hook: Hook, post: Post) -> None:
    product.start_bridge(run.stack)
    product.start_worker(run.stack, "worker-1")
    product.start_watch(run.stack)
    run.wait_settled()
    workers = "SELECT split_part(name, '@', 1), offline FROM worker_sample"
    run.wait("the worker is heard", lambda: run.rows(workers) == [("worker-1", False)])
    queues = "SELECT count(*), sum(workers), sum(tasks) FROM queue_sample"
    run.wait("queues are seen and read", lambda: run.rows(queues) == [(8, 8, 0)])

    run.stack.kill("worker-1", signal.SIGSTOP)
    run.produce(updates(run, LATE))
    waiting = "SELECT count(*) FROM queue_sample WHERE tasks > 0"
    run.wait("tasks wait in the queues", lambda: run.rows(waiting)[0][0] > 0)
    run.wait("it is sent", lambda: bool(hook.events("no_workers")))
    run.wait("and mailed", lambda: any("worker-1" in mail for mail in post.mails))
    event, sent = hook.events("no_workers")[0]
    (alert,) = alerts(run, "no_workers")
    assert (event, sent["id"], sent["level"]) == ("opened", alert["id"], "bad")
    assert sent["url"] == "https://notify.example.com/admin/#workers"
    assert "worker-1" in sent["text"]
    assert "celery -A notify worker" in sent["cure"]
    assert hook.refused == 2  # 500, then a redirect, which would lose the body
    body, headers = hook.bodies[0], hook.headers[0]
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-notify-signature"] == f"sha256={signature}"
    assert headers["content-type"] == "application/json"
    mail = next(each for each in post.mails if "worker-1" in each)
    text = email.message_from_string(mail, policy=email.policy.default)
    assert text["To"] == "night@example.com, day@example.com"
    assert text["From"] == "notify@localhost"
    assert text["Subject"].startswith("[notify bad] No worker applies updates")
    assert "https://notify.example.com/admin/#workers" in text.get_content()

    run.stack.kill("worker-1", signal.SIGCONT)
    run.wait_applied(LATE)
    run.wait("it is over", lambda: bool(alerts(run, "no_workers")[0]["closed_at"]))
    run.wait("that is sent", lambda: hook.events("no_workers")[-1][0] == "closed")
    assert hook.events("no_workers")[-1][1]["id"] == alert["id"]
    run.wait("and mailed", lambda: any("[notify resolved]" in each for each in post.mails))
    (alert,) = alerts(run, "no_workers")
    assert alert["error"] == ""
    # One cause, one alert. A bridge that a busy machine starves for 5 s is another cause.
    assert run.rows("SELECT kind FROM alert WHERE kind <> 'stalled'") == [("no_workers",)]
    logged = [
        (each["event"], each["level"])
        for each in run.events("finding_opened", "finding_closed")
        if each["kind"] == "no_workers"
    ]
    assert logged == [("finding_opened", "error"), ("finding_closed", "info")]
    told_twice = [event for event, _ in hook.events("no_workers")]
    assert told_twice == ["opened", "closed"]


def test_one_acts_and_another_follows(run: Running) -> None:
    """No bridge runs, so there is something to find; nobody opens it twice."""
    run.rows("UPDATE stream SET ticked_at = now() RETURNING 1")
    for name in ("watch-1", "watch-2"):
        product.start_watch(run.stack, name)
    leader = "SELECT name FROM watcher WHERE at > clock_timestamp() - interval '3 seconds'"
    run.wait("one leads", lambda: bool(run.rows(leader)))
    run.wait("both run", lambda: len(run.events("watch_started")) == 2)
    ((first,),) = run.rows("SELECT name FROM watcher")
    pids = {name: run.stack.child(name).identity.pid for name in ("watch-1", "watch-2")}
    acting = next(name for name, pid in pids.items() if first.endswith(f":{pid}"))
    other = next(name for name in pids if name != acting)
    run.wait("stalled bridges are found", lambda: len(alerts(run, "stalled")) == 1)

    run.stack.kill(acting, signal.SIGSTOP)
    run.wait("the other leads", lambda: run.rows(leader)[:1] not in ([], [(first,)]))
    run.stack.kill(acting, signal.SIGCONT)
    run.wait("the first notices", lambda: bool(run.events("watch_lost_leadership")))
    ((second,),) = run.rows("SELECT name FROM watcher")
    assert second.endswith(f":{pids[other]}")

    run.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'notify watch%%' AND datname = current_database()"
    )
    run.wait("one leads again", lambda: len(run.events("watch_became_leader")) >= 3)
    run.wait("and says so", lambda: bool(run.rows(leader)))
    assert len(alerts(run, "stalled")) == 1
    assert run.stack.ended() == []
    for name in pids:
        run.stack.kill(name, signal.SIGTERM)
    run.wait("both end", lambda: set(run.stack.ended()) == set(pids))
    assert len(run.events("watch_stopped")) == 2


def test_without_redis_it_goes_on_and_says_so(
    tmp_path: Path, namespace: str, kafka: list[str], redis_url: str, postgres: str
) -> None:
    """Redis that hangs: it takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        port = hanging.getsockname()[1]
        with running(tmp_path, namespace, environ={"NOTIFY_STALLED_AFTER_MS": "2000"}) as run:
            product.start_watch(run.stack, env={"REDIS_URL": f"redis://127.0.0.1:{port}/0"})
            run.wait("it is found", lambda: bool(alerts(run, "redis_away")))
            assert alerts(run, "worker_stalled") == alerts(run, "no_workers") == []
            run.stack.kill("watch", signal.SIGTERM)
            run.wait("it ends all the same", lambda: run.stack.ended() == ["watch"])


def test_a_receiver_that_hangs_delays_no_other(
    tmp_path: Path, namespace: str, kafka: list[str], redis_url: str, postgres: str, post: Post
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        environ = ENVIRON | {
            "NOTIFY_ALERT_WEBHOOK_URL": f"http://127.0.0.1:{hanging.getsockname()[1]}/",
            "NOTIFY_EMAIL_URL": f"smtp://127.0.0.1:{post.port}",
            "NOTIFY_ALERT_TIMEOUT_S": "1",
            "NOTIFY_ALERTS_PER_HOUR": "3",
            "NOTIFY_START_GRACE_S": "1",
        }
        with running(tmp_path, namespace, environ=environ) as run:
            for partition in range(4):
                reason = f"reason {partition}"
                run.rows(
                    "UPDATE stream SET halted = %s WHERE partition = %s RETURNING 1",
                    reason,
                    partition,
                )
            product.start_watch(run.stack)
            run.wait("four are found", lambda: len(alerts(run, "halted")) == 4)
            run.wait("three are mailed", lambda: len(post.mails) == 3)
            run.wait("the rest is summed up", lambda: bool(run.events("alerts_muted")))
            run.wait("the hook is tried", lambda: bool(run.events("alert_not_sent")))
            assert all(each["posted_at"] is None for each in alerts(run, "halted"))
            assert len(post.mails) == 3
            checked = "SELECT at FROM watcher"
            before = run.rows(checked)
            run.wait("it goes on checking", lambda: run.rows(checked) != before)
