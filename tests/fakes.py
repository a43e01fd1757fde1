"""In-memory forms of our edges: PostgreSQL as the protocol sees it.

One `MemoryDatabase` holds the tables; `MemoryLedger` and `MemoryLanes` are the bridge's and the workers'
sessions on it. The contract tests hold them equal to PostgreSQL, the simulation runs on them. The
guards can be taken away one by one, to show that something then turns red.
"""

import copy
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ingest.ports import Chunk, DeadMessage, Loaded, Samples, SkippedRow
from notify.domain.engine.digest import Last
from notify.domain.engine.stream import LaneRow, PlanRow, StreamRow
from notify.domain.engine.task import IsolatedRow, Segment
from notify.domain.engine.window import ONE_AT_A_TIME
from notify.domain.records import task_rows as wire
from notify.domain.records.idempotency import SeenKey
from notify.domain.records.links import Links, ParentKey
from notify.domain.records.patch import COUNTERS, Value, apply
from notify.domain.records.policy import Policy
from workers.apply import BadData, StreamLane

State = dict[str, Value]
BIGINT_MAX = 2**63 - 1


@dataclass(slots=True)
class Tables:
    """The rows, immutable ones in dicts of their own, so that a copy of the dicts is a snapshot."""

    streams: dict[int, StreamRow] = field(default_factory=dict)
    lanes: dict[tuple[int, int], LaneRow] = field(default_factory=dict)
    plan: dict[tuple[int, int], PlanRow] = field(default_factory=dict)
    plan_log: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    parents: dict[tuple[str, str, str], tuple[str, int]] = field(default_factory=dict)
    generations: dict[tuple[str, str], int] = field(default_factory=dict)
    counts: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    records: dict[tuple[str, str], State] = field(default_factory=dict)
    dead: list[tuple[int, int, str | None, str | None]] = field(default_factory=list)
    skipped: list[tuple[int, SkippedRow]] = field(default_factory=list)
    #: When it was counted, by client's message id.
    seen: dict[SeenKey, int] = field(default_factory=dict)

    def snapshot(self) -> "Tables":
        """A copy that later changes do not reach."""
        return Tables(*(copy.copy(getattr(self, name)) for name in self.__slots__))


GUARDS = ("prev", "token", "planned", "equality", "atomic")


@dataclass(slots=True)
class MemoryDatabase:
    """Committed tables, the policy and a clock. `without` names guards that are taken away."""

    tables: Tables = field(default_factory=Tables)
    policies: list[Policy] = field(default_factory=lambda: [Policy()])
    now: int = 1_000
    partitions: int = 1
    #: How long a client's message id is remembered.
    seen_ms: int = 3_600_000
    #: The active topic; None if there was never another.
    topic_id: str | None = None
    without: frozenset[str] = frozenset()

    def make_stream(self, stream: StreamRow) -> None:
        """As `topic create` does."""
        self.tables.streams[stream.id] = stream
        for lane in range(stream.lanes):
            self.tables.lanes[stream.id, lane] = LaneRow(stream.planned - 1)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it; blocks may be nested."""
        before = self.tables.snapshot()
        try:
            yield
        except BaseException:
            self.tables = before
            raise


class MemoryLanes:
    """`Lanes` in memory: the worker's guarded statements."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._db = database

    def _is_next(self, segment: Segment) -> bool:
        tables, without = self._db.tables, self._db.without
        row = tables.lanes.get((segment.stream, segment.lane))
        stream = tables.streams.get(segment.stream)
        if row is None or stream is None:
            return False
        in_place = row.last == segment.prev
        if "equality" in without:
            in_place = row.last < segment.last
        return (
            ("prev" in without or in_place)
            and ("token" in without or stream.token == segment.token)
            and ("planned" in without or stream.planned > segment.last)
        )

    def apply(self, segments: Sequence[Segment], rows: str) -> set[StreamLane]:
        with self._db.transaction():
            applied = {(each.stream, each.lane) for each in segments if self._is_next(each)}
            for segment in segments:
                key = (segment.stream, segment.lane)
                if key in applied:
                    row = self._db.tables.lanes[key]
                    narrow = row.tries < 0 and segment.last < row.isolate
                    tries = ONE_AT_A_TIME if narrow else 0
                    self._db.tables.lanes[key] = replace(row, last=segment.last, tries=tries)
            lanes = [row.get("l", segments[0].lane) for row in json.loads(rows)]
            for lane, (stream, write) in zip(lanes, wire.decode(rows), strict=True):
                if any(
                    abs(value) > BIGINT_MAX
                    for key, (_, value) in write.patch.ops.items()
                    if key in COUNTERS and isinstance(value, int)
                ):
                    raise BadData("22003 out of range")
                if (stream, lane) in applied or self._is_lane_overlooked(stream, applied):
                    key_ = (write.app, write.record)
                    before = self._db.tables.records.get(key_, {})
                    self._db.tables.records[key_] = apply(before, write.patch)
        return applied

    def _is_lane_overlooked(self, stream: int, applied: set[StreamLane]) -> bool:
        """Whether a row's lane is overlooked, and another lane of its stream was moved."""
        return "lane" in self._db.without and any(each == stream for each, _ in applied)

    def count_try(self, segment: Segment) -> int | None:
        if not self._is_next(segment):
            return None
        row = self._db.tables.lanes[segment.stream, segment.lane]
        row = replace(row, tries=row.tries + (-1 if row.tries < 0 else 1))
        self._db.tables.lanes[segment.stream, segment.lane] = row
        return ONE_AT_A_TIME - row.tries if row.tries < 0 else row.tries

    def survived(self, segment: Segment) -> None:
        if self._is_next(segment):
            row = self._db.tables.lanes[segment.stream, segment.lane]
            tries = ONE_AT_A_TIME if row.tries < 0 else 0
            self._db.tables.lanes[segment.stream, segment.lane] = replace(row, tries=tries)

    def isolate(self, segment: Segment, *, tries: int) -> None:
        if self._is_next(segment):
            row = self._db.tables.lanes[segment.stream, segment.lane]
            row = replace(row, isolate=max(row.isolate, segment.last), tries=tries)
            self._db.tables.lanes[segment.stream, segment.lane] = row

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._db.transaction():
            yield

    def dead_letter(self, segment: Segment, original: IsolatedRow, error: str) -> int:
        tables = self._db.tables
        before = _dead_letters(tables, segment.stream, tables.streams[segment.stream].frontier)
        entry = (segment.stream, original.offset, original.row["a"], original.row["r"])
        tables.dead.append(entry)
        return before + 1

    def halt(self, segment: Segment, reason: str) -> None:
        stream = self._db.tables.streams[segment.stream]
        if stream.token == segment.token and stream.halted is None:
            self._db.tables.streams[segment.stream] = replace(stream, halted=reason)


class MemoryTick:
    """`Tick` in memory."""

    def __init__(self, database: MemoryDatabase, streams: Sequence[int]) -> None:
        self._db = database
        tables = database.tables
        self.now = database.now
        self.streams: Mapping[int, StreamRow] = {
            stream: tables.streams[stream] for stream in streams if stream in tables.streams
        }
        self.lanes: Mapping[int, Mapping[int, LaneRow]] = {
            stream: _lanes(tables, stream) for stream in streams
        }

    def policy(self) -> Policy:
        return self._db.policies[-1].at(self.now)

    def links(self, children: Collection[ParentKey], parents: Collection[ParentKey]) -> Links:
        tables = self._db.tables
        found = Links()
        asked = set(parents)
        for (app, child, label), (parent, gen) in tables.parents.items():
            if (app, child) in children:
                found.parents[app, child, label] = (parent, gen)
                asked.add((app, parent))
        for key in asked:
            if key in tables.generations:
                found.generations[key] = tables.generations[key]
        for (app, parent, label, gen), n in tables.counts.items():
            if (app, parent) in asked and gen == found.generation(app, parent):
                found.counts[app, parent, label, gen] = n
        return found

    def seen(self, keys: Collection[SeenKey]) -> set[SeenKey]:
        tables, since = self._db.tables, self.now - self._db.seen_ms
        return {key for key in keys if key in tables.seen and tables.seen[key] > since}

    def dead_letters(self, stream: int, frontier: int) -> int:
        return _dead_letters(self._db.tables, stream, frontier)

    def write(
        self,
        stream: int,
        *,
        frontier: int,
        planned: int,
        chunk: Chunk | None,
        last_message: Last | None = None,
    ) -> None:
        tables = self._db.tables
        row = tables.streams[stream]
        tables.streams[stream] = row.at(
            frontier=frontier, planned=planned, last_message=last_message
        )
        for key in [
            key for key, plan in tables.plan.items() if _is_behind(key, plan, stream, frontier)
        ]:
            del tables.plan[key]
        if chunk is None:
            return
        plan = chunk.plan
        tables.plan[stream, plan.first] = plan
        tables.plan_log[stream, plan.first] = (plan.next, chunk.policy_version, self.now)
        links = chunk.links
        for child in links.new_parents:
            if child in links.parents:
                tables.parents[child] = links.parents[child]
            else:
                tables.parents.pop(child, None)
        for parent in links.new_generations:
            tables.generations[parent] = links.generations[parent]
        for count in links.new_counts:
            tables.counts[count] = links.counts[count]
        tables.skipped += [(stream, skipped) for skipped in chunk.skipped]
        tables.dead += [(stream, *_dead_key(dead)) for dead in chunk.dead]
        tables.seen |= dict.fromkeys(chunk.seen, self.now)


def _is_behind(key: tuple[int, int], plan: PlanRow, stream: int, frontier: int) -> bool:
    return key[0] == stream and plan.next <= frontier


def _dead_letters(tables: Tables, stream: int, frontier: int) -> int:
    return sum(of == stream and offset >= frontier for of, offset, _, _ in tables.dead)


def _dead_key(dead: DeadMessage) -> tuple[int, str | None, str | None]:
    return (dead.offset, dead.app, dead.record)


def _lanes(tables: Tables, stream: int) -> dict[int, LaneRow]:
    return {lane: row for (of, lane), row in tables.lanes.items() if of == stream}


class MemoryLedger:
    """`Ledger` in memory. `before_commit` and `after_commit` may raise, for tests of failures."""

    def __init__(
        self,
        database: MemoryDatabase,
        *,
        before_commit: Callable[[], None] = lambda: None,
        after_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = database
        self._before_commit = before_commit
        self._after_commit = after_commit
        self.samples: list[Samples] = []

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._db.transaction():
            yield
            self._before_commit()
        self._after_commit()

    def peek(self, partition: int) -> tuple[StreamRow, int] | None:
        self._before_commit()
        for stream in self._db.tables.streams.values():
            is_active = self._db.topic_id in (None, stream.topic_id)
            if stream.partition == partition and is_active:
                return stream, self._db.partitions
        return None

    def halt(self, stream: StreamRow, reason: str) -> None:
        with self._transaction():
            found = self._db.tables.streams[stream.id]
            if (found.planned, found.frontier) == (stream.planned, stream.frontier):
                self._db.tables.streams[stream.id] = replace(found, halted=found.halted or reason)

    def resume(self, stream: StreamRow) -> None:
        with self._transaction():
            found = self._db.tables.streams[stream.id]
            if found.halted == stream.halted:
                self._db.tables.streams[stream.id] = replace(found, halted=None)

    def load(self, stream: int, token: int) -> Loaded | None:
        with self._transaction():
            tables = self._db.tables
            found = tables.streams.get(stream)
            if found is None or found.halted is not None:
                return None
            row = replace(found, token=token)
            if row.drained and row.lanes != row.lanes_wanted:
                for key in [key for key in tables.lanes if key[0] == stream]:
                    del tables.lanes[key]
                row = replace(row, lanes=row.lanes_wanted)
                for lane in range(row.lanes):
                    tables.lanes[stream, lane] = LaneRow(row.planned - 1)
            tables.streams[stream] = row
            plan = sorted(
                (
                    plan
                    for (of, _), plan in tables.plan.items()
                    if of == stream and plan.next > row.frontier
                ),
                key=lambda plan: plan.first,
            )
            lanes = _lanes(tables, stream)
        return Loaded(row, lanes, plan)

    @contextmanager
    def tick(self, streams: Sequence[int]) -> Iterator[MemoryTick]:
        with self._transaction():
            yield MemoryTick(self._db, streams)

    def write_samples(self, samples: Samples) -> None:
        self.samples.append(samples)

    def tidy(self) -> None:
        return
