"""Every metric by its Prometheus name. Labels are bounded: never an app, never a record."""

import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from notify import env
from notify.telemetry import probes

_FAST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES: Final = (1, 3, 10, 30, 100, 300, 1_000, 2_000, 5_000)

WEB_REQUESTS = Counter("notify_web_requests_total", "Requests answered.", ["route", "status"])
WEB_SECONDS = Histogram(
    "notify_web_request_seconds",
    "Seconds from the start of a request to its answer.",
    ["route"],
    buckets=_FAST_S,
)
WEB_UPDATES = Counter("notify_web_updates_total", "Updates that Kafka acked.")
WEB_ACK_SECONDS = Histogram(
    "notify_web_ack_seconds", "Seconds until Kafka acked a request's updates.", buckets=_FAST_S
)
WEB_IN_FLIGHT_BYTES = Gauge(
    "notify_web_in_flight_bytes",
    "Bytes that the producer has and Kafka has not acked.",
    multiprocess_mode="livesum",
)
WEB_REFUSED = Counter("notify_web_refused_total", "Requests answered 503.", ["reason"])
WEB_LIMITED = Counter("notify_web_limited_total", "Requests answered 429.", ["limit"])
WEB_HELD = Counter(
    "notify_web_held_total", "Requests of SDKs answered 503 where other clients get 4xx."
)
WEB_UNSTORED = Counter(
    "notify_web_unstored_total", "Requests of SDKs answered 200 and not stored.", ["route"]
)
WEB_LIMITS_ALONE = Counter(
    "notify_web_limits_alone_total",
    "How often Redis did not count in time, and the process counted alone for a second.",
)
WEB_LOG_LOST = Counter(
    "notify_web_log_lost_total",
    "Log lines of accepted updates that standard output did not accept.",
)
WEB_APPS_READ_TIMESTAMP = Gauge(
    "notify_web_apps_read_timestamp_seconds",
    "When apps and keys were last read; time() minus it is how long a revoked key may still work.",
    multiprocess_mode="livemin",
)

BRIDGE_LAG_MESSAGES = Gauge("notify_bridge_lag_messages", "Log end minus frontier.", ["partition"])
BRIDGE_LAG_SECONDS = Gauge(
    "notify_bridge_lag_seconds", "Age of the oldest update that is not applied.", ["partition"]
)
BRIDGE_HELD_BYTES = Gauge("notify_bridge_held_bytes", "Message bytes in the window.", ["partition"])
BRIDGE_WINDOW_OFFSETS = Gauge(
    "notify_bridge_window_offsets", "Offsets planned and not known to be applied.", ["partition"]
)
BRIDGE_HALTED = Gauge("notify_bridge_halted", "1 while the stream is halted.", ["partition"])
BRIDGE_PAUSED = Gauge(
    "notify_bridge_paused",
    "1 while fetching is paused because enough messages wait.",
    ["partition"],
)
BRIDGE_UNREAD_SECONDS = Gauge(
    "notify_bridge_unread_seconds",
    "Seconds for which fetches have returned nothing although the log has more messages.",
    ["partition"],
)
BRIDGE_UNHEARD_SECONDS = Gauge(
    "notify_bridge_unheard_seconds",
    "Seconds for which Kafka has owed an answer where the log ends.",
    ["partition"],
)
BRIDGE_LANE_WRITES = Gauge(
    "notify_bridge_lane_writes", "Writes that wait or are in flight.", ["lane"]
)
BRIDGE_LANE_SECONDS = Gauge(
    "notify_bridge_lane_seconds", "Age of the oldest update that waits in the lane.", ["lane"]
)
BRIDGE_HOT_SHARE = Gauge(
    "notify_bridge_hot_share",
    "Share of the hottest records in the writes of these ten seconds, by rank.",
    ["rank"],
)
BRIDGE_POLICY_TIMESTAMP = Gauge(
    "notify_bridge_policy_timestamp_seconds",
    "When a chunk was last decided, under the newest policy.",
    multiprocess_mode="livemax",
)
BRIDGE_STEP_TIMESTAMP = Gauge(
    "notify_bridge_step_timestamp_seconds",
    "When the bridge's loop last finished a round.",
    multiprocess_mode="livemax",
)
BRIDGE_WRITES = Counter("notify_bridge_writes_total", "Writes decided, before they are merged.")
BRIDGE_TICK_SECONDS = Histogram("notify_bridge_tick_seconds", "Seconds of a tick.", buckets=_FAST_S)
BRIDGE_CHUNK_MESSAGES = Histogram(
    "notify_bridge_chunk_messages", "Messages of a chunk.", buckets=_SIZES
)
BRIDGE_TASK_ROWS = Histogram("notify_bridge_task_rows", "Rows of a task sent.", buckets=_SIZES)
BRIDGE_RESENT = Counter("notify_bridge_resent_total", "Batches sent again.")
BRIDGE_SURPRISES = Counter("notify_bridge_surprises_total", "Streams forgotten and loaded again.")
BRIDGE_REOPENED = Counter(
    "notify_bridge_reopened_total",
    "New connections to Kafka because a partition was not read or was disputed.",
)
BRIDGE_LOADS = Counter("notify_bridge_loads_total", "Loads.", ["outcome"])
BRIDGE_SKIPPED = Counter("notify_bridge_skipped_total", "Writes and links dropped.", ["reason"])
BRIDGE_DEAD_LETTERS = Counter("notify_bridge_dead_letters_total", "Messages that can't be decided.")

WORKER_BATCHES = Counter("notify_worker_batches_total", "Batches by outcome.", ["outcome"])
WORKER_SECONDS = Histogram("notify_worker_task_seconds", "Seconds of a task.", buckets=_FAST_S)
WORKER_BUSY_SINCE = Gauge(
    "notify_worker_busy_since_timestamp_seconds",
    "When the oldest unfinished task began; 0 without one. The parent sets it.",
    multiprocess_mode="livemax",
)
WORKER_PROCESSES = Gauge(
    "notify_worker_processes", "Processes that run tasks.", multiprocess_mode="livesum"
)

WATCH_QUEUE_TASKS = Gauge(
    "notify_watch_queue_tasks", "Tasks that wait in the lane's queue in Redis.", ["lane"]
)
WATCH_LANE_WORKERS = Gauge(
    "notify_watch_lane_workers", "Workers that read the lane's queue.", ["lane"]
)
WATCH_WORKERS = Gauge("notify_watch_workers", "Workers: ok, stalled, offline.", ["state"])
WATCH_FINDINGS = Gauge("notify_watch_findings", "Findings now, by kind.", ["kind"])
WATCH_ALERTS = Counter(
    "notify_watch_alerts_total",
    "Messages about alerts, by channel and outcome.",
    ["channel", "outcome"],
)
WATCH_CHECK_TIMESTAMP = Gauge(
    "notify_watch_check_timestamp_seconds",
    "When the leading watcher last checked for problems.",
    multiprocess_mode="livemax",
)
WATCH_POSTGRES_AWAY = Gauge(
    "notify_watch_postgres_away_seconds",
    "Seconds for which PostgreSQL has not answered this watcher, as of its last attempt.",
    multiprocess_mode="livemax",
)

PROCESS_CPU = Counter(
    "notify_process_cpu_seconds_total", "CPU time spent, of all processes together.", ["process"]
)

#: Series that begin at 0: Prometheus sees no increase in one that begins with its first event.
_FROM_ZERO: Final[tuple[tuple[Counter, tuple[tuple[str, ...], ...]], ...]] = (
    (WEB_REFUSED, (("overloaded",), ("kafka_away",), ("postgres_away",), ("bug",))),
    (WORKER_BATCHES, (("applied",), ("refused",), ("dead_lettered",), ("unavailable",))),
    (WATCH_ALERTS, (("webhook", "failed"), ("email", "failed"))),
)
for _counter, _values in _FROM_ZERO:
    for _labels in _values:
        _counter.labels(*_labels)

#: What a bridge says of a partition for as long as it holds it.
_OF_A_PARTITION: Final = (
    BRIDGE_LAG_MESSAGES,
    BRIDGE_LAG_SECONDS,
    BRIDGE_HELD_BYTES,
    BRIDGE_WINDOW_OFFSETS,
    BRIDGE_HALTED,
    BRIDGE_PAUSED,
    BRIDGE_UNREAD_SECONDS,
    BRIDGE_UNHEARD_SECONDS,
)


def forget_partition(partition: int) -> None:
    """The partition belongs to another bridge now: nothing is shown of it here any more."""
    for gauge in _OF_A_PARTITION:
        with suppress(KeyError):
            gauge.remove(str(partition))


class _Cpu:
    """The CPU time that this process has counted already. A child of a fork starts from nothing."""

    def __init__(self) -> None:
        self._pid = 0
        self._counted_s = 0.0

    def count(self, process: str) -> None:
        """Add what was spent since the last time."""
        pid, spent_s = os.getpid(), time.process_time()
        before_s = self._counted_s if pid == self._pid else 0.0
        PROCESS_CPU.labels(process=process).inc(max(0.0, spent_s - before_s))
        self._pid, self._counted_s = pid, spent_s


_CPU: Final = _Cpu()


def count_cpu(process: str) -> None:
    """Count the CPU time of this process as one of a bridge, worker or watch. One thread a process."""
    _CPU.count(process)


def registry() -> CollectorRegistry:
    """What /metrics shows: all processes of the group where PROMETHEUS_MULTIPROC_DIR is set.

    Gauges of processes that ended without a word (SIGKILL) are dropped first.
    """
    directory = _shared()
    if not directory:
        return REGISTRY
    _forget_dead(Path(directory))
    merged = CollectorRegistry()
    MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
    return merged


def forget_process(pid: int) -> None:
    """A process of the group has ended: its gauges are void."""
    if _shared():
        with suppress(FileNotFoundError):  # another process may be at it too
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _shared() -> str:
    """prometheus_client itself reads the variable when it is imported: set it before the start."""
    return env.text("PROMETHEUS_MULTIPROC_DIR", "")


def _forget_dead(directory: Path) -> None:
    found = (re.search(r"_(\d+)\.db$", file.name) for file in directory.glob("gauge_live*.db"))
    for pid in {int(each[1]) for each in found if each}:
        if not _lives(pid):
            forget_process(pid)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _nothing() -> None:
    return None


def serve(
    port: int,
    *,
    host: str = "127.0.0.1",
    process: str = "",
    problem: probes.Problem = _nothing,
    refresh: Callable[[], None] = _nothing,
) -> int:
    """Serve /metrics, /healthz/live and /healthz/progress (503 where `problem` names one) on `port`
    of the IP address `host`, 0 being any free port, from threads of their own; the port. Raises
    probes.CannotListen.

    `process` names whose CPU time this one's is; `refresh` sets gauges before each scrape. A worker's
    children count for it only where PROMETHEUS_MULTIPROC_DIR names an empty directory.
    """
    turn = threading.Lock()
    # A fork while a metric's own lock is held would leave the child with a lock that nobody opens.
    os.register_at_fork(
        before=turn.acquire, after_in_parent=turn.release, after_in_child=turn.release
    )

    def scrape() -> bytes:
        with turn:
            if process:
                count_cpu(process)
            refresh()
        return generate_latest(registry())

    return probes.serve(
        port, host=host, scrape=scrape, content_type=CONTENT_TYPE_LATEST, problem=problem
    )
