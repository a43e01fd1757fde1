"""`manage.py bridge`: connects the bridge to Kafka, PostgreSQL and Redis and runs it until a signal."""

import gc
import secrets
import signal
import time
from argparse import ArgumentParser
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

from ingest import tracing
from ingest.bridge import Bridge
from ingest.bridge_limits import BridgeLimits
from ingest.consumer import KafkaLog, TopicFacts
from ingest.dispatch import CeleryDispatcher
from ingest.ledger import PostgresLedger
from ingest.log_ends import LogEnds, TopicEnds
from ingest.ports import LedgerAway, LogAway
from ingest.tracing import Ticks
from notify.celery import app as celery_app
from notify.databases import postgres
from notify.management import metrics_port
from notify.models import Topic
from notify.security import required_secrets
from notify.telemetry import logs, metrics
from notify.telemetry.probes import Progress

#: The shortest time of a round unless a whole chunk waits, so that ticks are few and each has some work.
ROUND_MS: Final = 10
POLL_MS: Final = 20
#: Time between two tries to reach PostgreSQL or Kafka at the start.
RETRY_MS: Final = 1_000
#: The window has hundreds of thousands of small objects without cycles. With Python's default of 700 the
#: garbage collector takes a third of the bridge's time to scan them, with 50,000 a tenth.
GC_THRESHOLD: Final = (500_000, 20, 20)


Result = TypeVar("Result")


class SystemClock:
    """The system's monotonic clock and randomness."""

    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def token(self) -> int:
        return secrets.randbelow(2**63 - 1) + 1


class Command(BaseCommand):
    """Runs a bridge. While PostgreSQL or Kafka does not answer, it waits.

    Exit codes: 0 it was told to stop; 1 a system check fails, a secret is missing, or its port cannot be
    bound; 2 the topic is missing. The message says what to do.
    """

    help = (
        "Run one bridge: read updates from Kafka, decide them, and send them to workers. Any number may "
        "run. SIGTERM stops it: it waits for batches in flight, then leaves the consumer group."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The port of /metrics and /healthz."""
        metrics_port.add_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT."""
        if problem := required_secrets.problem("bridge"):
            raise CommandError(problem)
        logs.configure("bridge")
        postgres.limit_django()
        stopped = _on_signals()
        progress = Progress("the loop", after_s=settings.NOTIFY_PROGRESS_AFTER_MS / 1000)
        metrics_port.serve(options["metrics_port"], process="bridge", progress=progress)
        if not _retried(_has_topic, stopped):
            if stopped:
                return
            raise CommandError(
                f"no active topic {settings.NOTIFY_TOPIC}: run `manage.py topic create` first",
                returncode=2,
            )
        topic_facts = TopicFacts(settings.KAFKA_BOOTSTRAP_SERVERS, settings.NOTIFY_TOPIC)
        ticks = tracing.of_settings()
        log = _retried(lambda: _log(topic_facts, ticks), stopped)
        if log is None:
            return
        limits = _limits()
        dispatcher = CeleryDispatcher(celery_app, dead_letters_max=limits.dead_letters_max)
        ledger = PostgresLedger(ticks)
        _retried(ledger.note_start, stopped)
        bridge = Bridge(log, ledger, dispatcher, SystemClock(), limits)
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        logs.get().info("bridge_started")
        try:
            _run(bridge, stopped, progress)
        finally:
            log.close()
            ledger.close()
            topic_facts.close()
        logs.get().info("bridge_stopped", in_flight=bridge.in_flight)


def _has_topic() -> bool:
    return Topic.objects.filter(active=True, name=settings.NOTIFY_TOPIC).exists()


def _log(facts: TopicFacts, ticks: Ticks | None) -> KafkaLog:
    ends = TopicEnds(settings.KAFKA_BOOTSTRAP_SERVERS, settings.NOTIFY_TOPIC)
    return KafkaLog(
        servers=settings.KAFKA_BOOTSTRAP_SERVERS,
        topic=settings.NOTIFY_TOPIC,
        group=settings.NOTIFY_GROUP,
        facts=facts,
        ends=LogEnds(ends),
        session_timeout_ms=settings.NOTIFY_SESSION_TIMEOUT_MS,
        heartbeat_ms=settings.NOTIFY_HEARTBEAT_MS,
        fetch_bytes=settings.NOTIFY_FETCH_BYTES,
        ticks=ticks,
    )


def _retried(act: Callable[[], Result], stopped: list[int]) -> Result | None:
    """Calls `act` until PostgreSQL and Kafka answer. Returns its result; None if told to stop (rule 11)."""
    while not stopped:
        try:
            return act()
        except (OperationalError, LedgerAway, LogAway) as error:
            connection.close()
            logs.get().warning("service_away", error=str(error))
            time.sleep(RETRY_MS / 1000)
    return None


def _limits() -> BridgeLimits:
    return BridgeLimits(
        window_offsets=settings.NOTIFY_WINDOW_OFFSETS,
        window_bytes=settings.NOTIFY_WINDOW_BYTES,
        chunk_messages=settings.NOTIFY_CHUNK_MESSAGES,
        short_chunk_messages=settings.NOTIFY_SHORT_CHUNK_MESSAGES,
        chunk_bytes=settings.NOTIFY_CHUNK_BYTES,
        task_rows=settings.NOTIFY_TASK_ROWS,
        task_bytes=settings.NOTIFY_TASK_BYTES,
        shared_rows=settings.NOTIFY_SHARED_ROWS,
        resend_after_ms=settings.NOTIFY_RESEND_AFTER_MS,
        resend_after_max_ms=settings.NOTIFY_RESEND_AFTER_MAX_MS,
        hot_records=settings.NOTIFY_HOT_RECORDS,
        hot_apps=settings.NOTIFY_HOT_APPS,
        unread_after_ms=settings.NOTIFY_UNREAD_AFTER_MS,
        refused_records=settings.NOTIFY_REFUSED_RECORDS,
    )


def _on_signals() -> list[int]:
    """Returns a list to which the number of each signal that stops the process is appended."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return received


def _run(bridge: Bridge, stopped: list[int], progress: Progress) -> None:
    while not stopped:
        started = time.monotonic()
        bridge.step(POLL_MS)
        _note(progress)
        if not bridge.behind:
            time.sleep(max(0.0, ROUND_MS / 1000 - (time.monotonic() - started)))
    bridge.drain()
    deadline = time.monotonic() + settings.NOTIFY_DRAIN_MS / 1000
    while bridge.in_flight and time.monotonic() < deadline:
        bridge.step(POLL_MS)
        _note(progress)
    bridge.commit_offsets()


def _note(progress: Progress) -> None:
    progress.note()
    metrics.BRIDGE_STEP_TIMESTAMP.set_to_current_time()
