"""The Celery tasks: they decode a task, call workers.apply and log the outcome.

During an upgrade workers and bridges of two releases run side by side. An argument that a newer bridge has
added is ignored. An unknown field of a row is refused instead, because ignoring it would lose data.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

from celery import shared_task
from django.conf import settings

from notify.celery import APPLY, ISOLATE
from notify.databases import postgres
from notify.domain.engine.task import IsolatedTask, MergedTask, Segment, check_fields, decode
from notify.domain.errors import UnknownTask
from notify.domain.records import task_rows
from notify.telemetry import logs, metrics
from workers.apply import Outcome, PostgresUnavailable, apply_isolated, apply_merged
from workers.lanes import PostgresLanes


@cache
def _lanes() -> PostgresLanes:
    """The session of this process; each prefork child opens its own."""
    return PostgresLanes(
        lambda: postgres.connect(
            name="notify-worker", lock_timeout_ms=settings.NOTIFY_LOCK_TIMEOUT_MS
        )
    )


@shared_task(name=APPLY)
def apply(**arguments: Any) -> None:
    """Applies merged batches of one lane or several; the arguments are those of `MergedTask`."""
    with _understanding(arguments):
        task = decode(arguments, MergedTask)
        fields = task.fields
        check_fields(
            task_rows.fields(json.loads(task.rows)) if fields is None else fields, task_rows.FIELDS
        )
    with _Report(task) as report:
        report.outcomes = apply_merged(
            _lanes(), task.segments, rows=task.rows, attempt=task.attempt
        )


@shared_task(name=ISOLATE)
def isolate(**arguments: Any) -> None:
    """Applies an unmerged batch of one stream; writes that PostgreSQL refuses become dead letters. The
    arguments are those of `IsolatedTask`."""
    with _understanding(arguments):
        task = decode(arguments, IsolatedTask)
        check_fields(task_rows.fields(each.row for each in task.originals), task_rows.FIELDS)
    (segment,) = task.segments
    with _Report(task) as report:
        outcome = apply_isolated(
            _lanes(),
            segment,
            originals=task.originals,
            attempt=task.attempt,
            dead_letters_max=task.dead_letters_max,
        )
        report.outcomes = {segment: outcome}


@contextmanager
def _understanding(arguments: Mapping[str, object]) -> Iterator[None]:
    """Logs that a task is not understood, and says what to do. The bridge sends it again."""
    try:
        yield
    except UnknownTask as error:
        logs.get().error(
            "task_refused", lane=arguments.get("lane"), error=f"{error}: upgrade the workers"
        )
        raise UnknownTask(
            f"{error}: upgrade the workers. The bridge sends the task again"
        ) from None


class _Report:
    """Logs and counts the outcome of a task. That PostgreSQL is unavailable is an outcome and not a failure
    of the task: the bridge sends the batch again."""

    def __init__(self, task: MergedTask | IsolatedTask) -> None:
        self._task = task
        self._started = time.perf_counter()
        self.outcomes: dict[Segment, Outcome] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> bool:
        seconds = time.perf_counter() - self._started
        metrics.WORKER_SECONDS.observe(seconds)
        metrics.count_cpu("worker")
        for segment in self._task.segments:
            self._log(segment, self._outcome(segment, error), error, seconds)
        return isinstance(error, PostgresUnavailable)

    def _outcome(self, segment: Segment, error: BaseException | None) -> str:
        outcome = self.outcomes.get(segment)
        if outcome is not None:
            return outcome.value
        return "unavailable" if isinstance(error, PostgresUnavailable) else "failed"

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
            lane=segment.lane,
            prev=segment.prev,
            last=segment.last,
            attempt=self._task.attempt,
            seconds=round(seconds, 4),
            error=None if error is None else str(error),
        )
