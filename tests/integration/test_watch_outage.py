"""Without PostgreSQL the watcher reports that it is away, and its heartbeat stops."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from devstack import product
from devstack.stack import Stack
from tests.qa.faults.wire import Wire
from tests.receivers import Hook, Post, mail_server, webhook
from tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
KIND = "postgres_away"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as hook:
        yield hook


@pytest.fixture
def beats() -> Iterator[Hook]:
    with webhook() as hook:
        yield hook


@pytest.fixture
def post() -> Iterator[Post]:
    with mail_server() as post:
        yield post


@pytest.fixture
def stack(
    redis_url: str, kafka: list[str], namespace: str, hook: Hook, beats: Hook, post: Post
) -> Iterator[Stack]:
    """With a PostgreSQL of its own, which the test may stop."""
    directory = Path(tempfile.mkdtemp(prefix="notify-outage-"))
    directory.chmod(0o711)
    environ = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"} | {
        "NOTIFY_NAMESPACE": namespace,
        # A PostgreSQL that a busy machine starves for a moment is not away.
        "NOTIFY_FIND_POSTGRES_S": "6",
        "NOTIFY_ALERT_CLOSE_S": "1",
        "NOTIFY_ALERT_WEBHOOK_URL": hook.url,
        "NOTIFY_ALERT_EMAILS": "night@example.com",
        "NOTIFY_EMAIL_URL": f"smtp://127.0.0.1:{post.port}",
        "NOTIFY_WATCH_HEARTBEAT_URL": beats.url,
        "NOTIFY_WATCH_HEARTBEAT_S": "1",
        "DJANGO_SETTINGS_MODULE": "notify.settings",
    }
    with Stack(directory, environ=environ, say=lambda line: None) as stack:
        stack.remove_at_end()
        product.configure(stack)
        stack.start_services()
        product.manage(stack, "migrate", "--no-input", "--verbosity=0")
        words, passwords = product.grant_logins(stack)
        product.manage(stack, *words, env=passwords)
        yield stack


def wait(stack: Stack, what: str, holds: Callable[[], bool]) -> None:
    """Fails with the watchers' logs."""
    try:
        wait_for(holds)
    except AssertionError:
        logs = {path.stem: stack.tail(path.stem, 6) for path in stack.log("x").parent.iterdir()}
        raise AssertionError(f"not in time: {what}; {logs}") from None


def sent(hook: Hook, event: str) -> int:
    return [each for each, _ in hook.events(KIND)].count(event)


def test_a_postgresql_that_is_stopped_is_told_by_every_watcher_and_so_is_its_end(
    stack: Stack, hook: Hook, beats: Hook, post: Post
) -> None:
    for name in ("watch-1", "watch-2"):
        product.start_watch(stack, name)
    wait(stack, "the one that acts beats", lambda: len(beats.bodies) >= 2)
    stack.kill("postgres", signal.SIGINT)
    wait(stack, "PostgreSQL is stopped", lambda: "postgres" in stack.ended())
    product.start_watch(stack, "watch-late")
    wait(stack, "all three send", lambda: sent(hook, "opened") == 3)
    wait(stack, "and mail", lambda: len(post.mails) == 3)
    before = len(beats.bodies)
    alerts = [alert for _, alert in hook.events(KIND)]
    assert {alert["key"] for alert in alerts} == {KIND}
    assert {alert["level"] for alert in alerts} == {"bad"}
    assert all(alert["id"] < 0 for alert in alerts)
    assert "DATABASE_URL" in alerts[0]["cure"]
    assert "PostgreSQL has not answered the watcher " in alerts[0]["text"]
    assert len(beats.bodies) == before

    stack.restart("postgres")
    wait(stack, "its end is sent", lambda: sent(hook, "closed") == 3)
    assert sent(hook, "opened") == 3
    ids = [alert["id"] for event, alert in hook.events(KIND) if event == "closed"]
    assert sorted(ids) == sorted(alert["id"] for alert in alerts)
    wait(stack, "it beats again", lambda: len(beats.bodies) > before)
    assert stack.ended() == []


def test_a_connection_that_is_dead_and_stays_open_is_told_after_the_deadline(
    stack: Stack, hook: Hook
) -> None:
    """Nothing is refused and nothing is closed: only the client's own deadline ends the wait."""
    url = urlsplit(stack.env["DATABASE_URL"])
    with closing(Wire(url.port or 0)) as wire:
        through = url._replace(netloc=url.netloc.replace(f":{url.port}", f":{wire.port}"))
        environ = {"DATABASE_URL": urlunsplit(through), "NOTIFY_POSTGRES_DEADLINE_MS": "4000"}
        product.start_watch(stack, env=environ)
        wait(
            stack,
            "it is the leader",
            lambda: '"watch_became_leader"' in stack.log("watch").read_text(),
        )
        wire.cut()
        wait(stack, "it is sent", lambda: sent(hook, "opened") == 1)
        wire.heal()
        wait(stack, "its end too", lambda: sent(hook, "closed") == 1)
