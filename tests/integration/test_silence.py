"""A Kafka that does not answer is told, and nothing needs a restart when it answers again."""

import signal
import uuid
from pathlib import Path

import pytest

from devstack import product
from notify.domain.patch import SET, Patch
from notify.domain.update import Update
from tests.running import Running, running

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


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


def _update(run: Running) -> Update:
    patch = Patch(False, {"tags.n": (SET, 1)})
    return Update(run.app.app_id, str(uuid.uuid4()), 1_700_000_000_000, "m", patch=patch)
