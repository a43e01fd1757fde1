"""Sends updates at given times, whether a contender keeps up or not, and measures how long each took.

The lag is from the time at which an update was due to be sent until PostgreSQL shows its row. So a sender or
a contender that is late makes it longer (no coordinated omission). Some of the updates are probes: each is
the first of a row of its own, for which a thread looks.
"""

import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from tests.qa.benchmarks.contenders.cell import Cell, Extent
from tests.qa.benchmarks.contenders.comparison import Key
from tests.qa.benchmarks.contenders.contender import Contender, Outgoing, Send
from tests.qa.benchmarks.contenders.measure import within
from tests.qa.benchmarks.contenders.shapes import Aim, Shape, aims
from tests.qa.benchmarks.drain import log_ends
from tests.qa.benchmarks.prepared import Target, message, partition

#: Updates before those that count; all of them are applied before the first that counts is due.
WARM_UP_S: Final = 2.0
PROBES_PER_S: Final = 200
LOOK_EVERY_S: Final = 0.005
#: So many of the oldest probes are looked for at a time.
LOOKED_FOR: Final = 1_000
#: How long to wait for what is not applied when all is sent.
PATIENCE_S: Final = 120.0
#: The loads before, in and after a spike: seconds, and updates a second.
LOADS: Final = ((4.0, 500.0), (5.0, 5_000.0), (10.0, 500.0))
#: The lag up to which a contender has caught up.
NORMAL_S: Final = 1.0


class Lags(NamedTuple):
    """What was sent, and the lags in ms."""

    per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float


class CaughtUp(NamedTuple):
    """The longest lag before and since a spike began, and how long after its end the lag is normal again."""

    calm_ms: float
    longest_ms: float
    after_s: float


class _Update(NamedTuple):
    """An update, and when it is due, in seconds after the first. `probe`: the row that only it is for."""

    due: float
    outgoing: Outgoing
    probe: Key | None


class _Probe(NamedTuple):
    """When a probe was due, in seconds after the first update, and its lag."""

    due: float
    lag_s: float


def steady(contender: Contender, shape: Shape, per_s: float, seconds: float, *, seed: int) -> Lags:
    """The lags at a steady rate. Raises Failed."""
    times = [number / per_s for number in range(int(per_s * seconds))]
    sent = _play(contender, shape, times, warm_up_per_s=per_s, seed=seed)
    lags = sorted(probe.lag_s * 1_000 for probe in sent.probes)
    p50, p99, p999 = (lags[int(len(lags) * share)] for share in (0.5, 0.99, 0.999))
    return Lags(len(times) / sent.took_s, p50, p99, p999)


def spike(contender: Contender, shape: Shape, *, seed: int) -> CaughtUp:
    """A steady load, a load ten times as high, and the steady load again. Raises Failed."""
    times: list[float] = []
    began = 0.0
    for seconds, per_s in LOADS:
        times += [began + number / per_s for number in range(int(per_s * seconds))]
        began += seconds
    (calm_s, calm_per_s), (spike_s, _), _ = LOADS
    sent = _play(contender, shape, times, warm_up_per_s=calm_per_s, seed=seed)
    return caught_up(sent.probes, begins=calm_s, ends=calm_s + spike_s)


def caught_up(probes: Iterable[tuple[float, float]], *, begins: float, ends: float) -> CaughtUp:
    """Of probes, each with the time when it was due and its lag in seconds."""
    probes = list(probes)
    calm = max(lag for due, lag in probes if due < begins)
    later = [(due, lag) for due, lag in probes if due >= begins]
    slow = [due + lag for due, lag in later if lag > NORMAL_S]
    return CaughtUp(
        calm * 1_000, max(lag for _, lag in later) * 1_000, max(0.0, max(slow, default=ends) - ends)
    )


class _Sent(NamedTuple):
    took_s: float
    probes: list[_Probe]


def _play(
    contender: Contender, shape: Shape, times: Sequence[float], *, warm_up_per_s: float, seed: int
) -> _Sent:
    """Sends an update at each of the times, and waits until all are applied."""
    run = contender.run
    warm_up = [number / warm_up_per_s for number in range(int(warm_up_per_s * WARM_UP_S))]
    drawn = aims(shape, len(warm_up) + len(times), seed=seed)
    first, counted = (
        list(_updates(shape, phase, drawn, run.partitions)) for phase in (warm_up, times)
    )
    updates = [*first, *counted]
    cell = _empty_cell(contender, shape, updates)
    run.sql.execute("TRUNCATE contender_record")
    contender.fill(cell)
    contender.start(cell)
    watcher = _Watcher(run.stack.env["DATABASE_URL"], contender.table)
    try:
        with contender.sender() as send:
            _send(send, watcher, first, contender)
            watcher.wait(contender)
            watcher.lags.clear()
            took = _send(send, watcher, counted, contender)
        watcher.wait(contender)
        deadline = time.monotonic() + PATIENCE_S
        while contender.saved(cell) < len(updates):
            within(deadline, contender)
    finally:
        watcher.close()
        contender.stop()
    return _Sent(took, watcher.lags)


def _updates(
    shape: Shape, times: Iterable[float], drawn: Iterator[Aim], partitions: int
) -> Iterator[_Update]:
    """Prepared before they are due, so that sending costs little. `at` is when they were prepared."""
    next_probe = 0.0
    for number, due in enumerate(times):
        target, probe = next(drawn).target, None
        if due >= next_probe:
            next_probe += 1 / PROBES_PER_S
            target = Target(target.app, str(uuid.uuid4()))
            probe = (target.app, target.record)
        value = message(target, number, notes=shape.notes)
        outgoing = Outgoing(value, target.record.encode(), partition(target, partitions))
        yield _Update(due, outgoing, probe)


def _empty_cell(contender: Contender, shape: Shape, updates: Sequence[_Update]) -> Cell:
    """The offsets that the updates will have."""
    ends = log_ends(contender.run)
    extents = {number: [end, end] for number, end in ends.items()}
    for update in updates:
        extents[update.outgoing.partition][1] += 1
    cell = Cell(shape, {number: Extent(*extent) for number, extent in extents.items()}, [])
    cell.updates = len(updates)
    return cell


def _send(
    send: Send, watcher: "_Watcher", updates: Sequence[_Update], contender: Contender
) -> float:
    """Sends each when it is due, or at once if that is past. Returns how long it took."""
    began = time.monotonic()
    watcher.began = began
    for update in updates:
        if (early := began + update.due - time.monotonic()) > 0.001:
            time.sleep(early)
        if update.probe is not None:
            watcher.add(update.probe, update.due)
        send(update.outgoing)
    contender.check()
    return time.monotonic() - began


class _Watcher:
    """Looks for the rows of probes in a thread."""

    def __init__(self, dsn: str, table: str) -> None:
        self.lags: list[_Probe] = []
        self.began = 0.0
        self._waiting: dict[Key, float] = {}
        self._stopped = threading.Event()
        self._sql: psycopg.Connection[Any] = psycopg.connect(dsn, autocommit=True)
        query = (
            "SELECT app::text, id::text FROM {} "
            "JOIN unnest(%s::uuid[], %s::uuid[]) AS waiting (app, id) USING (app, id)"
        )
        self._query = sql.SQL(query).format(sql.Identifier(table))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, probe: Key, due: float) -> None:
        """Looks for it from now on."""
        self._waiting[probe] = due

    def wait(self, contender: Contender) -> None:
        """Until all are found."""
        deadline = time.monotonic() + PATIENCE_S
        while self._waiting:
            within(deadline, contender)

    def close(self) -> None:
        """Looks no longer."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with closing(self._sql):
            while not self._stopped.wait(LOOK_EVERY_S):
                oldest = list(self._waiting)[:LOOKED_FOR]
                if oldest:
                    apps, ids = zip(*oldest, strict=True)
                    found = self._sql.execute(self._query, (list(apps), list(ids))).fetchall()
                    now = time.monotonic() - self.began
                    for probe in found:
                        due = self._waiting.pop(probe)
                        self.lags.append(_Probe(due, now - due))
