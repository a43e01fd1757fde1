"""A world for the real bridge and the real worker: simulated Kafka, Redis, PostgreSQL and time.

Every method without a leading underscore that `schedule.py` names is one step. A step draws its dice
from the seed and its own number, so a schedule without some of its steps goes on as it would have.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from ingest.bridge import Bridge
from ingest.bridge_limits import BridgeLimits
from ingest.ports import LedgerAway
from notify.domain.engine.digest import Digests, Expected, last_before
from notify.domain.engine.stream import Position, StreamRow, fit, needed_version
from notify.domain.records.policy import SCOPE_ALL, SCOPE_MIRRORED, Limit, Policy, Skip
from notify.domain.records.update import LABELS
from tests.fakes import MemoryDatabase, MemoryLedger, Tables
from tests.simulation import traffic
from tests.simulation.kafka import Partition, SimLog, Topic
from tests.simulation.traffic import APPS, LATER, RECORDS
from tests.simulation.workers import SimDispatcher, Stalled, Task, work

LIMITS = BridgeLimits(
    window_offsets=30,
    chunk_messages=6,
    short_chunk_messages=2,
    chunk_bytes=1_000,
    window_bytes=2_000,
    task_rows=4,
    shared_rows=4,
    task_bytes=4_000,
    resend_after_ms=200,
    resend_after_max_ms=1_000,
    hot_records=4,
    unread_after_ms=1_000,
)
#: The share of updates that web writes as the later release does; most seeds have one release only.
LATER_SHARES = (0, 0, 0, 0.1)
#: Makes other dice of a seed than those of everything else.
RELEASES = 0x5DEECE66D
BRIDGES_MAX = 3
LANES = 3
#: Commits that PostgreSQL may lose at once.
LOST_COMMITS_MAX = 6
#: How long a client's message id is remembered: part of a schedule.
SEEN_MS = 2_000


class GivenUp(NamedTuple):
    """Writes that an operator gave up: those of a lane, of so many, with offsets in (after, before)."""

    stream: int
    lanes: int
    lane: int
    after: int
    before: int


class SimClock:
    """Milliseconds that the schedule moves on, and tokens of its dice."""

    def __init__(self, world: "World") -> None:
        self.now = 0
        self._world = world

    def now_ms(self) -> int:
        return self.now

    def token(self) -> int:
        return self._world.rng.getrandbits(62) + 1


class World:
    """Everything outside the bridges and workers."""

    def __init__(
        self, seed: int, *, partitions: int = 2, without: frozenset[str] = frozenset()
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.faults = True
        self.poison = self.rng.random() < 0.3
        #: The share of policy versions that end by themselves. An edit waits for the disk, so nothing
        #: before it is lost; an end is how decisions that were lost come back different.
        self.expiring = self.rng.choice((0.1, 0.3, 0.9))
        #: Dice of their own, so that a schedule is else the same as with one release.
        self.releases = random.Random(seed ^ RELEASES)
        self.later_share = self.releases.choice(LATER_SHARES)
        self.clock = SimClock(self)
        self.db = MemoryDatabase(partitions=partitions, seen_ms=SEEN_MS, without=without)
        self.topics: dict[str, list[Partition]] = {}
        self.topic = self._new_topic(partitions)
        self._make_streams()
        self.queue: list[Task] = []
        self.stalled: list[Stalled] = []
        self.history: list[Tables] = [self.db.tables.snapshot()]
        #: How often PostgreSQL has lost its last commits.
        self.commits_lost = 0
        self.bridges: list[tuple[Bridge, SimLog]] = []
        self.committed_offsets: dict[int, int] = {}
        self.kafka_away = self.redis_away = self.postgres_away = False
        #: Logs that Kafka lost messages of, as they were: they come back.
        self.cut_logs: dict[int, Partition] = {}
        self.given_up: list[GivenUp] = []
        #: Streams whose offsets first..next-1 were never decided, and never will be.
        self.undecided: list[tuple[int, int, int]] = []
        #: Something happened that a bridge must halt for.
        self.may_halt = False

    def begin(self, number: int) -> None:
        """The step's own dice."""
        self.rng.seed(self.seed * 1_000_003 + number)
        self.releases.seed(self.seed * 1_000_003 + number ^ RELEASES)

    def chance(self, share: float) -> bool:
        """Whether a fault strikes here."""
        return self.faults and self.rng.random() < share

    def close(self) -> None:
        """Kill the stalled workers, whose threads would wait for ever."""
        for stalled in self.stalled:
            stalled.kill()

    # -- PostgreSQL ------------------------------------------------------------------------------

    def committed(self) -> None:
        """Remember the committed state: a restart may go back to one of the last."""
        self.history.append(self.db.tables.snapshot())
        del self.history[: -LOST_COMMITS_MAX - 1]

    def _durable(self) -> None:
        """A commit of the admin's or a command's: they wait for the disk, so all before is there."""
        self.history = [self.db.tables.snapshot()]

    def lose_commits(self) -> None:
        """PostgreSQL restarts without its last commits, as `synchronous_commit = off` allows."""
        back = self.rng.randint(1, len(self.history))
        self.db.tables = self.history[-back].snapshot()
        self.history = [self.db.tables.snapshot()]
        self.commits_lost += 1

    def postgres_goes_or_comes(self) -> None:
        """It refuses connections for a while."""
        self.postgres_away = not self.postgres_away

    def _before_commit(self) -> None:
        if self.postgres_away or self.chance(0.02):
            raise LedgerAway("connection refused")

    def _after_commit(self) -> None:
        self.committed()
        if self.chance(0.03):
            raise LedgerAway("COMMIT with unknown outcome")

    # -- bridges and the group -------------------------------------------------------------------

    def start_bridge(self) -> None:
        """One of the later release, or of the one before, which must wait for its messages."""
        if len(self.bridges) == BRIDGES_MAX:
            return
        is_one = self.later_share == 0 or not self.faults
        is_later = is_one or self.releases.random() < 0.5
        limits = replace(LIMITS, reads=LATER if is_later else LATER - 1)
        log = SimLog(self)
        ledger = MemoryLedger(
            self.db, before_commit=self._before_commit, after_commit=self._after_commit
        )
        self.bridges.append((Bridge(log, ledger, SimDispatcher(self), self.clock, limits), log))
        self.rebalance()

    def kill_bridge(self) -> None:
        if self.bridges:
            self.bridges.pop(self.rng.randrange(len(self.bridges)))
            self.rebalance()

    def rebalance(self) -> None:
        """Hand every partition to a random member. Some are not told that they lost one: zombies."""
        for partition in range(len(self.topic.partitions)):
            if not self.bridges:
                return
            _, log = self.rng.choice(self.bridges)
            for _, other in self.bridges:
                if other is not log and partition in other.positions and not self.chance(0.4):
                    other.revoked.append(partition)
            if partition in log.positions:
                log.revoked.append(partition)
            log.assigned.append(partition)

    def step_bridge(self) -> None:
        """A whole round, or one part of it, after which the bridge stands for a while."""
        if not self.bridges:
            return
        bridge, _ = self.rng.choice(self.bridges)
        if not self.chance(0.3):
            bridge.step(0)
        else:
            self.rng.choice([bridge.load, bridge.tick, bridge.dispatch, bridge.resend])()

    # -- Redis and workers -----------------------------------------------------------------------

    def work(self) -> None:
        """A worker takes a task, mostly the oldest; the task may be there again later."""
        if not self.queue:
            return
        at = self.rng.randrange(len(self.queue)) if self.chance(0.2) else 0
        task = self.queue[at]
        if not self.chance(0.05):
            del self.queue[at]
        work(self, task, lambda: None)

    def stall_worker(self) -> None:
        """A worker takes a task and stalls before, between or after its transactions."""
        if self.queue:
            task = self.queue.pop(0)
            self.stalled.append(Stalled(self, task, pauses=self.rng.randint(1, 4)))

    def continue_worker(self) -> None:
        """A stalled worker goes on, long after its batch was sent again."""
        if self.stalled:
            stalled = self.rng.choice(self.stalled)
            stalled.go()
            if stalled.done:
                self.stalled.remove(stalled)

    def lose_tasks(self) -> None:
        """Redis loses one task, or all."""
        if self.rng.random() < 0.3:
            self.queue.clear()
        elif self.queue:
            del self.queue[self.rng.randrange(len(self.queue))]

    def reorder_tasks(self) -> None:
        """As after requeues."""
        self.rng.shuffle(self.queue)

    def redis_goes_or_comes(self) -> None:
        """It refuses everything for a while."""
        self.redis_away = not self.redis_away

    # -- Kafka -----------------------------------------------------------------------------------

    def produce(self) -> None:
        """Web of one release or the other accepts an update; rarely another producer writes nonsense."""
        logs = self.topic.partitions
        partition, value = traffic.message(
            self.rng, 1_000 + self.clock.now, poison=self.poison, partitions=len(logs)
        )
        if self.releases.random() < self.later_share:
            value = traffic.of_later_release(value)
        hole = self.rng.randint(1, 40) if self.rng.random() < 0.06 else 0
        logs[partition].append(value, hole=hole)

    def kafka_goes_or_comes(self) -> None:
        """No broker answers for a while."""
        self.kafka_away = not self.kafka_away

    def deafen(self) -> None:
        """A partition is paused at a bad moment, and the client forgets to fetch it from then on."""
        if self.bridges:
            _, log = self.rng.choice(self.bridges)
            log.deaf |= set(self.rng.sample(sorted(log.positions), min(1, len(log.positions))))

    def make_topic_again(self) -> None:
        """The topic is deleted and made again, empty: what was not applied yet is gone."""
        self.may_halt = True
        self.restore_messages()
        self.topic = self._new_topic(len(self.topic.partitions))

    def delete_old_messages(self) -> None:
        """Kafka's retention moves the log start, perhaps past what is applied, or even planned.

        What took the offsets of lost messages stays until a bridge has seen it: nobody could tell that
        it was ever there.
        """
        self.may_halt = True
        partition = self.rng.randrange(len(self.topic.partitions))
        log, end = self.topic.partitions[partition], self.topic.partitions[partition].end
        stream = self._stream(partition)
        if partition in self.cut_logs and stream is not None and stream.last_message is not None:
            end = max(log.start, min(end, stream.last_message.offset))
        log.start = self.rng.randint(log.start, end)

    def planned_of(self, stream: StreamRow, log: Partition) -> bool:
        """Whether this is the log that the stream was planned from, by the digests."""
        expected = Expected(
            self._digests(stream),
            stream.last_message,
            frontier=stream.frontier,
            planned=stream.planned,
            log_start=log.start,
        )
        for offset, value in log.messages:
            if expected.first <= offset < stream.planned:
                expected.meet(offset, value or b"")
        return expected.replaced() is None

    def _digests(self, stream: StreamRow) -> list[Digests]:
        plan = (row for (of, _), row in self.db.tables.plan.items() if of == stream.id)
        return [Digests(row.first, row.next, row.digests) for row in plan]

    def lose_messages(self) -> None:
        """Kafka comes back without the log's last messages; others take some of their offsets."""
        partition = self.rng.randrange(len(self.topic.partitions))
        log = self.topic.partitions[partition]
        stream = self._stream(partition)
        if (
            partition in self.cut_logs
            or stream is None
            or not log.start < stream.planned <= log.end
        ):
            return
        self.may_halt = True
        self.cut_logs[partition] = replace(log, messages=list(log.messages))
        log.cut(self.rng.randint(log.start, stream.planned - 1))
        for _, other in self.bridges:
            other.truncated.add(partition)

    def _new_topic(self, partitions: int) -> Topic:
        name = f"topic-{len(self.topics)}"
        self.topics[name] = [Partition() for _ in range(partitions)]
        return Topic(name, self.topics[name], partitions)

    # -- operators -------------------------------------------------------------------------------

    def edit_policy(self) -> None:
        """Skip, unskip, a limit up or down; some with an end."""
        rng, before = self.rng, self.db.policies[-1]
        skips, limits = dict(before.skips), dict(before.limits)
        end = self.db.now + rng.randint(1, 500) if rng.random() < self.expiring else None
        app = rng.choice(APPS)
        if rng.random() < 0.5:
            key = (app, rng.choice(RECORDS[:3]))
            if skips.pop(key, None) is None:
                scope = rng.choice([SCOPE_ALL, SCOPE_MIRRORED])
                skips[key] = Skip(before.version + 1, scope, end)
        else:
            limits[rng.choice([app, None]), rng.choice(LABELS)] = Limit(rng.randint(0, 4), end)
        self.db.policies.append(Policy(before.version + 1, skips, limits))
        self._durable()

    def change_lanes(self) -> None:
        """`manage.py lanes --to N`, of one stream."""
        stream = self._stream(self.rng.randrange(len(self.topic.partitions)))
        if stream is not None:
            self._write(replace(stream, lanes_wanted=self.rng.randint(1, 5)))
            self._durable()

    def operate(self) -> None:
        """Somebody looks at halted streams and does what the reason says."""
        halted = [
            stream
            for stream in self.db.tables.streams.values()
            if stream.topic_id == self.db.topic_id and stream.halted is not None
        ]
        if halted and self.db.topic_id != self.topic.id:
            self._retire()
            self._make_streams()
            self._durable()
            halted = []
        for stream in halted:
            if stream.partition in self.cut_logs:
                continue  # the reason says to restore the messages first
            if needed_version(stream.halted or "") is not None:
                continue  # the reason says to upgrade the bridges
            log = self.topic.partitions[stream.partition]
            if log.start > stream.frontier:
                self._move(stream, log)
            else:
                self._write(replace(stream, halted=None))
        if halted:
            self._durable()

    def restore_messages(self) -> None:
        """The messages that Kafka lost are there again."""
        for partition in sorted(self.cut_logs):
            self._restore(partition)

    def _restore(self, partition: int) -> None:
        """The lost messages are there again; what took their offsets is lost with the broker.

        Nobody restores them where PostgreSQL has lost all that was planned of them too, and what took
        their offsets was planned meanwhile.
        """
        log = self.cut_logs.pop(partition)
        stream = self._stream(partition)
        if stream is None or self.planned_of(stream, log):
            self.topics[self.topic.id][partition] = log

    def _retire(self) -> None:
        """`topic adopt --abandon`, the old topic's part: its streams end where they stand."""
        for stream in list(self.db.tables.streams.values()):
            if stream.topic_id == self.db.topic_id:
                self._write(replace(stream, token=self.clock.token(), halted="replaced"))

    def _make_streams(self) -> None:
        """`topic adopt`, the new topic's part."""
        self.db.topic_id = self.topic.id
        first = len(self.db.tables.streams) + 1
        for partition, log in enumerate(self.topic.partitions):
            self.db.make_stream(
                StreamRow(
                    first + partition,
                    self.topic.id,
                    partition,
                    LANES,
                    LANES,
                    0,
                    log.start,
                    log.start,
                )
            )

    def _move(self, stream: StreamRow, log: Partition) -> None:
        """`topic adopt --abandon` of the active topic: the stream goes on from the log's start."""
        before = Position(stream.frontier, stream.planned)
        frontier, planned = fit(before, start=log.start, end=log.end)
        if planned > stream.planned:
            self.undecided.append((stream.id, stream.planned, planned))
        for (of, lane), row in self.db.tables.lanes.items():
            if of == stream.id:
                self.given_up.append(GivenUp(stream.id, stream.lanes, lane, row.last, frontier))
        self._write(
            replace(
                stream,
                frontier=frontier,
                planned=planned,
                token=self.clock.token(),
                halted=None,
                last_message=last_before(
                    planned, self._digests(stream), stream.last_message, planned=stream.planned
                ),
            )
        )

    def _stream(self, partition: int) -> StreamRow | None:
        for stream in self.db.tables.streams.values():
            if stream.partition == partition and stream.topic_id == self.topic.id:
                return stream
        return None

    def _write(self, stream: StreamRow) -> None:
        self.db.tables.streams[stream.id] = stream

    def pass_time(self) -> None:
        passed = self.rng.choice([1, 10, 50, 300])
        self.clock.now += passed
        self.db.now += passed

    # -- the end ---------------------------------------------------------------------------------

    def heal(self) -> None:
        """Faults stop: one bridge, of the later release, everything answers, the operator has done what
        there was to do."""
        self.faults = False
        self.kafka_away = self.redis_away = self.postgres_away = False
        self.close()
        self.stalled.clear()
        self.restore_messages()
        self.bridges = [pair for pair in self.bridges if pair[0]._limits.reads == LATER][:1]
        if not self.bridges:
            self.start_bridge()
        self.rebalance()

    @contextmanager
    def closing(self) -> Iterator["World"]:
        """The world, with no thread left at the end."""
        try:
            yield self
        finally:
            self.faults = False
            self.close()
