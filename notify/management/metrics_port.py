"""The option --metrics-port, and what it serves, of the commands that run until a signal."""

from argparse import ArgumentParser

from django.conf import settings
from django.core.management.base import CommandError

from notify.telemetry import metrics
from notify.telemetry.probes import CannotListen, Progress


def add_argument(parser: ArgumentParser) -> None:
    """Adds the option; its default is the setting NOTIFY_METRICS_PORT."""
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=settings.NOTIFY_METRICS_PORT,
        help="serve /metrics and /healthz on this port; 0 is off (default: NOTIFY_METRICS_PORT)",
    )


def serve(port: int, *, process: str, progress: Progress) -> None:
    """Serves /metrics and /healthz of the process, unless `port` is 0. Raises CommandError if the port
    cannot be bound."""
    if not port:
        return
    try:
        metrics.serve(
            port, host=settings.NOTIFY_METRICS_HOST, process=process, problem=progress.problem
        )
    except CannotListen as error:
        raise CommandError(str(error)) from None
