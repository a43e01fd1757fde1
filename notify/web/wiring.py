"""Builds the services that views use from the settings, once in each process."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from django.conf import settings

from notify.kafka.producer import Producer, TopicProducer
from notify.telemetry import metrics
from notify.web import ack_log
from notify.web.access import limits
from notify.web.access.apps_cache import AppsCache
from notify.web.access.identity import Verifier
from notify.web.access.limits import RateLimits
from notify.web.access.rejection_counts import UNAVAILABLE, CountWriter, RefusedRequests
from notify.web.ack_log import AckLog
from notify.web.reads import PostgresReads, Reads
from notify.web.resources import deletions
from notify.web.resources.addresses import Addresses
from notify.web.resources.deleted import DeletedRecords
from notify.web.resources.left_out import LeftOut

#: How many reads may run at a time, and how many lookups to accept updates. A hanging PostgreSQL blocks only
#: this many threads; the others accept updates.
READ_SESSIONS: Final = 4
LOOKUP_SESSIONS: Final = 4
_BUILDING: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Services:
    """The services that views use. None of them connects before its first use."""

    apps: AppsCache
    producer: Producer
    reads: Reads
    limits: RateLimits = field(default_factory=limits.none)
    verifier: Verifier = field(default_factory=Verifier)
    ack_log: AckLog | None = None
    refused: RefusedRequests | None = None
    #: Finds deleted records; asks `reads` unless another one is given.
    deleted: DeletedRecords = field(default=None)  # type: ignore[assignment] # by __post_init__
    #: Finds who has an address; asks `reads` unless another one is given.
    addresses: Addresses = field(default=None)  # type: ignore[assignment] # by __post_init__
    #: Counts the values that were left out of a request of the app.
    left_out: Callable[[str, LeftOut], None] = lambda _app, _left_out: None

    def __post_init__(self) -> None:
        if self.deleted is None:
            object.__setattr__(self, "deleted", DeletedRecords(self.reads))
        if self.addresses is None:
            object.__setattr__(self, "addresses", Addresses(self.reads))

    def unavailable(self, reason: str) -> None:
        """Counts a request that is answered 503 for this reason, as `notify_web_refused_total` names it."""
        metrics.WEB_REFUSED.labels(reason).inc()
        if self.refused is not None:
            self.refused.count(UNAVAILABLE, reason)

    def now_ms(self) -> int:
        """The time that an update is stamped with, in milliseconds since 1970."""
        return time.time_ns() // 1_000_000


def services() -> Services:
    """This process's services."""
    with _BUILDING:
        return _built()


@cache
def _built() -> Services:
    return build(ExitStack())


def build(at_end: ExitStack) -> Services:
    """New services as the settings say; `at_end` closes what they opened."""
    cached, reads = PostgresReads(sessions=1), PostgresReads(sessions=READ_SESSIONS)
    lookups = PostgresReads(
        sessions=LOOKUP_SESSIONS, deadline_ms=settings.NOTIFY_LOOKUP_DEADLINE_MS
    )
    apps = AppsCache(
        lambda: cached.known(settings.NOTIFY_TOPIC), refresh_ms=settings.NOTIFY_APPS_REFRESH_MS
    )
    producer = TopicProducer(
        settings.KAFKA_BOOTSTRAP_SERVERS,
        settings.NOTIFY_TOPIC,
        bytes_max=settings.NOTIFY_PRODUCER_BYTES,
        ack_timeout_ms=settings.NOTIFY_ACK_TIMEOUT_MS,
    )
    lines = ack_log.of_settings()
    told = deletions.of_settings()
    refusals, losses = CountWriter(), CountWriter("write_left_out")
    refused, left_out = RefusedRequests(refusals), RefusedRequests(losses)
    for each in (cached, reads, lookups, producer, apps, refusals, losses, refused, left_out, told):
        at_end.callback(each.close)
    if lines is not None:
        at_end.callback(lines.close)

    def count(app: str, found: LeftOut) -> None:
        for what, n in found.counts.items():
            left_out.count(app, what, n)

    return Services(
        apps,
        producer,
        reads,
        limits.of_settings(refused),
        ack_log=lines,
        refused=refused,
        deleted=DeletedRecords(lookups, told, listed=lambda: apps.known().deleted),
        addresses=Addresses(lookups),
        left_out=count,
    )
