"""A world for the real bridge and the real worker: simulated Kafka, Redis, PostgreSQL and time.

One seed is one schedule. Single-threaded: every action is drawn from the seed's random generator,
and processes are stopped and continued between any two of their transactions.
"""

import random
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ingest.bridge import Bridge
from ingest.held import Limits
from ingest.ports import DispatcherAway, Fetched, LedgerAway, Part, Polled
from notify.domain import rows as wire
from notify.domain.lanes import partition_of
from notify.domain.patch import ADD, DEFAULT, REMOVE, SET, Op, Patch
from notify.domain.policy import SCOPE_ALL, SCOPE_MIRRORED, Limit, Policy, Skip
from notify.domain.stream import LogFacts, StreamRow
from notify.domain.update import DELETE, DETACH, LABELS, UPDATE, Update, encode
from tests.fakes import MemoryDatabase, MemoryLanes, MemoryLedger, Tables
from workers.apply import (
    TRY_FROM_ATTEMPT,
    BadData,
    Original,
    Segment,
    Unavailable,
    apply_isolated,
    apply_merged,
)

APPS = [str(uuid.UUID(int=0xA000 + n)) for n in range(3)]
RECORDS = [str(uuid.UUID(int=0xB000 + n)) for n in range(9)]
#: PostgreSQL refuses every row that adds to this counter; every worker that touches a row that adds to
#: that one dies.
POISON = "spent_micros"
KILLER = "purchase_count"
LIMITS = Limits(
    window_offsets=30,
    chunk_messages=6,
    chunk_bytes=6_000,
    window_bytes=30_000,
    task_rows=4,
    task_bytes=4_000,
    resend_after_ms=200,
    resend_after_max_ms=1_000,
    hot_records=4,
)
TOPIC_ID = "topic"


class Crash(BaseException):
    """The process died here."""


@dataclass(slots=True)
class Partition:
    """A log: offsets rise, with holes."""

    messages: list[Fetched] = field(default_factory=list)
    end: int = 0

    def append(self, value: bytes, *, hole: int) -> None:
        """Add a message after `hole` offsets that no consumer ever sees."""
        self.messages.append(Fetched(self.end + hole, value))
        self.end += hole + 1


@dataclass(slots=True)
class Task:
    """What stands in a lane's queue."""

    lane: int
    attempt: int
    parts: list[Part]
    rows: str


class SimClock:
    """Milliseconds that the schedule moves on."""

    def __init__(self, rng: random.Random) -> None:
        self.now = 0
        self._rng = rng

    def now_ms(self) -> int:
        return self.now

    def token(self) -> int:
        return self._rng.getrandbits(62) + 1


class SimLog:
    """One group member's view. It learns of rebalances late, and may go on as a zombie."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.assigned: list[int] = []
        self.revoked: list[int] = []
        self.positions: dict[int, int] = {}
        self.paused: set[int] = set()

    def poll(self, timeout_ms: int) -> Polled:
        polled = Polled(revoked=self.revoked, assigned=self.assigned)
        self.revoked, self.assigned = [], []
        for partition in polled.revoked:
            self.positions.pop(partition, None)
        for partition in polled.assigned:
            self.positions[partition] = 0
            self.paused.add(partition)
        for partition in self.positions:
            if partition not in self.paused:
                found = self._fetch(partition)
                if found:
                    polled.messages[partition] = found
        return polled

    def _fetch(self, partition: int) -> list[Fetched]:
        log, position = self._world.log[partition], self.positions[partition]
        ahead = [message for message in log.messages if message.offset >= position]
        found = ahead[: self._world.rng.randint(0, 8)]
        if found:
            self.positions[partition] = found[-1].offset + 1
        if len(found) == len(ahead):
            self.positions[partition] = max(log.end, position)
        return found

    def facts(self, partitions: Collection[int]) -> Mapping[int, LogFacts]:
        log = self._world.log
        return {n: LogFacts(TOPIC_ID, len(log), 0, log[n].end) for n in partitions}

    def seek(self, partition: int, offset: int) -> None:
        self.positions[partition] = offset

    def position(self, partition: int) -> int:
        return self.positions[partition]

    def end(self, partition: int) -> int | None:
        return None

    def pause(self, partition: int) -> None:
        self.paused.add(partition)

    def resume(self, partition: int) -> None:
        self.paused.discard(partition)

    def commit(self, offsets: Mapping[int, int]) -> None:
        return


class SimDispatcher:
    """Redis: queues that may lose, repeat and reorder."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def send(self, lane: int, parts: Sequence[Part], *, attempt: int) -> None:
        world = self._world
        if world.faults and world.rng.random() < 0.05:
            raise DispatcherAway("refused")
        rows = wire.encode(
            (part.batch.stream, write) for part in parts for write in part.batch.merged
        )
        task = Task(lane, attempt, list(parts), rows)
        for _ in range(2 if world.faults and world.rng.random() < 0.05 else 1):
            world.queue.append(task)

    def queued(self, lane: int) -> int:
        return sum(task.lane == lane for task in self._world.queue)


class SimLanes(MemoryLanes):
    """A worker's session: it may die before or after any commit."""

    def __init__(self, world: "World", attempt: int) -> None:
        super().__init__(world.db)
        self._world = world
        self._attempt = attempt
        self._depth = 0

    def apply(self, lane: int, segments: Sequence[Segment], rows: str) -> set[int]:
        if KILLER in rows:
            raise Crash
        if POISON in rows:
            raise BadData("refused")
        if self._depth:
            return super().apply(lane, segments, rows)
        self._crash()
        applied = super().apply(lane, segments, rows)
        self._world.committed()
        self._crash()
        return applied

    def _crash(self) -> None:
        """A batch that was sent often is not let die by chance: it would be taken for a killer."""
        if self._attempt < TRY_FROM_ATTEMPT:
            self._world.maybe_crash(0.04)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._depth += 1
        try:
            with super().transaction():
                yield
                if self._depth == 1:
                    self._crash()
        finally:
            self._depth -= 1
        if not self._depth:
            self._world.committed()


class World:
    """Everything outside the bridges and workers, and the schedule's dice."""

    def __init__(
        self,
        seed: int,
        *,
        partitions: int = 2,
        lanes: int = 3,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.rng = random.Random(seed)
        self.clock = SimClock(self.rng)
        self.db = MemoryDatabase(partitions=partitions, without=without)
        self.log = [Partition() for _ in range(partitions)]
        for partition in range(partitions):
            self.db.make_stream(
                StreamRow(partition + 1, TOPIC_ID, partition, lanes, lanes, 0, 0, 0)
            )
        self.queue: list[Task] = []
        self.faults = True
        self.poison = self.rng.random() < 0.3
        self.history: list[Tables] = [self.db.tables.snapshot()]
        self.bridges: list[tuple[Bridge, SimLog]] = []
        self.owner: dict[int, int] = {}
        self.policy_at: dict[int, Policy] = {0: self.db.policies[-1]}
        self.trace: list[str] = []

    # -- PostgreSQL ------------------------------------------------------------------------------

    def committed(self) -> None:
        """Remember the committed state: a restart may go back to one of the last."""
        self.history.append(self.db.tables.snapshot())
        del self.history[:-8]

    def lose_commits(self) -> None:
        """PostgreSQL restarts without its last commits, as `synchronous_commit = off` allows."""
        back = self.rng.randint(1, min(6, len(self.history)))
        self.db.tables = self.history[-back].snapshot()
        self.history = [self.db.tables.snapshot()]

    def maybe_crash(self, chance: float) -> None:
        if self.faults and self.rng.random() < chance:
            raise Crash

    def _before_commit(self) -> None:
        if self.faults and self.rng.random() < 0.03:
            raise LedgerAway("connection refused")

    def _after_commit(self) -> None:
        self.committed()
        if self.faults and self.rng.random() < 0.03:
            raise LedgerAway("COMMIT with unknown outcome")

    # -- bridges and the group -------------------------------------------------------------------

    def start_bridge(self) -> None:
        log = SimLog(self)
        ledger = MemoryLedger(
            self.db, before_commit=self._before_commit, after_commit=self._after_commit
        )
        bridge = Bridge(log, ledger, SimDispatcher(self), self.clock, LIMITS)
        self.bridges.append((bridge, log))
        self.rebalance()

    def kill_bridge(self) -> None:
        if self.bridges:
            self.bridges.pop(self.rng.randrange(len(self.bridges)))
            self.rebalance()

    def rebalance(self) -> None:
        """Hand every partition to a random member. Some members are not told that they lost one."""
        for partition in range(len(self.log)):
            if not self.bridges:
                return
            _, log = self.rng.choice(self.bridges)
            for _, other in self.bridges:
                if other is not log and partition in other.positions:
                    is_told = not self.faults or self.rng.random() < 0.6
                    if is_told:
                        other.revoked.append(partition)
            if partition in log.positions:
                log.revoked.append(partition)
            log.assigned.append(partition)

    def step_bridge(self) -> None:
        if not self.bridges:
            return
        bridge, _ = self.rng.choice(self.bridges)
        if not self.faults or self.rng.random() < 0.7:
            bridge.step(0)
        else:
            part = self.rng.choice([bridge.load, bridge.tick, bridge.dispatch, bridge.resend])
            part()

    # -- workers ---------------------------------------------------------------------------------

    def work(self) -> None:
        """A worker takes a task, mostly the oldest, and may die on it."""
        if not self.queue:
            return
        at = 0
        if self.faults and self.rng.random() < 0.2:
            at = self.rng.randrange(len(self.queue))
        task = self.queue[at]
        if not self.faults or self.rng.random() < 0.95:
            del self.queue[at]
        lanes = SimLanes(self, task.attempt)
        segments = [
            Segment(p.batch.stream, p.partition, p.token, p.batch.prev, p.batch.last)
            for p in task.parts
        ]
        try:
            if task.parts[0].batch.isolated:
                originals = [
                    Original(offset, wire.row(segments[0].stream, write), message.decode())
                    for offset, write, message in task.parts[0].batch.isolated
                ]
                apply_isolated(
                    lanes,
                    task.lane,
                    segments[0],
                    originals=originals,
                    attempt=task.attempt,
                    dead_letters_max=10_000,
                )
            else:
                apply_merged(lanes, task.lane, segments, rows=task.rows, attempt=task.attempt)
        except (Crash, Unavailable):
            return

    def lose_tasks(self) -> None:
        """Redis loses one task, or all."""
        if self.rng.random() < 0.3:
            self.queue.clear()
        elif self.queue:
            del self.queue[self.rng.randrange(len(self.queue))]

    # -- the outside world -----------------------------------------------------------------------

    def produce(self) -> None:
        """Web accepts an update; rarely another producer writes nonsense."""
        rng = self.rng
        update = self._update()
        partition = partition_of(update.app, len(self.log))
        value = encode(update)
        dice = rng.random()
        if dice < 0.02:
            value = b"\xff{"
        elif dice < 0.04:
            partition = rng.randrange(len(self.log))
        self.log[partition].append(value, hole=rng.randint(1, 40) if rng.random() < 0.06 else 0)

    def _update(self) -> Update:
        rng = self.rng
        app = rng.choice(APPS)
        record = RECORDS[0] if rng.random() < 0.4 else rng.choice(RECORDS)
        op = rng.choices([UPDATE, DELETE, DETACH], [20, 1, 1])[0]
        at = 1_000 + self.clock.now
        if op != UPDATE:
            return Update(app, rng.choice(RECORDS[:-1]), at, "m", op=op)
        ops: dict[str, Op] = {"session_count": (ADD, 1)}
        for name in rng.sample("abc", rng.randint(0, 2)):
            ops["tags." + name] = rng.choice(
                [(SET, rng.randint(0, 99)), (REMOVE, None), (DEFAULT, "d")]
            )
        if self.poison and rng.random() < 0.03:
            record = RECORDS[-1]  # never deleted: a delete merged after it would swallow the poison
            if rng.random() < 0.3:
                return Update(
                    app, record, at, "m", patch=Patch(False, {KILLER: (ADD, 1)}), only=True
                )
            ops[POISON] = (ADD, 1)
        links: dict[str, str | None] = {}
        if rng.random() < 0.25:
            parent = rng.choice([None, *RECORDS[:3]])
            if parent != record:
                links[rng.choice(LABELS)] = parent
        return Update(
            app, record, at, "m", patch=Patch(False, ops), links=links, only=rng.random() < 0.02
        )

    def edit_policy(self) -> None:
        """Skip, unskip, a limit up or down; some with an end."""
        rng, before = self.rng, self.db.policies[-1]
        skips, limits = dict(before.skips), dict(before.limits)
        end = None if rng.random() < 0.7 else self.db.now + rng.randint(1, 500)
        app = rng.choice(APPS)
        if rng.random() < 0.5:
            key = (app, rng.choice(RECORDS[:3]))
            if skips.pop(key, None) is None:
                scope = rng.choice([SCOPE_ALL, SCOPE_MIRRORED])
                skips[key] = Skip(before.version + 1, scope, end)
        else:
            limits[rng.choice([app, None]), rng.choice(LABELS)] = Limit(rng.randint(0, 4), end)
        self.db.policies.append(Policy(before.version + 1, skips, limits))

    def change_lanes(self) -> None:
        stream = self.rng.choice(list(self.db.tables.streams))
        row = self.db.tables.streams[stream]
        self.db.tables.streams[stream] = replace(row, lanes_wanted=self.rng.randint(1, 5))
        self.committed()

    def pass_time(self) -> None:
        passed = self.rng.choice([1, 10, 50, 300])
        self.clock.now += passed
        self.db.now += passed
