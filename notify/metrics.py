"""Every metric by its Prometheus name. Labels are bounded: never an app, never a record."""

from contextlib import suppress
from typing import Final

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from notify import env

_FAST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES: Final = (1, 3, 10, 30, 100, 300, 1_000, 2_000, 5_000)

WEB_REQUESTS = Counter("notify_web_requests_total", "Requests answered.", ["route", "status"])
WEB_SECONDS = Histogram("notify_web_request_seconds", "Time to answer.", ["route"], buckets=_FAST_S)
WEB_UPDATES = Counter("notify_web_updates_total", "Updates that Kafka acked.")
WEB_ACK_SECONDS = Histogram("notify_web_ack_seconds", "Time to Kafka's ack.", buckets=_FAST_S)
WEB_IN_FLIGHT_BYTES = Gauge(
    "notify_web_in_flight_bytes", "Handed to the producer, not acked.", multiprocess_mode="livesum"
)
WEB_REFUSED = Counter("notify_web_refused_total", "Requests answered 503.", ["reason"])
WEB_LIMITED = Counter("notify_web_limited_total", "Requests answered 429.", ["limit"])
WEB_LIMITS_ALONE = Counter(
    "notify_web_limits_alone_total",
    "Times that Redis could not count and the process counted alone for a second.",
)
WEB_LOG_LOST = Counter(
    "notify_web_log_lost_total", "Lines of accepted updates that standard output did not take."
)
WEB_APPS_READ_TIMESTAMP = Gauge(
    "notify_web_apps_read_timestamp_seconds",
    "When apps and keys were last read; time() minus it is how long a revoked key may live on.",
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
    "notify_bridge_paused", "1 while fetching waits for what is held.", ["partition"]
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
    "notify_bridge_policy_timestamp_seconds", "When a chunk was last decided by the newest policy."
)
BRIDGE_WRITES = Counter("notify_bridge_writes_total", "Writes decided, before they are merged.")
BRIDGE_TICK_SECONDS = Histogram("notify_bridge_tick_seconds", "One tick.", buckets=_FAST_S)
BRIDGE_CHUNK_MESSAGES = Histogram(
    "notify_bridge_chunk_messages", "Messages of a chunk.", buckets=_SIZES
)
BRIDGE_TASK_ROWS = Histogram("notify_bridge_task_rows", "Rows of a task sent.", buckets=_SIZES)
BRIDGE_RESENT = Counter("notify_bridge_resent_total", "Batches sent again.")
BRIDGE_SURPRISES = Counter("notify_bridge_surprises_total", "Streams forgotten and loaded again.")
BRIDGE_LOADS = Counter("notify_bridge_loads_total", "Loads.", ["outcome"])
BRIDGE_SKIPPED = Counter("notify_bridge_skipped_total", "Writes and links dropped.", ["reason"])
BRIDGE_DEAD_LETTERS = Counter("notify_bridge_dead_letters_total", "Messages that can't be decided.")

WORKER_BATCHES = Counter(
    "notify_worker_batches_total", "Batches by what became of them.", ["outcome"]
)
WORKER_SECONDS = Histogram("notify_worker_task_seconds", "One task.", buckets=_FAST_S)


#: What a bridge says of a partition for as long as it holds it.
_OF_A_PARTITION: Final = (
    BRIDGE_LAG_MESSAGES,
    BRIDGE_LAG_SECONDS,
    BRIDGE_HELD_BYTES,
    BRIDGE_WINDOW_OFFSETS,
    BRIDGE_HALTED,
    BRIDGE_PAUSED,
)


def forget_partition(partition: int) -> None:
    """The partition belongs to another bridge now: nothing is shown of it here any more."""
    for gauge in _OF_A_PARTITION:
        with suppress(KeyError):
            gauge.remove(str(partition))


def registry() -> CollectorRegistry:
    """What /metrics shows: all processes of the group where PROMETHEUS_MULTIPROC_DIR is set."""
    if not _is_multiprocess():
        return REGISTRY
    merged = CollectorRegistry()
    MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
    return merged


def forget_process(pid: int) -> None:
    """A process of the group has ended: its gauges are void."""
    if _is_multiprocess():
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _is_multiprocess() -> bool:
    """prometheus_client itself reads the variable when it is imported: set it before the start."""
    return bool(env.text("PROMETHEUS_MULTIPROC_DIR", ""))


def serve(port: int) -> None:
    """Serve /metrics of this process on `port`, from a thread of its own.

    A worker's children count for it only where PROMETHEUS_MULTIPROC_DIR names an empty directory.
    """
    start_http_server(port, registry=registry())
