"""Lets a contender drain a cell, with or without a kill, and compares its rows."""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from psycopg import sql

from tests.qa.benchmarks.contenders.cell import Cell
from tests.qa.benchmarks.contenders.comparison import COLUMNS, Comparison, Key, Row, compare
from tests.qa.benchmarks.contenders.contender import Contender, Failed
from tests.qa.benchmarks.contenders.filled import fill
from tests.running import Running

#: How often the applied updates are counted.
EVERY_S: Final = 0.05
#: How long the count must stand still, when all is saved, before a contender is stopped.
STILL_S: Final = 0.5
#: The share of updates that must be applied before the kill.
KILL_AT: Final = 0.3


class Sample(NamedTuple):
    """How many updates were applied at a time, in seconds."""

    at: float
    applied: int


class Drained(NamedTuple):
    """Updates a second, whether the rows are right, and how many updates there were."""

    per_s: float
    comparison: Comparison
    updates: int


class Killed(NamedTuple):
    """After a kill: how many applied updates were delivered again, how many were given up, and the rows."""

    applied: int
    redelivered: int
    comparison: Comparison


def rate(samples: Sequence[Sample], updates: int) -> float:
    """Updates a second, from the first sample that has some to the first that has the most.

    Updates that count twice do not raise it. If one sample has all, the time begins at the one before.
    """
    most = min(updates, max(sample.applied for sample in samples))
    first = next(number for number, sample in enumerate(samples) if sample.applied > 0)
    last = next(number for number, sample in enumerate(samples) if sample.applied >= most)
    if first == last and first > 0:
        first -= 1
    applied = most - samples[first].applied
    return applied / max(samples[last].at - samples[first].at, EVERY_S)


def drain(contender: Contender, cell: Cell, *, limit_s: float) -> Drained:
    """Raises Failed if the contender fails or needs longer than the limit."""
    samples = [Sample(time.monotonic(), 0)]
    _begin(contender, cell)
    try:
        _watch(contender, cell, samples, limit_s=limit_s)
    finally:
        contender.stop()
    return Drained(rate(samples, cell.updates), _compared(contender, cell), cell.updates)


def drain_killed(contender: Contender, cell: Cell, *, limit_s: float) -> Killed:
    """Kills the contender's processes at once when a share is applied, and starts them again.

    Raises Failed if the contender fails or needs longer than the limit.
    """
    deadline = time.monotonic() + limit_s
    _begin(contender, cell)
    try:
        while applied_updates(contender, cell) < KILL_AT * cell.updates:
            within(deadline, contender)
        contender.kill()
        # PostgreSQL may still finish a statement of a killed session.
        time.sleep(STILL_S)
        applied, saved = applied_updates(contender, cell), contender.saved(cell)
        contender.start(cell)
        _watch(contender, cell, [], limit_s=limit_s)
    finally:
        contender.stop()
    return Killed(applied, max(0, applied - saved), _compared(contender, cell))


def _begin(contender: Contender, cell: Cell) -> None:
    # Before the measured time: the replay is Python of this process.
    assert cell.watched
    if cell.shape.filled:
        fill(contender.run, cell.shape, contender.table)
    else:
        contender.run.sql.execute("TRUNCATE contender_record")
    contender.fill(cell)
    contender.start(cell)


def _watch(contender: Contender, cell: Cell, samples: list[Sample], *, limit_s: float) -> None:
    """Samples until all is saved and the count stands still."""
    deadline = time.monotonic() + limit_s
    changed, applied = time.monotonic(), -1
    while True:
        now = Sample(time.monotonic(), watched_updates(contender, cell))
        samples.append(now)
        if now.applied != applied:
            changed, applied = now.at, now.applied
        elif now.at - changed > STILL_S and contender.saved(cell) >= cell.updates:
            return
        within(deadline, contender)


def within(deadline: float, contender: Contender) -> None:
    """Waits a little. Raises Failed if the contender has failed, or the deadline is past."""
    contender.check()
    if time.monotonic() > deadline:
        raise Failed("it did not finish within the time limit")
    time.sleep(EVERY_S)


def watched_updates(contender: Contender, cell: Cell) -> int:
    """How many updates PostgreSQL has applied, by the share of those of the watched rows."""
    query = sql.SQL(
        "SELECT COALESCE(sum(session_count), 0)::bigint FROM {} "
        "JOIN unnest(%s::uuid[], %s::uuid[]) AS watched (app, id) USING (app, id)"
    )
    apps, ids = zip(*cell.watched, strict=True)
    found = contender.run.sql.execute(
        query.format(sql.Identifier(contender.table)), (list(apps), list(ids))
    ).fetchall()
    return int(found[0][0]) * cell.updates // cell.watched_updates


def applied_updates(contender: Contender, cell: Cell) -> int:
    """How many updates PostgreSQL has applied; one that was applied twice counts twice."""
    query = sql.SQL("SELECT COALESCE(sum(session_count), 0)::bigint FROM {} WHERE app = ANY(%s)")
    rows = contender.run.sql.execute(
        query.format(sql.Identifier(contender.table)), (cell.apps,)
    ).fetchall()
    return int(rows[0][0])


def _compared(contender: Contender, cell: Cell) -> Comparison:
    return compare(cell.expected, found_rows(contender.run, contender.table, cell))


def found_rows(run: Running, table: str, cell: Cell) -> dict[Key, Row]:
    """The contender's rows of the cell."""
    query = sql.SQL(
        "SELECT app::text, id::text, tags, session_count, mirrored_updates, "
        "(extract(epoch FROM created_at) * 1000)::bigint, "
        "(extract(epoch FROM updated_at) * 1000)::bigint FROM {} "
        "WHERE app = ANY(%s) AND (session_count > 0 OR mirrored_updates > 0)"
    )
    found = run.sql.execute(query.format(sql.Identifier(table)), (cell.apps,))
    return {(app, row): dict(zip(COLUMNS, values, strict=True)) for app, row, *values in found}
