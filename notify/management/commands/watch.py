"""`manage.py watch`: wires the watcher to PostgreSQL, Redis and those it tells; runs until told to stop."""

import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from notify import logs, metrics, postgres, replays, required_secrets
from notify.celery import app as celery_app
from notify.probes import Progress
from notify.watch import ways
from notify.watch.ears import Ears, listen
from notify.watch.heartbeat import Heartbeat
from notify.watch.looks import Looks, name
from notify.watch.orders import carry_out
from notify.watch.outages import Outages, UntoldOutages
from notify.watch.pace import Pace
from notify.watch.queues import Queues, ask, measure
from notify.watch.tell import Teller

#: What a look in progress may take to end; a thread that hangs in a socket is not waited for longer.
END_S: Final = 1.0


class Command(BaseCommand):
    """Runs a watcher. Any number may run; one is the leader, the others stand by.

    While PostgreSQL, Redis or receivers do not answer, it waits. SIGTERM and SIGINT end it with exit code
    0. Without a secret that it needs it does not start: exit code 1.
    """

    help = (
        "Check the system every second: measure queues and workers, open alerts for problems, and send "
        "them by webhook and e-mail. Any number may run; one of them is active. SIGTERM stops it within "
        "2 s."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The port of /metrics and /healthz."""
        parser.add_argument(
            "--metrics-port",
            type=int,
            default=settings.NOTIFY_METRICS_PORT,
            help="serve /metrics and /healthz on this port; 0 is off (default: NOTIFY_METRICS_PORT)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT."""
        if problem := required_secrets.problem("watch"):
            raise CommandError(problem)
        logs.configure("watch")
        postgres.limit_django()
        stopped = _on_signals()
        progress = Progress("the look", after_s=settings.NOTIFY_PROGRESS_AFTER_MS / 1000)
        if options["metrics_port"]:
            metrics.serve(options["metrics_port"], process="watch", problem=progress.problem)
        ears, queues = Ears(), Queues()
        outages = Outages(
            name(),
            after_s=settings.NOTIFY_FIND_POSTGRES_S,
            close_after_s=settings.NOTIFY_ALERT_CLOSE_S,
        )
        looks = Looks(ears, queues, progress, outages)
        logs.get().info("watch_started")
        looking = _thread("look", lambda: looks.run(stopped))
        _thread("listen", lambda: listen(celery_app, ears, stopped))
        _thread("measure", lambda: measure(celery_app, queues, stopped))
        _thread("ask", lambda: ask(celery_app, queues, stopped))
        for way in ways.of_settings():
            _thread(way.name, _rows_teller(way, looks, stopped))
            _thread(f"{way.name}-outages", _outages_teller(way, outages, stopped))
        if settings.NOTIFY_WATCH_HEARTBEAT_URL:
            heartbeat = Heartbeat(
                settings.NOTIFY_WATCH_HEARTBEAT_URL,
                lambda: looks.looked_at_s,
                every_s=settings.NOTIFY_WATCH_HEARTBEAT_S,
                timeout_s=settings.NOTIFY_ALERT_TIMEOUT_S,
            )
            _thread("heartbeat", lambda: heartbeat.run(stopped))
        _thread("replay", lambda: carry_out(replays.step, looks.acts, stopped))
        stopped.wait()
        looking.join(END_S)
        logs.get().info("watch_stopped")


def _rows_teller(way: ways.Way, looks: Looks, stopped: threading.Event) -> Callable[[], None]:
    teller = Teller(way, _pace(), acts=looks.acts.is_set)
    return lambda: teller.run_rows(stopped, hours=settings.NOTIFY_ALERT_HOURS)


def _outages_teller(
    way: ways.Way, outages: Outages, stopped: threading.Event
) -> Callable[[], None]:
    """With a pace of its own: alerts of an incident before must not mute the outage."""
    teller = Teller(way, _pace(), acts=lambda: True)
    return lambda: teller.run(UntoldOutages(outages), stopped)


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
