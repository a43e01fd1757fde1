"""The Celery tasks: they read a task's wire, call workers.apply and log the outcome.

`**kwargs` lets old workers take tasks of a newer bridge that adds fields.
"""

import time
from functools import cache
from typing import Any

from celery import shared_task
from django.conf import settings

from notify import logs, metrics, postgres
from notify.celery import APPLY, ISOLATE
from notify.domain.rows import WIRE_VERSION
from workers.apply import Original, Outcome, Segment, apply_isolated, apply_merged
from workers.lanes import PostgresLanes

Wire = list[list[int]]


class UnknownWire(Exception):
    """The task is of a wire version that this worker does not know: deploy workers before bridges."""


@cache
def _lanes() -> PostgresLanes:
    """One session a process; prefork children each make their own."""
    return PostgresLanes(
        lambda: postgres.connect(
            name="notify-worker", lock_timeout_ms=settings.NOTIFY_LOCK_TIMEOUT_MS
        )
    )


@shared_task(name=APPLY)
def apply(*, v: int, lane: int, attempt: int, segments: Wire, rows: str, **kwargs: Any) -> None:
    """Apply one lane's merged batches."""
    parts = _segments(v, segments)
    started = time.perf_counter()
    outcomes = apply_merged(_lanes(), lane, parts, rows=rows, attempt=attempt)
    _report(lane, parts, outcomes, attempt, time.perf_counter() - started)


@shared_task(name=ISOLATE)
def isolate(
    *,
    v: int,
    lane: int,
    attempt: int,
    segments: Wire,
    originals: list[tuple[int, dict[str, Any], str]],
    dead_letters_max: int,
    **kwargs: Any,
) -> None:
    """Apply one stream's unmerged batch, listing what PostgreSQL refuses."""
    (segment,) = _segments(v, segments)
    started = time.perf_counter()
    outcome = apply_isolated(
        _lanes(),
        lane,
        segment,
        originals=[Original(*original) for original in originals],
        attempt=attempt,
        dead_letters_max=dead_letters_max,
    )
    _report(lane, [segment], {segment.stream: outcome}, attempt, time.perf_counter() - started)


def _segments(version: int, segments: Wire) -> list[Segment]:
    if version != WIRE_VERSION:
        raise UnknownWire(f"version {version}, this worker knows {WIRE_VERSION}")
    return [Segment(*fields) for fields in segments]


def _report(
    lane: int,
    segments: list[Segment],
    outcomes: dict[int, Outcome],
    attempt: int,
    seconds: float,
) -> None:
    metrics.WORKER_SECONDS.observe(seconds)
    for segment in segments:
        outcome = outcomes[segment.stream]
        metrics.WORKER_BATCHES.labels(outcome=outcome.value).inc()
        log = logs.get().bind(
            partition=segment.partition,
            lane=lane,
            prev=segment.prev,
            last=segment.last,
            attempt=attempt,
        )
        if outcome in (Outcome.APPLIED, Outcome.REFUSED):
            log.debug(f"batch_{outcome.value}")
        else:
            log.warning(f"batch_{outcome.value}")
