"""The Celery tasks: they decode a task, call workers.apply and log the outcome.

During an upgrade workers and bridges of two releases run side by side. `**kwargs` lets a worker accept a
task to which a newer bridge has added an argument. An unknown field of a row is refused instead, because
ignoring it would lose data.
"""

import json
import time
from collections.abc import Iterable
from functools import cache
from typing import Any, Self

from celery import shared_task
from django.conf import settings

from notify.celery import APPLY, ISOLATE
from notify.databases import postgres
from notify.domain.records import task_rows as wire
from notify.telemetry import logs, metrics
from workers.apply import (
    Original,
    Outcome,
    Segment,
    Unavailable,
    apply_isolated,
    apply_merged,
)
from workers.lanes import PostgresLanes

Wire = list[list[int]]


class UnknownWire(Exception):
    """The task is of a bridge of a later release: upgrade the workers. The bridge sends it again."""


@cache
def _lanes() -> PostgresLanes:
    """The session of this process; each prefork child opens its own."""
    return PostgresLanes(
        lambda: postgres.connect(
            name="notify-worker", lock_timeout_ms=settings.NOTIFY_LOCK_TIMEOUT_MS
        )
    )


@shared_task(name=APPLY)
def apply(
    *,
    v: int,
    lane: int,
    attempt: int,
    segments: Wire,
    rows: str,
    fields: list[str] | None = None,
    **kwargs: Any,
) -> None:
    """Applies merged batches of one lane. A bridge of the release before does not send `fields`."""
    _check(lane, v, wire.fields(json.loads(rows)) if fields is None else fields)
    parts = [Segment(*each) for each in segments]
    with _Report(lane, parts, attempt) as report:
        report.outcomes = apply_merged(_lanes(), lane, parts, rows=rows, attempt=attempt)


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
    """Applies an unmerged batch of one stream; writes that PostgreSQL refuses become dead letters."""
    _check(lane, v, wire.fields(row for _, row, _ in originals))
    (segment,) = parts = [Segment(*each) for each in segments]
    with _Report(lane, parts, attempt) as report:
        outcome = apply_isolated(
            _lanes(),
            lane,
            segment,
            originals=[Original(*original) for original in originals],
            attempt=attempt,
            dead_letters_max=dead_letters_max,
        )
        report.outcomes = {segment.stream: outcome}


def _check(lane: int, version: object, fields: Iterable[str]) -> None:
    """Raises UnknownWire for a task that this worker would apply wrongly or only in part."""
    unknown = set(fields) - wire.FIELDS
    if type(version) is not int or version not in wire.WIRE_VERSIONS:
        taken = f"{wire.WIRE_VERSIONS[0]} to {wire.WIRE_VERSIONS[-1]}"
        why = f"the task has v {version!r:.20}, this worker takes {taken}"
    elif unknown:
        why = f"the task's rows have {min(unknown)!r:.50}, which this worker cannot apply"
    else:
        return
    logs.get().error("task_refused", lane=lane, error=f"{why}: upgrade the workers")
    raise UnknownWire(f"{why}: upgrade the workers. The bridge sends the task again")


class _Report:
    """Logs and counts the outcome of a task. That PostgreSQL is unavailable is an outcome and not a failure
    of the task: the bridge sends the batch again."""

    def __init__(self, lane: int, segments: list[Segment], attempt: int) -> None:
        self._lane = lane
        self._segments = segments
        self._attempt = attempt
        self._started = time.perf_counter()
        self.outcomes: dict[int, Outcome] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> bool:
        seconds = time.perf_counter() - self._started
        metrics.WORKER_SECONDS.observe(seconds)
        metrics.count_cpu("worker")
        for segment in self._segments:
            self._log(segment, self._outcome(segment, error), error, seconds)
        return isinstance(error, Unavailable)

    def _outcome(self, segment: Segment, error: BaseException | None) -> str:
        outcome = self.outcomes.get(segment.stream)
        if outcome is not None:
            return outcome.value
        return "unavailable" if isinstance(error, Unavailable) else "failed"

    def _log(
        self, segment: Segment, outcome: str, error: BaseException | None, seconds: float
    ) -> None:
        metrics.WORKER_BATCHES.labels(outcome=outcome).inc()
        write = logs.get().debug if outcome == Outcome.REFUSED else logs.get().info
        if outcome not in (Outcome.APPLIED, Outcome.REFUSED):
            write = logs.get().warning
        write(
            f"batch_{outcome}",
            partition=segment.partition,
            lane=self._lane,
            prev=segment.prev,
            last=segment.last,
            attempt=self._attempt,
            seconds=round(seconds, 4),
            error=None if error is None else str(error),
        )
