"""The time lag at a steady rate: from the time at which an update is due to be sent to the tick that sees it
applied. A sender that is late makes the lag longer, not the load lighter (no coordinated omission)."""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, NamedTuple

import psycopg

from tests.qa.benchmarks.prepared import Sender, Target, message, partition, targets
from tests.running import PARTITIONS

#: The load begins this long before the lag counts. The first batches take longer: workers import what they
#: need and open their sessions (0.2 to 0.3 s on 2 cores), and what comes meanwhile waits behind them.
WARM_UP_S: Final = 2
#: A broker that was just started compiles its code: at 1,000 updates a second Kafka 4.4 took half of a core
#: in the first minute, and a fifth of one after it. That doubled the lag on two cores.
BROKER_WARM_UP_S: Final = 60
BROKER_WARM_UP_PER_S: Final = 1_000


class Lag(NamedTuple):
    """Milliseconds, and the rate that was really sent."""

    per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class _Watcher:
    """Polls the frontiers; an offset is applied, at the latest, when the frontier is seen past it."""

    def __init__(self, dsn: str) -> None:
        self._sql: psycopg.Connection[Any] = psycopg.connect(dsn, autocommit=True)
        self._seen: list[tuple[list[int], list[float]]] = [([], []) for _ in range(PARTITIONS)]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.005):
            rows = self._sql.execute("SELECT partition, frontier FROM stream").fetchall()
            now = time.time()
            for number, frontier in rows:
                frontiers, times = self._seen[number]
                if not frontiers or frontier > frontiers[-1]:
                    frontiers.append(frontier)
                    times.append(now)

    def stop(self) -> None:
        """See no more."""
        self._stopped.set()
        self._thread.join()
        self._sql.close()

    def frontier(self, number: int) -> int:
        """As last seen."""
        return max(self._seen[number][0], default=0)

    def applied_at(self, number: int, offset: int) -> float:
        """When the frontier was first seen past the offset."""
        frontiers, times = self._seen[number]
        return times[bisect_left(frontiers, offset + 1)]


def measure(
    dsn: str,
    bootstrap: str,
    topic: str,
    *,
    per_s: int,
    seconds: int,
    chosen: Iterable[Target] | None = None,
) -> Lag:
    """Send that many updates a second for WARM_UP_S and then so long, and wait until all are applied. They
    are for the records that are `chosen`, in this order, or uniform."""
    watcher = _Watcher(dsn)
    sender = Sender(bootstrap, topic)
    updates = per_s * (WARM_UP_S + seconds)
    sent: list[tuple[float, int]] = []
    began = time.time()
    chosen = targets(updates, hot_share=0) if chosen is None else islice(chosen, updates)
    for number, target in enumerate(chosen):
        due = began + number / per_s
        if (early := due - time.time()) > 0.001:
            time.sleep(early)
        place = partition(target)
        sender.send(message(target, number), place)
        sent.append((due, place))
    took = time.time() - began
    acked = {number: iter(each) for number, each in sender.acked().items()}
    offsets = [(due, number, next(acked[number])) for due, number in sent]
    last = {number: offset for _, number, offset in offsets}
    deadline = time.monotonic() + 60
    while any(watcher.frontier(number) <= offset for number, offset in last.items()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not applied within a minute: {last}")
        time.sleep(0.05)
    watcher.stop()
    lags = sorted(
        (watcher.applied_at(number, offset) - due) * 1000
        for due, number, offset in offsets
        if due >= began + WARM_UP_S
    )
    p50, p99, p999 = (lags[int(len(lags) * share)] for share in (0.5, 0.99, 0.999))
    return Lag(updates / took, p50, p99, p999, lags[-1])


def warm_broker_up(dsn: str, bootstrap: str, topic: str) -> None:
    """Sends a load for BROKER_WARM_UP_S, whose lag does not count, and waits until it is applied."""
    measure(dsn, bootstrap, topic, per_s=BROKER_WARM_UP_PER_S, seconds=BROKER_WARM_UP_S)
