"""`manage.py watch`: connects the watcher to PostgreSQL, Redis and receivers of alerts, until a signal."""

import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from notify.celery import app as celery_app
from notify.databases import postgres
from notify.management import metrics_port
from notify.monitoring.watch.alert_channels import AlertChannel, of_settings
from notify.monitoring.watch.alert_sender import AlertSender
from notify.monitoring.watch.heartbeat import Heartbeat
from notify.monitoring.watch.orders import carry_out
from notify.monitoring.watch.outages import Outages, UnsentOutages
from notify.monitoring.watch.pace import Pace
from notify.monitoring.watch.queues import Queues, ask, measure
from notify.monitoring.watch.watch_loop import WatchLoop, name
from notify.monitoring.watch.worker_events import WorkerEvents, listen
from notify.operations import replays
from notify.security import required_secrets
from notify.telemetry import logs
from notify.telemetry.probes import Progress

#: How long a check in progress may take to end. A thread that hangs in a socket is not waited for.
END_S: Final = 1.0


class Command(BaseCommand):
    """Runs a watcher. Any number may run; one is the leader, the others stand by.

    While PostgreSQL, Redis or receivers do not answer, it waits. SIGTERM and SIGINT end it with exit code
    0. Without a secret that it needs, or with a port that it cannot bind, it does not start: exit code 1.
    """

    help = (
        "Check the system every second: measure queues and workers, open alerts for problems, and send "
        "them by webhook and e-mail. Any number may run; one of them is active. SIGTERM stops it within "
        "2 s."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The port of /metrics and /healthz."""
        metrics_port.add_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT."""
        if problem := required_secrets.problem("watch"):
            raise CommandError(problem)
        logs.configure("watch")
        postgres.limit_django()
        stopped = _on_signals()
        progress = Progress("the watcher's loop", after_s=settings.NOTIFY_PROGRESS_AFTER_MS / 1000)
        metrics_port.serve(options["metrics_port"], process="watch", progress=progress)
        worker_events, queues = WorkerEvents(), Queues()
        outages = Outages(
            name(),
            after_s=settings.NOTIFY_FIND_POSTGRES_S,
            close_after_s=settings.NOTIFY_ALERT_CLOSE_S,
        )
        loop = WatchLoop(worker_events, queues, progress, outages)
        logs.get().info("watch_started")
        checking = _thread("check", lambda: loop.run(stopped))
        _thread("listen", lambda: listen(celery_app, worker_events, stopped))
        _thread("measure", lambda: measure(celery_app, queues, stopped))
        _thread("ask", lambda: ask(celery_app, queues, stopped))
        for channel in of_settings():
            _thread(channel.name, _rows_sender(channel, loop, stopped))
            _thread(f"{channel.name}-outages", _outages_sender(channel, outages, stopped))
        if settings.NOTIFY_WATCH_HEARTBEAT_URL:
            heartbeat = Heartbeat(
                settings.NOTIFY_WATCH_HEARTBEAT_URL,
                lambda: loop.checked_at_s,
                every_s=settings.NOTIFY_WATCH_HEARTBEAT_S,
                timeout_s=settings.NOTIFY_ALERT_TIMEOUT_S,
            )
            _thread("heartbeat", lambda: heartbeat.run(stopped))
        _thread("replay", lambda: carry_out(replays.step, loop.is_leader, stopped))
        stopped.wait()
        checking.join(END_S)
        logs.get().info("watch_stopped")


def _rows_sender(
    channel: AlertChannel, loop: WatchLoop, stopped: threading.Event
) -> Callable[[], None]:
    sender = AlertSender(channel, _pace(), may_send=loop.is_leader.is_set)
    return lambda: sender.run_rows(stopped, hours=settings.NOTIFY_ALERT_HOURS)


def _outages_sender(
    channel: AlertChannel, outages: Outages, stopped: threading.Event
) -> Callable[[], None]:
    """With a pace of its own: alerts of an incident before must not mute the outage."""
    sender = AlertSender(channel, _pace(), may_send=lambda: True)
    return lambda: sender.run(UnsentOutages(outages), stopped)


def _pace() -> Pace:
    return Pace(per_hour=settings.NOTIFY_ALERTS_PER_HOUR)


def _thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """A thread that does not keep the process alive: PostgreSQL or Redis may hang in it."""
    thread = threading.Thread(target=target, name=f"watch-{name}", daemon=True)
    thread.start()
    return thread


def _on_signals() -> threading.Event:
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopped
