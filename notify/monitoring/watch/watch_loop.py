"""The watcher's main loop: each second it writes samples, finds problems and updates alerts.

Its dependencies are passed in, so that tests can replace them.
"""

import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from notify.monitoring import snapshot
from notify.monitoring.findings import (
    BAD,
    KINDS,
    LAG,
    LANE_UNREAD,
    NO_WORKERS,
    WORKER_STALLED,
    Finding,
    FindingBounds,
    find,
    is_stalled,
)
from notify.monitoring.partition_state import PartitionState
from notify.monitoring.snapshot import WorkerNow
from notify.monitoring.watch.alerts import Alerts, OpenAlert
from notify.monitoring.watch.leader_lock import LeaderLock, Session, run
from notify.monitoring.watch.outages import Outages
from notify.monitoring.watch.queues import Queues
from notify.monitoring.watch.worker_events import WorkerEvents
from notify.telemetry import logs, metrics
from notify.telemetry.probes import Progress

EVERY_S: Final = 1.0
#: Queue depths that are older than this are not written; pages then show them as unknown.
FRESH_S: Final = 5.0
TIDY_EVERY_S: Final = 600.0
#: A worker that has sent no event for this long is removed from the list.
WORKER_FORGET_S: Final = 3_600
#: Findings that cannot be judged while no events of workers can be received.
OF_WORKERS: Final = frozenset({WORKER_STALLED, NO_WORKERS, LANE_UNREAD})
#: Findings that follow from an unavailable Redis, and are not reported in addition to `redis_away`.
OF_REDIS: Final = OF_WORKERS | {PartitionState.STUCK.value, LAG}
#: The gauges that only the leader sets.
_OF_ALL: Final = (
    metrics.WATCH_QUEUE_TASKS,
    metrics.WATCH_LANE_WORKERS,
    metrics.WATCH_WORKERS,
    metrics.WATCH_FINDINGS,
)


def name() -> str:
    """The name of this watcher: its host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


class WatchLoop:
    """The main loop of a watcher. `is_leader` is set while this watcher is the leader."""

    def __init__(
        self, worker_events: WorkerEvents, queues: Queues, progress: Progress, outages: Outages
    ) -> None:
        self.is_leader = threading.Event()
        #: When the last complete check ended, in monotonic seconds; None if this watcher is not the leader.
        self.checked_at_s: float | None = None
        self._outages = outages
        self._worker_events = worker_events
        self._queues = queues
        self._progress = progress
        self._leader_lock = LeaderLock()
        self._alerts = Alerts(close_after_s=settings.NOTIFY_ALERT_CLOSE_S)
        self._is_away = False
        self._tidied_s = -TIDY_EVERY_S

    def run(self, stopped: threading.Event) -> None:
        """Checks once a second until stopped, whatever fails meanwhile."""
        while not stopped.is_set():
            began_s = time.monotonic()
            try:
                self.check()
                self._is_away = False
                self._outages.answered(now_s=time.monotonic())
                metrics.WATCH_POSTGRES_AWAY.set(0)
            except (psycopg.Error, DatabaseError) as error:
                away_s = self._outages.failed(error, began_s=began_s, now_s=time.monotonic())
                metrics.WATCH_POSTGRES_AWAY.set(away_s)
                if not self._is_away:
                    logs.get().warning("postgres_away", error=str(error))
                self._is_away = True
                self._step_down()
            except Exception as error:  # noqa: BLE001 - a bug in one check must not end the loop
                logs.get().error("check_failed", error=str(error), exc_info=error)
                connection.close()
            self._progress.note()
            stopped.wait(max(0.0, EVERY_S - (time.monotonic() - began_s)))
        self._leader_lock.release()

    def check(self) -> None:
        """Does one check if this watcher is the leader. Raises psycopg.Error or django.db.Error."""
        session = self._leader_lock.acquire()
        if session is None:
            return
        now_s = time.monotonic()
        away_s = None if self._queues.away_since_s is None else now_s - self._queues.away_since_s
        run(session, "name_itself", name=name(), redis_away_s=away_s)
        if not self.is_leader.is_set():
            self.is_leader.set()
            logs.get().info("watch_became_leader")
        self._write_queues(session, now_s)
        self._write_workers(session, now_s)
        self._judge(session, now_s)
        self._tidy(session, now_s)
        metrics.WATCH_CHECK_TIMESTAMP.set_to_current_time()
        self.checked_at_s = time.monotonic()

    def _step_down(self) -> None:
        self._leader_lock.release()
        connection.close()
        self._alerts.forget()
        self.checked_at_s = None
        if self.is_leader.is_set():
            self.is_leader.clear()
            logs.get().warning("watch_lost_leadership")
        for gauge in _OF_ALL:
            gauge.clear()

    def _write_queues(self, session: Session, now_s: float) -> None:
        lanes = self._queues.lanes = int(run(session, "lanes")[0][0])
        depths = self._queues.depths
        metrics.WATCH_QUEUE_TASKS.clear()
        metrics.WATCH_LANE_WORKERS.clear()
        if depths is None or now_s - depths.at_s > FRESH_S:
            return
        readers = self._queues.readers(now_s=now_s)
        seen = [lane for lane in depths.tasks if lane < lanes]
        run(
            session,
            "queues",
            ago_s=now_s - depths.at_s,
            lanes=seen,
            tasks=[depths.tasks[lane] for lane in seen],
            workers=[readers[lane] for lane in seen],
        )
        run(session, "forget_queues", lanes=lanes)
        for lane in seen:
            metrics.WATCH_QUEUE_TASKS.labels(lane=f"{lane:02d}").set(depths.tasks[lane])
            reading = readers[lane]
            if reading is not None:
                metrics.WATCH_LANE_WORKERS.labels(lane=f"{lane:02d}").set(reading)

    def _write_workers(self, session: Session, now_s: float) -> None:
        heard = self._worker_events.last(now_s=now_s, forget_after_s=WORKER_FORGET_S)
        run(
            session,
            "workers",
            names=list(heard),
            ago_s=[now_s - each.at_s for each in heard.values()],
            active=[each.active for each in heard.values()],
            processed=[each.processed for each in heard.values()],
            offline=[each.offline for each in heard.values()],
        )
        run(session, "forget_workers", after_s=WORKER_FORGET_S)

    def _judge(self, session: Session, now_s: float) -> None:
        bounds = FindingBounds.of_settings()
        seen = snapshot.read()
        found = find(seen, bounds)
        unsure = self._not_judged(now_s)
        opened = {row[1]: OpenAlert(*row) for row in run(session, "open_alerts")}
        steps = self._alerts.step(found, opened, now_s=now_s, unsure=unsure)
        for finding in steps.opens:
            _open(session, finding)
        for alert, finding in steps.refreshes:
            run(
                session, "refresh", id=alert.id, level=finding.level, text=finding.text,
                path=finding.path,
            )  # fmt: skip
        for alert in steps.closes:
            _close(session, alert)
        _show(found, seen.workers, bounds.stalled_s)

    def _not_judged(self, now_s: float) -> frozenset[str]:
        """The kinds of findings that cannot be judged now."""
        if self._queues.away_since_s is not None:
            return OF_REDIS
        return frozenset() if self._worker_events.is_sure(now_s=now_s) else OF_WORKERS

    def _tidy(self, session: Session, now_s: float) -> None:
        if now_s - self._tidied_s >= TIDY_EVERY_S:
            run(session, "forget_alerts", days=settings.NOTIFY_ALERT_DAYS)
            self._tidied_s = now_s


def _open(session: Session, finding: Finding) -> None:
    if not run(
        session, "open", key=finding.key, kind=finding.kind, level=finding.level, app=finding.app,
        record=finding.record, text=finding.text, path=finding.path,
    ):  # fmt: skip
        return
    said = {
        "kind": finding.kind,
        "reason": finding.text,
        **_app_and_record(finding.app, finding.record),
    }
    if finding.level == BAD:
        logs.get().error("finding_opened", **said)
    else:
        logs.get().warning("finding_opened", **said)


def _close(session: Session, alert: OpenAlert) -> None:
    for kind, app, record, text, seconds in run(session, "close", id=alert.id):
        said = {"kind": kind, "reason": text, **_app_and_record(app, record)}
        logs.get().info("finding_closed", seconds=round(seconds, 1), **said)


def _app_and_record(app: UUID | None, record: UUID | None) -> dict[str, str]:
    return {name: str(each) for name, each in (("app", app), ("record", record)) if each}


def _show(found: Iterable[Finding], workers: Sequence[WorkerNow], stalled_s: float) -> None:
    counts = dict.fromkeys(KINDS, 0)
    for finding in found:
        counts[finding.kind] += 1
    for kind, n in counts.items():
        metrics.WATCH_FINDINGS.labels(kind=kind).set(n)
    states = [state(each, stalled_s) for each in workers]
    for name in ("ok", "stalled", "offline"):
        metrics.WATCH_WORKERS.labels(state=name).set(states.count(name))


def state(worker: WorkerNow, stalled_s: float) -> str:
    """The worker's state: ok, stalled or offline, by the same thresholds as the finding."""
    if worker.offline:
        return "offline"
    return "stalled" if is_stalled(worker, stalled_s) else "ok"
