"""A Kafka that does not answer is told, and nothing needs a restart when it answers again."""

import json
import re
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from devstack import product
from notify.domain.records.patch import SET, Patch
from notify.domain.records.update import Update
from tests.running import Running, running

#: So long is the bridge frozen: longer than what is a lag, so that a catch-up has one to work off.
FROZEN_S: Final = 20
#: Updates a second meanwhile: at most half of what makes an app hot, which a catch-up would pass.
SENT_PER_S: Final = 20

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def _said(run: Running) -> str:
    """What the watcher has told and not taken back, in one text."""
    return "\n".join(text for (text,) in run.rows("SELECT text FROM alert WHERE closed_at IS NULL"))


def test_a_kafka_that_hears_and_does_not_answer_is_told(
    postgres: str, redis_url: str, kafka: list[str], tmp_path: Path
) -> None:
    environ = {"NOTIFY_FIND_LAG_S": "2", "NOTIFY_ALERT_CLOSE_S": "1"}
    name = f"t{uuid.uuid4().hex[:10]}"
    with running(tmp_path / "stack", name, environ=environ, own=["KAFKA_BOOTSTRAP_SERVERS"]) as run:
        product.start_bridge(run.stack)
        product.start_worker(run.stack, "worker-1")
        product.start_watch(run.stack)
        run.wait_settled()
        run.produce([_update(run)])
        run.wait_applied(1)
        run.stack.kill("kafka", signal.SIGSTOP)
        try:
            run.wait("the silence is told", lambda: "Kafka has not answered" in _said(run))
        finally:
            run.stack.kill("kafka", signal.SIGCONT)
        run.wait("all is well again", lambda: "Kafka has not answered" not in _said(run))
        run.produce([_update(run)])
        run.wait_applied(2)


def test_a_kafka_that_is_away_under_requests_is_one_alert_with_what_web_refuses(
    postgres: str, redis_url: str, kafka: list[str], tmp_path: Path
) -> None:
    """Web notices first, then bridges; it is one cause, so one alert, which ends when Kafka is back."""
    environ = {
        "NOTIFY_ACK_TIMEOUT_MS": "500",
        "NOTIFY_FIND_UNAVAILABLE_S": "2",
        # So that web is first, on a busy machine too.
        "NOTIFY_FIND_LAG_S": "20",
        # A bridge that a busy machine starves for 6 s is another cause.
        "NOTIFY_STALLED_AFTER_MS": "60000",
        # Requests of a busy machine come with pauses.
        "NOTIFY_ALERT_CLOSE_S": "10",
    }
    name = f"t{uuid.uuid4().hex[:10]}"
    with running(tmp_path / "stack", name, environ=environ, own=["KAFKA_BOOTSTRAP_SERVERS"]) as run:
        web = product.start_web(run.stack)
        product.start_bridge(run.stack)
        product.start_worker(run.stack, "worker-1")
        product.start_watch(run.stack)
        run.wait_settled()
        run.wait("web takes updates", lambda: _put(run, web) == 200)
        open_ = "SELECT kind, text FROM alert WHERE closed_at IS NULL"
        run.stack.kill("kafka", signal.SIGSTOP)
        try:
            with _requests(run, web) as statuses:
                run.wait("it is told", lambda: bool(run.rows(open_)))
                ((kind, text),) = run.rows(open_)
                assert kind == "kafka_away"
                assert re.match(
                    r"Web has answered 503 to [\d,]+ requests? a second for \d+ s, ", text
                )
                run.wait(
                    "it says that bridges hear nothing either",
                    lambda: "Partitions 0-3 are unheard" in _said(run),
                )
            assert statuses == {503}
        finally:
            run.stack.kill("kafka", signal.SIGCONT)
        run.wait("web takes updates again", lambda: _put(run, web) == 200)
        run.wait("it is over", lambda: not run.rows(open_))
        assert run.rows("SELECT kind FROM alert") == [("kafka_away",)]


@contextmanager
def _requests(run: Running, web: str) -> Iterator[set[int]]:
    """What updates are answered that several clients send meanwhile.

    Several, so that more than one a second is refused on a busy machine too; with pauses, so that a fast
    machine does not reach the app's rate limit."""
    statuses: set[int] = set()
    ended = threading.Event()

    def client() -> None:
        while not ended.wait(0.05):
            statuses.add(_put(run, web))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _put(run: Running, web: str) -> int:
    """The status that an update gets."""
    body = json.dumps({"app_id": run.app.app_id, "tags": {"n": 1}}).encode()
    headers = {"Content-Type": "application/json"}
    request = Request(f"{web}/players/{uuid.uuid4()}", body, headers, method="PUT")
    try:
        with urlopen(request, timeout=180) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def test_a_frozen_bridge_is_one_alert_and_its_catch_up_none(
    postgres: str, redis_url: str, kafka: list[str], tmp_path: Path
) -> None:
    """N3, N5, N6, N7: the bridge hangs under updates; web says so at its first look; then it catches up."""
    environ = {
        # Longer than a busy machine starves a bridge, and than it takes to join its group again.
        "NOTIFY_STALLED_AFTER_MS": "10000",
        "NOTIFY_FIND_LAG_S": "15",
        "NOTIFY_ALERT_CLOSE_S": "10",
        "NOTIFY_FIND_APP_UPDATES_PER_S": str(2 * SENT_PER_S),
    }
    name = f"t{uuid.uuid4().hex[:10]}"
    with running(tmp_path / "stack", name, environ=environ) as run:
        product.start_bridge(run.stack)
        product.start_worker(run.stack, "worker-1")
        product.start_watch(run.stack)
        run.wait_settled()
        run.produce([_update(run)])
        run.wait_applied(1)
        started = run.rows("SELECT name FROM bridge_start")
        sampled = "SELECT count(DISTINCT stream) FROM stream_sample"
        run.wait("all partitions are sampled", lambda: run.rows(sampled) == [(4,)])
        run.stack.kill("bridge", signal.SIGSTOP)
        sent, open_ = 1, "SELECT text, path FROM alert WHERE closed_at IS NULL"
        frozen_s = "SELECT extract(epoch FROM clock_timestamp() - max(ticked_at))::int FROM stream"
        try:
            while run.rows(frozen_s)[0][0] < FROZEN_S:
                run.produce([_update(run, at=time.time_ns() // 1_000_000)])
                sent += 1
                time.sleep(1 / SENT_PER_S)
            run.wait("it is told", lambda: bool(run.rows(open_)))
            ((text, path),) = run.rows(open_)
            assert text.startswith("Partitions 0-3 are stalled: no bridge has been active for ")
            assert started[0][0] in text
            assert path == "/admin/#partitions"
            web = product.start_web(run.stack)
            run.wait("web lives", lambda: _is_live(web))
            stalled = [f"partition {n} is stalled" for n in range(4)]
            assert _pipeline(web) == (503, stalled)  # the first look of this process
        finally:
            run.stack.kill("bridge", signal.SIGCONT)
        run.wait_applied(sent)
        run.wait("all is well again", lambda: not run.rows(open_))
        run.wait("web says so too", lambda: _pipeline(web)[0] == 200)
        assert run.rows("SELECT kind FROM alert") == [("stalled",)]


def _is_live(url: str) -> bool:
    try:
        with urlopen(f"{url}/healthz/live", timeout=180) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _pipeline(url: str) -> tuple[int, list[str]]:
    """What web answers to /healthz/pipeline, and the partitions in trouble with their states."""
    try:
        with urlopen(f"{url}/healthz/pipeline", timeout=180) as answer:
            return answer.status, []
    except HTTPError as error:
        with error:
            return error.code, [each.split(":")[0] for each in json.load(error)["errors"]]


def _update(run: Running, at: int = 1_700_000_000_000) -> Update:
    patch = Patch(False, {"tags.n": (SET, 1)})
    return Update(run.app.app_id, str(uuid.uuid4()), at, "m", patch=patch)
