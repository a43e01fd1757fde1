"""The Celery app: `celery -A notify worker` serves every lane, `-Q lane.07` one of them.

Redis may lose, repeat and reorder tasks: nothing here tries to stop it, since the
lane check in the worker's statement makes all of it harmless.
"""

import os
import socket
import sys
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

import billiard.pool
from celery import Celery
from celery.signals import (
    import_modules,
    setup_logging,
    task_received,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
)
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify.settings")

from django.conf import settings

from notify.domain.engine.lanes import LANES_MAX, queue_of
from notify.security import required_secrets
from notify.telemetry import logs, metrics
from notify.telemetry.probes import CannotListen
from notify.telemetry.unfinished_tasks import UnfinishedTasks

#: Task names: the bridge sends by name and never imports the workers.
APPLY: Final = "workers.apply"
ISOLATE: Final = "workers.isolate"

#: Seconds that anyone waits for an answer of Redis, whatever the connection says; a worker that waits for
#: tasks one second more.
REDIS_DEADLINE_S: Final = 5
#: In seconds and milliseconds: a Redis whose host is gone without a word is given up after about 10 s.
#: Without these the kernel waits for hours, and a worker with it. Not every system has all of them.
_KEEPALIVE: Final = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 10_000,
}
#: Seconds that a child that ends waits until its parent has read the results of its last tasks.
LAST_RESULTS_S: Final = 1
LANES: Final = Exchange("lanes", type="direct")


def verified(url: str) -> str:
    """The URL, with Redis's certificate checked unless it says itself what to check.

    kombu alone takes any certificate of a `rediss://` URL that says nothing.
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parse_qs(parts.query):
        return url
    query = "&".join(filter(None, (parts.query, "ssl_cert_reqs=required")))
    return urlunsplit(parts._replace(query=query))


app = Celery("notify")
app.conf.update(
    broker_url=verified(settings.REDIS_URL),
    broker_transport_options={
        "global_keyprefix": f"{settings.NOTIFY_NAMESPACE}.",
        "priority_steps": [0],
        "queue_order_strategy": "round_robin",
        # Redis keeps no task that a worker has taken: the bridge sends again what has not landed. An ack that
        # failed there left a worker that took no further task.
        "ack_emulation": False,
        # A worker's wait for tasks has no socket timeout: kombu looks every `health_check_interval` whether
        # Redis is that late with an answer.
        "socket_timeout": REDIS_DEADLINE_S,
        "health_check_interval": REDIS_DEADLINE_S // 2,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "socket_keepalive_options": {
            getattr(socket, name): value
            for name, value in _KEEPALIVE.items()
            if hasattr(socket, name)
        },
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A Redis that is full (OOM) refuses writes: without this, workers end at the first refusal.
    broker_channel_error_retry=True,
    task_queues=[
        Queue(queue_of(lane), LANES, routing_key=queue_of(lane)) for lane in range(LANES_MAX)
    ],
    task_default_queue=queue_of(0),
    task_default_exchange=LANES.name,
    task_default_routing_key=queue_of(0),
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=False,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    worker_consumer="workers.consumer:BatchedEventsConsumer",
    worker_hijack_root_logger=False,
    timezone="UTC",
)
app.autodiscover_tasks()


@setup_logging.connect
def _configure_logging(**kwargs: Any) -> None:
    """Lets Celery's own log lines have our schema."""
    logs.configure("worker")


@import_modules.connect
def _refuse_development(**kwargs: Any) -> None:
    """Worker and Flower import what they run once they are to start. Celery only logs what a receiver of
    a signal raises, but for SystemExit."""
    for process in ("worker", "flower"):
        if process in sys.argv and (problem := required_secrets.problem(process)):
            raise SystemExit(problem)


@worker_init.connect
def _serve_metrics(**kwargs: Any) -> None:
    """Serves metrics and health in the worker's parent process, for all its children.

    A worker that cannot serve them does not start: nobody would notice that it makes no progress.
    """
    if not settings.NOTIFY_METRICS_PORT:
        return
    tasks = UnfinishedTasks(after_s=settings.NOTIFY_PROGRESS_AFTER_MS / 1000)

    def note(request: Any, **kwargs: Any) -> None:
        tasks.note(request)

    task_received.connect(note, weak=False)
    try:
        metrics.serve(
            settings.NOTIFY_METRICS_PORT,
            host=settings.NOTIFY_METRICS_HOST,
            process="worker",
            problem=tasks.problem,
            refresh=lambda: metrics.WORKER_BUSY_SINCE.set(tasks.oldest() or 0),
        )
    except CannotListen as error:
        raise SystemExit(str(error)) from None


@worker_process_init.connect
def _count_child(**kwargs: Any) -> None:
    """Counts a new child process."""
    metrics.WORKER_PROCESSES.set(1)


@worker_process_init.connect
def _stop_waiting_for_parent(**kwargs: Any) -> None:
    """A child that ends waits LAST_RESULTS_S until its parent has read its results, not billiard's 30 s.

    At SIGTERM, Celery's parent drops a task whose start it has not heard of and stops reading results.
    The child finishes that task, and its parent never counts it. Nothing needs the result: the bridge
    reads in PostgreSQL what was applied.
    """
    interval_s = billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = round(LAST_RESULTS_S / interval_s)


@worker_process_shutdown.connect
def _forget_child(pid: int, **kwargs: Any) -> None:
    """Removes the gauges of a child that ended; its counters stay."""
    metrics.forget_process(pid)
