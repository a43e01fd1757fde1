"""The bridge's loop over small fakes: what it does about every loss, and that it does it once."""

import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from prometheus_client import REGISTRY
from structlog.testing import CapturingLogger

from ingest import task_body
from ingest.bridge import (
    HALTED_RETRY_MS,
    IDLE_TICK_MS,
    LOAD_RETRY_MAX_MS,
    LOAD_RETRY_MS,
    LOG_END_FRESH_MS,
    QUEUED_MAX,
    REDIS_AGAIN_MS,
    SAMPLE_EVERY_MS,
    TAKEN_MAX,
    TIDY_EVERY_MS,
    Bridge,
    _next_sample_at,
)
from ingest.bridge_limits import BridgeLimits
from ingest.ports import (
    DispatcherAway,
    Fetched,
    LedgerAway,
    Loaded,
    LogAway,
    LogEnd,
    Part,
    Polled,
    Samples,
    Task,
)
from notify.domain.engine.stream import (
    DEAD_LETTERS_MIN,
    LaneRow,
    LogFacts,
    PlanRow,
    StreamRow,
    upgrade_reason,
)
from notify.domain.engine.task import MergedTask
from notify.domain.records.idempotency import SeenKey
from notify.domain.records.patch import ADD, Op, Patch
from notify.domain.records.policy import Policy, Skip
from notify.domain.records.update import Update, encode
from tests.fakes import MemoryDatabase, MemoryLanes, MemoryLedger, MemoryTick
from workers.apply import apply_merged

#: Of two partitions, the app of the first and the app of the second.
APP, APP_1 = "00000000-0000-0000-0000-000000000004", "00000000-0000-0000-0000-000000000003"
RECORDS = [f"00000000-0000-0000-0000-0000000000b{n}" for n in range(8)]
OF_APP_1 = encode(Update(APP_1, RECORDS[0], 5, "m"))
LIMITS = BridgeLimits(
    window_offsets=6,
    chunk_messages=2,
    chunk_bytes=10_000,
    window_bytes=100_000,
    task_rows=4,
    resend_after_ms=100,
    resend_after_max_ms=700,
)
SHORT_CHUNKS = replace(LIMITS, chunk_messages=32, short_chunk_messages=8, window_offsets=100)


@dataclass
class FakeClock:
    now: int = 1_000_000
    tokens: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def now_ms(self) -> int:
        return self.now

    def token(self) -> int:
        return next(self.tokens)


@dataclass
class FakeLog:
    """The partitions' messages, and what the next poll is to bring besides."""

    messages: dict[int, list[bytes | None]] = field(default_factory=lambda: {0: [], 1: []})
    topic_id: str = "topic"
    next: Polled = field(default_factory=Polled)
    positions: dict[int, int] = field(default_factory=dict)
    paused: set[int] = field(default_factory=set)
    committed: list[dict[int, int]] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    asked: int = 0
    deaf: set[int] = field(default_factory=set)
    end_age_ms: int = 0
    reopened: int = 0
    reopening_helps: bool = True
    #: Every call of pause and resume.
    told: list[str] = field(default_factory=list)
    on_facts: Callable[[], None] = lambda: None

    def _need(self, what: str) -> None:
        if what in self.away:
            raise LogAway("no broker")

    def poll(self, timeout_ms: int) -> Polled:
        self._need("poll")
        polled, self.next = self.next, Polled()
        for partition in polled.revoked:
            self.positions.pop(partition, None)
        for partition in polled.assigned:
            self.positions[partition] = 0
            self.paused.add(partition)
        for partition in self.positions.keys() - self.paused - self.deaf:
            position, held = self.positions[partition], self.messages[partition]
            found = list(enumerate(held))[position:]
            if found:
                polled.messages[partition] = [Fetched(*pair) for pair in found]
                self.positions[partition] = len(held)
        return polled

    def facts(self, partitions: Collection[int]) -> Mapping[int, LogFacts]:
        self._need("facts")
        self.asked += 1
        self.on_facts()
        return {
            partition: LogFacts(self.topic_id, len(self.messages), 0, len(self.messages[partition]))
            for partition in partitions
        }

    def seek(self, partition: int, offset: int) -> None:
        self.positions[partition] = offset

    def position(self, partition: int) -> int:
        self._need("position")
        return self.positions[partition]

    def end(self, partition: int) -> LogEnd | None:
        return LogEnd(len(self.messages[partition]), self.end_age_ms, self.end_age_ms)

    def reopen(self) -> None:
        self.reopened += 1
        if self.reopening_helps:
            self.deaf.clear()
        self.next.assigned = sorted(self.positions)
        self.positions.clear()

    def pause(self, partition: int) -> None:
        self.told.append("pause")
        self.paused.add(partition)

    def resume(self, partition: int) -> None:
        self.told.append("resume")
        self.paused.discard(partition)

    def commit(self, offsets: Mapping[int, int]) -> None:
        self._need("commit")
        self.committed.append(dict(offsets))


@dataclass
class FakeDispatcher:
    """Keeps what it was given: (lane, parts, attempt)."""

    sent: list[tuple[int, list[Part], int]] = field(default_factory=list)
    waiting: int = 0
    away: set[str] = field(default_factory=set)
    failed: int = 0

    def send(self, tasks: Sequence[Task]) -> None:
        assert tasks, "a send without tasks costs a connection"
        self._fail("send")
        self.sent += [(lane, list(parts), attempt) for lane, parts, attempt in tasks]

    def queued(self, lane: int) -> int:
        self._fail("queued")
        return self.waiting

    def _fail(self, what: str) -> None:
        if what in self.away:
            self.failed += 1
            raise DispatcherAway("refused")


class FakeLedger(MemoryLedger):
    """Counts what it is asked for; may be away, for every COMMIT or for halts only."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database, before_commit=self._before)
        self.away = self.away_for_halts = False
        self.loads: list[int] = []
        self.peeks = self.ticks = self.tidied = 0

    def _before(self) -> None:
        if self.away:
            raise LedgerAway("no server")

    def peek(self, partition: int) -> tuple[StreamRow, int] | None:
        self.peeks += 1
        return super().peek(partition)

    def halt(self, stream: StreamRow, reason: str) -> None:
        if self.away_for_halts:
            raise LedgerAway("no server")
        super().halt(stream, reason)

    def load(self, stream: int, token: int) -> Loaded | None:
        self.loads.append(stream)
        return super().load(stream, token)

    @contextmanager
    def tick(self, streams: Sequence[int]) -> Iterator[MemoryTick]:
        self.ticks += 1
        with super().tick(streams) as tick:
            yield tick

    def write_samples(self, samples: Samples) -> None:
        self._before()
        super().write_samples(samples)

    def tidy(self) -> None:
        self.tidied += 1


class World:
    """A bridge with what it is handed, and a worker to call."""

    def __init__(
        self, *, partitions: int = 1, lanes: int = 1, limits: BridgeLimits = LIMITS
    ) -> None:
        self.db = MemoryDatabase(partitions=partitions)
        for partition in range(partitions):
            self.db.make_stream(StreamRow(partition + 1, "topic", partition, lanes, lanes, 0, 0, 0))
        self.log = FakeLog({partition: [] for partition in range(partitions)})
        self.log.next.assigned += range(partitions)
        self.ledger = FakeLedger(self.db)
        self.dispatcher, self.clock = FakeDispatcher(), FakeClock()
        self.bridge = Bridge(self.log, self.ledger, self.dispatcher, self.clock, limits)

    def produce(self, *records: str) -> None:
        ops: dict[str, Op] = {"session_count": (ADD, 1)}
        for record in records:
            update = Update(APP, record, self.clock.now, "m", patch=Patch(False, ops))
            self.log.messages[0].append(encode(update))

    def step(self, times: int = 1, *, pass_ms: int = 0) -> None:
        for _ in range(times):
            self.bridge.step(0)
            self.clock.now += pass_ms

    def work(self) -> None:
        """Run all tasks, oldest first."""
        for task in self.dispatcher.sent:
            body = task_body.of(Task(*task), dead_letters_max=1)
            assert isinstance(body, MergedTask)
            lanes = MemoryLanes(self.db)
            apply_merged(lanes, body.segments, rows=body.rows, attempt=body.attempt)
        self.dispatcher.sent.clear()

    def stream(self, number: int = 1) -> StreamRow:
        return self.db.tables.streams[number]

    def change(self, number: int = 1, **fields: object) -> None:
        self.db.tables.streams[number] = replace(self.stream(number), **fields)  # type: ignore[arg-type]

    def counts(self) -> dict[str, object]:
        found = self.db.tables.records.items()
        return {record: state["session_count"] for (_, record), state in found}


def _live(*, partitions: int = 1) -> World:
    """A world whose bridge has loaded all its partitions."""
    world = World(partitions=partitions)
    world.step(2)
    assert len(world.ledger.loads) == len(world.db.tables.streams)
    return world


def _flying() -> World:
    """A world with one batch out: offset 0, in lane 0."""
    world = _live()
    world.produce(RECORDS[0])
    world.step()
    assert len(world.dispatcher.sent) == 1
    return world


# -- the way of an update ------------------------------------------------------------------------------


def test_an_update_is_planned_sent_applied_and_left_behind() -> None:
    world = _flying()
    assert (world.stream().planned, world.stream().frontier) == (1, 0)
    assert world.bridge.in_flight
    world.work()
    world.step()
    assert world.counts() == {RECORDS[0]: 1}
    assert (world.stream().planned, world.stream().frontier) == (1, 1)
    assert not world.bridge.in_flight


def test_the_streams_of_a_bridge_share_a_lanes_task() -> None:
    world = _live(partitions=2)
    world.produce(RECORDS[0])
    world.log.messages[1].append(OF_APP_1)
    world.step()
    ((lane, parts, attempt),) = world.dispatcher.sent
    assert (lane, [part.batch.stream for part in parts], attempt) == (0, [1, 2], 1)


def test_lanes_with_few_rows_share_a_task_and_are_sent_again_alone() -> None:
    world = World(lanes=4)
    world.step(2)
    world.produce(*RECORDS[:2])
    world.step()
    ((lane, parts, _),) = world.dispatcher.sent
    lanes = [part.batch.lane for part in parts]
    assert len(lanes) == 2
    assert lane == lanes[0]
    world.dispatcher.sent.clear()
    world.clock.now += LIMITS.resend_after_ms
    world.step()
    again = [
        (lane, [part.batch.lane for part in parts]) for lane, parts, _ in world.dispatcher.sent
    ]
    assert again == [(lane, [lane]) for lane in lanes]
    world.work()
    world.step()
    assert world.counts() == dict.fromkeys(RECORDS[:2], 1)


@pytest.mark.parametrize("limits", [{"shared_rows": 1}, {"shared_rows": 0}, {"task_bytes": 1}])
def test_lanes_share_no_task_beyond_the_limits_of_rows_and_bytes(limits: dict[str, int]) -> None:
    world = World(lanes=4, limits=replace(LIMITS, **limits))
    world.step(2)
    world.produce(*RECORDS[:2])
    world.step()
    assert [len(parts) for _, parts, _ in world.dispatcher.sent] == [1, 1]


def test_each_batch_of_a_shared_task_is_logged_with_its_own_lane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`manage.py trail` looks for the line of a record's lane."""
    world = World(lanes=4)
    world.step(2)
    logger = CapturingLogger()
    monkeypatch.setattr("notify.telemetry.logs.get", lambda: logger)
    world.produce(*RECORDS[:2])
    world.step()
    ((_, parts, _),) = world.dispatcher.sent
    logged = [call.kwargs["lane"] for call in logger.calls if call.args == ("batch_sent",)]
    assert logged == [part.batch.lane for part in parts]
    assert len(set(logged)) == 2


def test_a_step_need_not_wait_while_a_whole_chunk_is_there() -> None:
    world = _live()
    assert not world.bridge.behind
    world.produce(*RECORDS[:3])
    world.bridge.poll(0)
    assert world.bridge.behind
    world.bridge.tick()
    assert not world.bridge.behind


@pytest.mark.parametrize("n", [1, 2])
def test_a_step_need_not_wait_from_exactly_one_chunk_on(n: int) -> None:
    world = _live()
    world.produce(*RECORDS[:n])
    world.bridge.poll(0)
    assert world.bridge.behind is (n == LIMITS.chunk_messages)


@pytest.mark.parametrize(
    ("of_quiet", "unread", "planned"),
    [
        (0, 0, 32),  # nothing waits beside it
        (1, 0, 8),
        (4, 0, 8),  # half of a short chunk
        (5, 0, 32),
        (4, 1, 32),  # the rest of a backlog is not fetched yet
    ],
)
def test_while_a_quiet_stream_waits_a_backlog_is_planned_in_short_chunks(
    of_quiet: int, unread: int, planned: int
) -> None:
    world = World(partitions=2, limits=SHORT_CHUNKS)
    world.step(2)
    world.produce(*RECORDS[:1] * 40)
    world.log.messages[1] += [OF_APP_1] * of_quiet
    world.bridge.poll(0)
    world.log.messages[1] += [OF_APP_1] * unread
    world.bridge.tick()
    assert (world.stream(1).planned, world.stream(2).planned) == (planned, of_quiet)


def test_before_the_log_ends_are_known_what_is_fetched_says_which_stream_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(partitions=2, limits=SHORT_CHUNKS)
    monkeypatch.setattr(world.log, "end", lambda partition: None)
    world.step(2)
    world.produce(*RECORDS[:1] * 40)
    world.log.messages[1].append(OF_APP_1)
    world.step()
    assert world.stream(1).planned == 8


def test_a_quiet_streams_batch_in_flight_keeps_the_chunks_short() -> None:
    world = World(partitions=2, limits=SHORT_CHUNKS)
    world.step(2)
    world.log.messages[1].append(OF_APP_1)
    world.step()
    world.produce(*RECORDS[:1] * 40)
    world.step()
    assert world.stream(1).planned == 8
    world.work()
    world.step()  # sees that the batch is applied
    world.step()
    assert world.stream(1).planned == 40


def test_a_step_waits_if_the_window_is_full() -> None:
    world = _live()
    world.produce(*RECORDS)
    world.step(4)
    assert world.stream().planned == LIMITS.window_offsets
    assert not world.bridge.behind


@pytest.mark.parametrize("n", [3, 4])
def test_a_partition_is_paused_from_two_chunks_on(n: int) -> None:
    world = _live()
    world.produce(*RECORDS[:n])
    world.bridge.poll(0)
    assert bool(world.log.paused) is (n == 2 * LIMITS.chunk_messages)


@pytest.mark.parametrize("n", [1, 2])
def test_a_partition_is_paused_from_the_bytes_of_two_chunks_on(n: int) -> None:
    update = encode(Update(APP, RECORDS[0], 5, "m"))
    world = World(limits=replace(LIMITS, chunk_messages=100, chunk_bytes=len(update)))
    world.step(2)
    world.log.messages[0] += [update] * n
    world.bridge.poll(0)
    assert bool(world.log.paused) is (n == 2)


def test_kafka_is_told_of_a_pause_once() -> None:
    """A call that changes nothing is not harmless: clients have lost a partition by one (F19)."""
    world = _live()
    assert world.log.told == ["resume"]
    world.produce(*RECORDS)
    world.step(3)
    assert world.log.told == ["resume", "pause"]
    for _ in range(5):
        world.work()
        world.step()
    assert world.log.told == ["resume", "pause", "resume"]


def test_with_enough_fetched_the_partition_is_paused_until_there_is_room() -> None:
    world = _live()
    world.produce(*RECORDS)
    world.step()
    assert world.log.paused == {0}
    for _ in range(5):
        world.work()
        world.step()
    assert world.log.paused == set()
    assert world.counts() == dict.fromkeys(RECORDS, 1)


def test_what_a_rule_drops_is_listed_and_not_sent() -> None:
    world = _live()
    world.db.policies.append(Policy(1, {(APP, RECORDS[0]): Skip(5)}))
    world.produce(RECORDS[0])
    world.step()
    assert world.stream().planned == 1
    assert [(row.record, row.rule) for _, row in world.db.tables.skipped] == [(RECORDS[0], 5)]
    assert world.dispatcher.sent == []


def test_a_lane_has_one_batch_in_flight() -> None:
    world = _flying()
    world.produce(RECORDS[1])
    world.step(3)
    assert len(world.dispatcher.sent) == 1
    assert world.stream().planned == 2
    world.work()
    world.step()
    ((_, (part,), _),) = world.dispatcher.sent
    assert (part.batch.prev, part.batch.last) == (0, 1)


def test_that_a_stream_is_live_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = CapturingLogger()
    monkeypatch.setattr("notify.telemetry.logs.get", lambda: logger)
    world = _live()
    world.step(5, pass_ms=IDLE_TICK_MS)
    assert [call.args for call in logger.calls].count(("stream_live",)) == 1


def test_an_idle_stream_ticks_now_and_then_to_say_that_it_is_alive() -> None:
    world = _live()
    before = world.ledger.ticks
    world.step(21, pass_ms=IDLE_TICK_MS // 10)
    assert world.ledger.ticks == before + 2


def test_a_tick_with_nothing_to_plan_records_no_plan() -> None:
    """PostgreSQL refuses a second plan row with the same first offset."""
    world = _flying()
    before = dict(world.db.tables.plan)
    world.step(3)
    assert world.db.tables.plan == before
    assert len(world.db.tables.plan_log) == 1


def test_a_chunk_without_a_clients_message_id_asks_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Collection[SeenKey]] = []
    seen = MemoryTick.seen

    def watched(self: MemoryTick, keys: Collection[SeenKey]) -> set[SeenKey]:
        asked.append(keys)
        return seen(self, keys)

    monkeypatch.setattr(MemoryTick, "seen", watched)
    world = _flying()
    assert asked == []
    patch = Patch(False, {"session_count": (ADD, 1)})
    world.log.messages[0].append(encode(Update(APP, RECORDS[1], 5, "m", patch=patch, once=True)))
    world.step()
    assert [len(keys) for keys in asked] == [1]


def _metric(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"notify_{name}", labels)
    assert found is not None, f"no notify_{name}"
    return found


def test_a_tick_shows_the_lag_and_what_it_planned() -> None:
    before = _metric("bridge_writes_total")
    world = _live()
    world.produce(*RECORDS[:3])
    world.step()
    assert _metric("bridge_lag_messages", partition="0") == 3
    assert _metric("bridge_writes_total") == before + LIMITS.chunk_messages


# -- drain ---------------------------------------------------------------------------------------------


def test_a_draining_bridge_plans_and_sends_nothing_new() -> None:
    world = _live()
    world.bridge.drain()
    world.produce(RECORDS[0])
    world.step(3, pass_ms=IDLE_TICK_MS)
    assert world.stream().planned == 0
    assert world.dispatcher.sent == []
    assert world.log.paused == {0}


def test_a_draining_bridge_stays_until_its_batches_have_landed() -> None:
    world = _flying()
    world.bridge.drain()
    world.produce(RECORDS[1])
    world.step()
    assert world.bridge.in_flight
    world.work()
    world.step()
    assert not world.bridge.in_flight
    assert (world.stream().planned, world.stream().frontier) == (1, 1)


def test_a_draining_bridge_sends_nothing_that_waits_in_the_window() -> None:
    world = _flying()
    world.produce(RECORDS[1])
    world.step()
    assert world.stream().planned == 2
    world.bridge.drain()
    world.work()
    world.step()
    assert world.dispatcher.sent == []
    assert not world.bridge.in_flight


def test_a_draining_bridge_does_not_tick_for_what_it_will_not_plan() -> None:
    world = _live()
    world.produce(RECORDS[0])
    world.bridge.poll(0)
    before = world.ledger.ticks
    world.bridge.drain()
    world.step(5)
    assert world.ledger.ticks == before


def test_a_draining_bridge_loads_nothing() -> None:
    world = World()
    world.bridge.drain()
    world.step(3)
    assert world.ledger.loads == []


# -- sending again -------------------------------------------------------------------------------------


def test_what_has_not_landed_is_sent_again_ever_more_slowly() -> None:
    world = _flying()
    start, found = world.clock.now, []
    first = world.dispatcher.sent.pop()
    for _ in range(260):
        world.clock.now += 10
        world.bridge.resend()
        for lane, parts, attempt in world.dispatcher.sent:
            assert (lane, parts) == first[:2]
            found.append((world.clock.now - start, attempt))
        world.dispatcher.sent.clear()
    assert found == [(100, 2), (300, 3), (700, 4), (1_400, 5), (2_100, 6)]


def test_what_was_sent_twice_is_applied_once() -> None:
    world = _flying()
    world.clock.now += LIMITS.resend_after_ms
    world.step()
    assert [attempt for _, _, attempt in world.dispatcher.sent] == [1, 2]
    world.work()
    world.step()
    assert world.counts() == {RECORDS[0]: 1}
    assert not world.bridge.in_flight


def test_into_a_queue_that_nobody_reads_nothing_is_sent_again() -> None:
    world = _flying()
    world.dispatcher.waiting = QUEUED_MAX
    world.step(50, pass_ms=100)
    assert len(world.dispatcher.sent) == 1
    world.dispatcher.waiting = QUEUED_MAX - 1
    world.step(10, pass_ms=100)
    assert world.dispatcher.sent[1][2] == 2


@pytest.mark.parametrize("what", ["send", "queued"])
def test_without_redis_the_batch_is_sent_when_redis_is_back(what: str) -> None:
    world = _live()
    world.dispatcher.away = {"send", what}
    world.produce(RECORDS[0])
    world.step(5, pass_ms=LIMITS.resend_after_ms)
    assert world.bridge.in_flight
    world.dispatcher.away = set()
    world.step(10, pass_ms=LIMITS.resend_after_ms)
    world.work()
    world.step()
    assert world.counts() == {RECORDS[0]: 1}


@pytest.mark.parametrize("what", ["send", "queued"])
def test_a_redis_that_is_away_is_asked_once_a_while_and_not_for_every_lane(what: str) -> None:
    world = World(lanes=4)
    world.step(2)
    world.dispatcher.away = {"send", what}
    world.produce(*RECORDS[:4])
    world.step(REDIS_AGAIN_MS // 100 * 5, pass_ms=100)
    assert world.bridge.in_flight > 1
    assert 1 < world.dispatcher.failed <= 5


def test_nothing_new_is_sent_to_a_redis_that_failed_a_moment_ago() -> None:
    world = World(lanes=4)
    world.step(2)
    world.dispatcher.away = {"send"}
    world.produce(RECORDS[0])
    world.step()
    world.dispatcher.away = set()
    world.produce(*RECORDS[1:4])
    world.step()
    assert world.bridge.in_flight > 1
    assert world.dispatcher.sent == []
    world.clock.now += REDIS_AGAIN_MS
    world.produce(*RECORDS[4:])
    world.step()
    assert world.dispatcher.sent


def test_redis_is_asked_again_when_its_time_has_come() -> None:
    world = _live()
    world.dispatcher.away = {"send"}
    world.produce(RECORDS[0])
    world.step()
    world.dispatcher.away = set()
    world.clock.now += REDIS_AGAIN_MS - 1
    world.bridge.resend()
    assert world.dispatcher.sent == []
    world = _live()
    world.dispatcher.away = {"send"}
    world.produce(RECORDS[0])
    world.step()
    world.dispatcher.away = set()
    world.clock.now += REDIS_AGAIN_MS
    world.bridge.resend()
    assert len(world.dispatcher.sent) == 1


def test_a_first_send_is_logged_for_debugging_and_a_later_one_always(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[tuple[str, int]] = []

    class Logger:
        def __getattr__(self, level: str) -> Callable[..., None]:
            def say(event: str, **fields: int) -> None:
                if event == "batch_sent":
                    said.append((level, fields["attempt"]))

            return say

    monkeypatch.setattr("ingest.bridge.logs.get", Logger)
    world = _flying()
    world.clock.now += LIMITS.resend_after_ms
    world.step()
    assert said == [("debug", 1), ("info", 2)]


# -- surprises -----------------------------------------------------------------------------------------


def test_a_foreign_token_makes_the_bridge_load_again_and_lose_nothing() -> None:
    world = _flying()
    world.change(token=999)
    world.produce(RECORDS[0])
    world.step(2)
    assert world.ledger.loads == [1, 1]
    assert world.stream().token not in (0, 999)
    for _ in range(3):
        world.work()
        world.step()
    assert world.counts() == {RECORDS[0]: 2}


def test_a_batch_under_an_old_token_is_refused_and_comes_again() -> None:
    world = _flying()
    world.change(token=999)
    old = world.dispatcher.sent.copy()
    world.step(3)
    new = world.dispatcher.sent[len(old) :]
    assert [part.batch for _, (part,), _ in new] == [part.batch for _, (part,), _ in old]
    world.dispatcher.sent[:] = old
    world.work()
    assert world.counts() == {}
    world.dispatcher.sent[:] = new
    world.work()
    assert world.counts() == {RECORDS[0]: 1}


def test_a_stream_that_is_gone_is_a_surprise() -> None:
    world = _flying()
    del world.db.tables.streams[1]
    world.step(3)
    assert not world.bridge.in_flight
    assert world.ledger.loads == [1]


def test_a_surprise_in_one_stream_leaves_the_others_alone() -> None:
    world = _live(partitions=2)
    world.change(1, token=999)
    world.produce(RECORDS[0])
    world.log.messages[1].append(encode(Update(APP_1, RECORDS[1], 5, "m")))
    world.step()
    assert (world.stream(1).planned, world.stream(2).planned) == (0, 1)
    world.step(2)
    assert world.ledger.loads == [1, 2, 1]
    assert world.stream(1).planned == 1


def test_a_failed_tick_forgets_all_its_streams() -> None:
    world = _live(partitions=2)
    world.produce(RECORDS[0])
    world.ledger.away = True
    world.step()
    assert world.stream().planned == 0
    world.ledger.away = False
    world.clock.now += LOAD_RETRY_MAX_MS
    world.step(3)
    assert world.ledger.loads[2:] == [1, 2]
    assert world.stream().planned == 1


def test_a_lost_position_is_a_surprise() -> None:
    world = _live()
    world.log.next.lost_position += [0, 7]
    world.step()
    assert world.ledger.loads == [1, 1]


def test_messages_of_a_partition_that_is_not_held_are_dropped() -> None:
    world = _live()
    world.log.next.messages[7] = [Fetched(0, b"{")]
    world.step()
    assert world.ledger.loads == [1]
    assert world.dispatcher.sent == []


def test_a_partition_that_is_taken_away_is_forgotten() -> None:
    world = _flying()
    world.log.next.revoked.append(0)
    world.step(3, pass_ms=IDLE_TICK_MS)
    assert not world.bridge.in_flight
    assert world.ledger.loads == [1]
    assert len(world.dispatcher.sent) == 1


def test_without_kafka_a_poll_brings_nothing_and_the_rest_goes_on() -> None:
    world = _flying()
    world.log.away = {"poll"}
    world.work()
    world.step()
    assert world.stream().frontier == 1
    assert world.ledger.loads == [1]


def test_without_a_position_the_stream_is_loaded_again() -> None:
    world = _live()
    world.log.away = {"position"}
    world.step()
    world.log.away = set()
    world.produce(RECORDS[0])
    world.step(2)
    assert world.stream().planned == 1


def test_wanted_lanes_come_once_the_stream_has_drained() -> None:
    world = _flying()
    world.change(lanes_wanted=3)
    world.produce(RECORDS[1])
    world.step(2)
    assert world.stream().planned == 1
    world.work()
    world.step(4, pass_ms=IDLE_TICK_MS)
    assert world.stream().lanes == 3
    assert world.stream().planned == 2
    world.work()
    world.step()
    assert world.counts() == {RECORDS[0]: 1, RECORDS[1]: 1}


# -- Load ----------------------------------------------------------------------------------------------


def _loads_at(world: World, *, for_ms: int, every_ms: int, count: Callable[[], int]) -> list[int]:
    """Milliseconds from now at which `count` went up."""
    start, seen, found = world.clock.now, count(), []
    while world.clock.now < start + for_ms:
        world.bridge.load()
        if count() > seen:
            seen = count()
            found.append(world.clock.now - start)
        world.clock.now += every_ms
    return found


def test_a_load_that_fails_is_tried_again_ever_more_slowly() -> None:
    world = World()
    world.bridge.poll(0)
    world.log.away = {"facts"}
    at = _loads_at(world, for_ms=20_000, every_ms=100, count=lambda: world.ledger.peeks)
    waits = [after - before for before, after in itertools.pairwise(at)]
    assert waits[:6] == [LOAD_RETRY_MS << n for n in range(1, 6)] + [LOAD_RETRY_MAX_MS]
    assert set(waits[6:]) == {LOAD_RETRY_MAX_MS}


def test_once_live_the_next_failure_is_tried_again_soon() -> None:
    world = World()
    world.log.away = {"facts"}
    world.step(10, pass_ms=LOAD_RETRY_MAX_MS)
    world.log.away = set()
    world.step(2)
    assert world.ledger.loads == [1]
    world.log.next.lost_position.append(0)
    world.log.away = {"facts"}
    world.step()
    world.log.away = set()
    world.clock.now += 2 * LOAD_RETRY_MS
    world.step()
    assert world.ledger.loads == [1, 1]


def test_a_plan_that_cannot_be_read_is_tried_again_and_nothing_is_ticked() -> None:
    world = World()
    world.produce(RECORDS[0])
    world.change(planned=1)
    world.db.tables.plan[1, 0] = PlanRow(0, 1, b"\x63")
    world.step(4, pass_ms=IDLE_TICK_MS)
    assert len(world.ledger.loads) > 1
    assert world.dispatcher.sent == []
    assert world.stream().halted is None


def test_a_stream_is_not_ticked_before_the_log_is_read_up_to_planned() -> None:
    world = World()
    world.produce(RECORDS[0], RECORDS[1])
    world.change(planned=2)
    world.bridge.poll(0)
    world.bridge.load()
    world.clock.now += IDLE_TICK_MS
    world.bridge.tick()
    world.bridge.dispatch()
    assert world.dispatcher.sent == []
    world.step()
    ((_, (part,), _),) = world.dispatcher.sent
    assert (part.batch.prev, part.batch.last) == (-1, 1)


def test_an_unknown_partition_is_asked_for_again_and_the_others_go_on() -> None:
    world = World(partitions=2)
    unknown = world.db.tables.streams.pop(2)
    world.produce(RECORDS[0])
    world.step(3)
    assert world.stream().planned == 1
    assert world.ledger.loads == [1]
    world.db.make_stream(unknown)
    world.step()
    assert world.ledger.loads == [1]
    world.clock.now += HALTED_RETRY_MS
    world.step()
    assert world.ledger.loads == [1, 2]


# -- halts ---------------------------------------------------------------------------------------------


def test_a_topic_made_anew_halts_its_streams() -> None:
    world = World()
    world.log.topic_id = "another"
    world.step()
    assert "deleted and made again" in (world.stream().halted or "")
    assert world.ledger.loads == []


def test_a_halted_stream_is_looked_at_later_and_loaded_once_resumed() -> None:
    world = World()
    world.change(halted="why")
    world.produce(RECORDS[0])
    world.step(5, pass_ms=HALTED_RETRY_MS // 4)
    assert world.log.asked == 0
    assert world.log.paused == {0}
    world.change(halted=None)
    world.step()
    assert world.ledger.loads == []
    world.clock.now += HALTED_RETRY_MS
    world.step(2)
    assert world.ledger.loads == [1]
    assert world.stream().planned == 1


def test_a_stream_that_is_halted_meanwhile_is_left_alone() -> None:
    world = _flying()
    world.change(halted="why")
    world.step()
    assert not world.bridge.in_flight
    world.step(3, pass_ms=IDLE_TICK_MS // 2)
    assert world.ledger.loads == [1]


def test_a_stream_halted_between_the_look_and_the_load_is_looked_at_later() -> None:
    world = World()
    world.log.on_facts = lambda: world.change(halted="why")
    world.step(3)
    assert world.ledger.loads == [1]
    assert world.stream().token == 0


def test_a_log_that_disagrees_with_the_plan_halts_its_stream() -> None:
    world = World()
    world.log.messages[0].append(b"{")
    world.change(planned=1)
    world.step(2)
    assert "do not fit together" in (world.stream().halted or "")
    assert world.dispatcher.sent == []


def test_messages_that_took_the_offsets_of_planned_ones_halt_their_stream() -> None:
    world = _live()
    world.produce(RECORDS[0])
    for _ in range(3):
        world.step()
        world.work()
    assert (world.stream().planned, world.stream().frontier) == (1, 1)
    world.log.messages[0].clear()
    world.produce(RECORDS[1], RECORDS[2])
    world.log.next.lost_position.append(0)
    world.step(4)
    assert "from offset 0 on the log holds other messages" in (world.stream().halted or "")
    assert world.dispatcher.sent == []
    assert world.counts() == {RECORDS[0]: 1}


LATER = b'{"v":2,"new":"field"}'


def test_a_message_of_a_later_release_halts_its_stream_after_all_before_it() -> None:
    world = _live()
    world.produce(RECORDS[0])
    world.log.messages[0].append(LATER)
    world.produce(RECORDS[1])
    world.step(2)
    assert world.stream().halted is None
    world.work()
    world.step(2, pass_ms=IDLE_TICK_MS)
    reason = world.stream().halted or ""
    assert "the message at offset 1 has v 2, this bridge reads v up to 1" in reason
    assert (world.stream().frontier, world.stream().planned) == (1, 1)
    assert world.counts() == {RECORDS[0]: 1}
    assert world.db.tables.dead == []
    world.step(4, pass_ms=HALTED_RETRY_MS)
    assert world.stream().halted == reason
    assert world.ledger.loads == [1]


def test_a_halt_for_a_version_ends_by_itself_at_a_bridge_that_reads_it() -> None:
    world = World(limits=replace(LIMITS, reads=2))
    world.produce(RECORDS[0])
    value = json.loads(world.log.messages[0].pop() or b"") | {"v": 2}
    world.log.messages[0].append(json.dumps(value).encode())
    world.change(halted=upgrade_reason(0, 2, reads=1))
    world.ledger.away = True
    world.step()
    assert world.stream().halted is not None
    world.ledger.away = False
    world.step(3, pass_ms=LOAD_RETRY_MAX_MS)
    world.work()
    assert world.stream().halted is None
    assert world.counts() == {RECORDS[0]: 1}


@pytest.mark.parametrize("reason", [upgrade_reason(0, 3, reads=1), "why"])
def test_another_halt_does_not_end_by_itself(reason: str) -> None:
    world = World(limits=replace(LIMITS, reads=2))
    world.change(halted=reason)
    world.step(4, pass_ms=HALTED_RETRY_MS)
    assert world.stream().halted == reason
    assert world.ledger.loads == []


def test_a_message_that_a_later_release_planned_halts_its_stream() -> None:
    world = World()
    world.log.messages[0].append(LATER)
    world.change(planned=1)
    world.step(2)
    assert "needs an upgrade: the message at offset 0 has v 2" in (world.stream().halted or "")
    assert world.dispatcher.sent == []


def _undecidable(n: int, *, dead: int = 0, frontier: int = 0) -> World:
    """A live world with so many dead letters, before n messages that no bridge can read."""
    limits = replace(LIMITS, window_offsets=100, chunk_messages=50)
    world = World(limits=limits)
    world.change(planned=frontier, frontier=frontier)
    world.db.tables.lanes[1, 0] = LaneRow(frontier - 1)
    world.log.messages[0] += [b"{"] * frontier
    world.db.tables.dead += [(1, offset, None, None) for offset in range(dead)]
    world.step(2)
    world.log.messages[0] += [b"{"] * n
    world.step()
    return world


@pytest.mark.parametrize("n", [DEAD_LETTERS_MIN, DEAD_LETTERS_MIN + 1])
def test_more_dead_letters_than_a_window_may_have_halt_the_stream(n: int) -> None:
    world = _undecidable(n)
    reason = world.stream().halted
    if n == DEAD_LETTERS_MIN:
        assert reason is None
        assert len(world.db.tables.dead) == world.stream().planned == n
    else:
        assert "more than 20 dead letters in the window, 21 of them at offsets 0 to 20" in str(
            reason
        )
        assert "`manage.py stream resume 0`" in str(reason)
        assert world.db.tables.dead == []
        assert world.stream().planned == 0


def test_dead_letters_behind_the_frontier_do_not_count() -> None:
    assert _undecidable(DEAD_LETTERS_MIN, dead=5, frontier=5).stream().halted is None
    assert _undecidable(DEAD_LETTERS_MIN, dead=6, frontier=5).stream().halted is not None


def test_dead_letters_of_before_halt_no_chunk_that_has_none() -> None:
    world = _undecidable(0, dead=100)
    world.produce(RECORDS[0])
    world.step()
    assert (world.stream().halted, world.stream().planned) == (None, 1)


def test_a_stream_with_too_many_dead_letters_leaves_the_others_alone() -> None:
    world = World(partitions=2, limits=replace(LIMITS, window_offsets=100, chunk_messages=50))
    world.step(2)
    world.log.messages[0] += [b"{"] * (DEAD_LETTERS_MIN + 1)
    world.log.messages[1].append(OF_APP_1)
    world.step()
    assert world.stream(1).halted is not None
    assert (world.stream(2).halted, world.stream(2).planned) == (None, 1)


def test_a_halt_that_cannot_be_written_is_tried_again() -> None:
    world = World()
    world.log.topic_id = "another"
    world.ledger.away_for_halts = True
    world.step()
    assert world.stream().halted is None
    world.ledger.away_for_halts = False
    world.clock.now += HALTED_RETRY_MS
    world.step()
    assert world.stream().halted is not None


# -- housekeeping --------------------------------------------------------------------------------------


def test_the_frontiers_are_told_to_kafka() -> None:
    world = _flying()
    world.work()
    world.step()
    world.clock.now += 2_000
    world.step()
    assert world.log.committed[-1] == {0: 1}


def test_kafka_away_at_a_commit_stops_nothing() -> None:
    world = _flying()
    world.log.away = {"commit"}
    world.work()
    world.step(3, pass_ms=2_000)
    assert world.log.committed == []
    assert world.stream().frontier == 1


def test_samples_are_written_once_in_their_interval() -> None:
    world = _live()
    before = len(world.ledger.samples)
    world.step(10, pass_ms=SAMPLE_EVERY_MS // 10)
    assert len(world.ledger.samples) == before
    world.step()
    assert len(world.ledger.samples) == before + 1


def test_each_partition_has_its_sample_once_a_second_and_not_all_at_once() -> None:
    """Updates wait while samples are written."""
    world = World(partitions=4)
    world.step(20, pass_ms=SAMPLE_EVERY_MS // 20)
    before = len(world.ledger.samples)
    world.step(20, pass_ms=SAMPLE_EVERY_MS // 20)
    written = [[each.stream for each in told.streams] for told in world.ledger.samples[before:]]
    assert sorted(written) == [[1], [2], [3], [4]]


@pytest.mark.parametrize("bridges", [1, 2, 3, 4, 8])
def test_the_partitions_of_one_bridge_have_samples_at_different_moments(bridges: int) -> None:
    """The group deals partitions out in turns."""
    dues = {_next_sample_at(partition, 5_000) for partition in range(0, 4 * bridges, bridges)}
    assert len(dues) == 4
    assert all(5_000 < due <= 5_000 + SAMPLE_EVERY_MS for due in dues)


def test_metrics_are_over_all_streams() -> None:
    world = _live(partitions=2)
    world.produce(*[RECORDS[0]] * 3)
    world.log.messages[1].append(OF_APP_1)
    world.step(2, pass_ms=SAMPLE_EVERY_MS)
    assert [_metric("bridge_hot_share", rank=str(rank)) for rank in (1, 2, 3)] == [0.75, 0.25, 0]
    # One is in flight, the two after it are merged, and one is of the other stream.
    assert _metric("bridge_lane_writes", lane="00") == 3


def test_hot_records_are_written_each_once() -> None:
    world = _flying()
    world.step(3, pass_ms=1_000)
    rows = [row for samples in world.ledger.samples for row in samples.records]
    assert [(row.record, row.direct, row.mirrored) for row in rows] == [(RECORDS[0], 1, 0)]


def test_apps_and_what_was_decided_are_told_once_a_second_each_once() -> None:
    world = _flying()
    world.step(3, pass_ms=1_000)
    apps = [(row.app, row.updates) for told in world.ledger.samples for row in told.apps]
    assert apps == [(APP, 1)]
    streams = [each for told in world.ledger.samples for each in told.streams]
    assert sum(each.messages for each in streams) == sum(each.writes for each in streams) == 1


def test_a_sample_says_what_waits_and_for_how_long() -> None:
    world = _flying()
    world.step(3, pass_ms=1_000)
    last = world.ledger.samples[-1]
    assert (last.streams[0].held_writes, last.streams[0].log_end) == (1, 1)
    waiting = [lane for lane in last.lanes if lane.writes]
    assert [(lane.writes, lane.attempt) for lane in waiting] == [(1, 3)]  # sent again twice
    assert waiting[0].oldest_s == last.streams[0].lag_s
    world.work()
    world.step(2, pass_ms=1_000)
    last = world.ledger.samples[-1]
    assert (last.streams[0].held_writes, last.streams[0].lag_s) == (0, 0)
    assert not any(lane.writes or lane.oldest_s or lane.attempt for lane in last.lanes)


def test_postgresql_away_at_housekeeping_stops_nothing() -> None:
    world = _flying()
    world.ledger.away = True
    world.clock.now += 1_000
    world.bridge.housekeep()
    world.ledger.away = False
    world.work()
    world.step()
    assert world.stream().frontier == 1
    assert world.ledger.loads == [1]


def test_old_rows_are_tidied_now_and_then() -> None:
    world = _live()
    assert world.ledger.tidied == 1
    world.step(3, pass_ms=TIDY_EVERY_MS // 2)
    assert world.ledger.tidied == 2


def test_a_lane_to_be_isolated_is_loaded_again_and_sent_unmerged() -> None:
    world = _flying()
    world.db.tables.lanes[1, 0] = LaneRow(-1, isolate=0)
    world.step(3)
    assert world.ledger.loads == [1, 1]
    isolated = world.dispatcher.sent[-1][1][0].batch.isolated
    assert [original.offset for original in isolated] == [0]


def test_a_partition_that_left_between_poll_and_tick_does_not_end_the_bridge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = _live(partitions=2)

    def gone(partition: int) -> int:
        raise LogAway("not assigned")

    monkeypatch.setattr(world.log, "end", gone)
    world.clock.now += 5_000
    world.step()


# -- partitions that are not read ------------------------------------------------------------------


def _deaf(*, partitions: int = 1) -> World:
    """A world whose first partition brings nothing, though a message waits in it."""
    world = _live(partitions=partitions)
    world.log.deaf.add(0)
    world.produce(RECORDS[0])
    world.step()
    return world


def test_a_partition_that_is_not_read_gets_a_new_connection() -> None:
    world = _deaf(partitions=2)
    world.step(2, pass_ms=LIMITS.unread_after_ms - 1)
    assert world.log.reopened == 0
    world.clock.now += 1
    world.step(4)
    assert world.log.reopened == 1
    assert world.stream().planned == 1


def test_how_long_nothing_was_read_is_told() -> None:
    world = _deaf()
    world.step(4, pass_ms=1_500)
    (sample,) = world.ledger.samples[-1].streams
    assert (sample.log_end, sample.frontier) == (1, 0)
    assert sample.unread_s == sample.lag_s == 4.5


def test_how_long_kafka_has_not_answered_is_told() -> None:
    world = _live()
    world.log.end_age_ms = 4_000
    world.step(2, pass_ms=1_500)
    (sample,) = world.ledger.samples[-1].streams
    assert sample.unheard_s == 4.0
    name = {"partition": "0"}
    assert REGISTRY.get_sample_value("notify_bridge_unheard_seconds", name) == 4.0


def test_the_wait_for_a_partition_that_stays_unread_doubles() -> None:
    world = _deaf()
    world.log.reopening_helps = False
    at = [world.clock.now]
    for _ in range(160):
        world.step(pass_ms=LIMITS.unread_after_ms // 10)
        if world.log.reopened == len(at):
            at.append(world.clock.now)
    waits = [(then - before) / LIMITS.unread_after_ms for before, then in pairwise(at)]
    assert [int(wait) for wait in waits] == [1, 2, 4, 8]


def test_a_partition_that_was_heard_again_is_waited_for_as_at_first() -> None:
    world = _deaf()
    world.step(15, pass_ms=LIMITS.unread_after_ms // 10)
    assert (world.log.reopened, world.stream().planned) == (1, 1)
    world.log.deaf.add(0)
    world.produce(RECORDS[0])
    world.step(15, pass_ms=LIMITS.unread_after_ms // 10)
    assert world.log.reopened == 2


def test_while_kafka_answers_nobody_no_new_connection_is_made() -> None:
    world = _deaf()
    world.log.end_age_ms = LOG_END_FRESH_MS
    world.step(40, pass_ms=1_000)
    assert world.log.reopened == 0


def _take(world: World, times: int) -> None:
    """Another bridge loads the stream so often, and this one loads it back each time."""
    for _ in range(times):
        loads = len(world.ledger.loads)
        world.change(token=0)
        world.step(4, pass_ms=IDLE_TICK_MS)
        assert len(world.ledger.loads) > loads


def test_a_stream_that_another_bridge_takes_again_and_again_gets_a_new_connection() -> None:
    """This one or the other is no member of the group any more: a new member is told what it has."""
    world = _live(partitions=2)
    _take(world, TAKEN_MAX - 1)
    assert world.log.reopened == 0
    _take(world, 1)
    assert world.log.reopened == 1
    world.produce(RECORDS[0])
    world.step(2)
    assert world.stream().planned == 1


def test_takes_are_counted_from_when_the_group_gave_the_partition() -> None:
    world = _live()
    _take(world, TAKEN_MAX - 1)
    world.log.next = Polled(revoked=[0], assigned=[0])
    _take(world, TAKEN_MAX - 1)
    assert world.log.reopened == 0


def test_other_surprises_are_no_dispute() -> None:
    world = _live()
    for _ in range(2 * TAKEN_MAX):
        world.change(lanes_wanted=world.stream().lanes % 3 + 1)
        world.step(4, pass_ms=1_000)
    assert len(world.ledger.loads) > TAKEN_MAX
    assert world.log.reopened == 0


def test_a_partition_that_is_paused_or_read_to_its_end_is_not_unread() -> None:
    world = _live()
    world.produce(*RECORDS, *RECORDS)  # more than the window holds
    world.step(3)
    assert world.log.paused == {0}
    world.produce(*RECORDS)
    world.step(40, pass_ms=1_000)
    assert world.log.reopened == 0
    for _ in range(40):
        world.work()
        world.step(2)
    world.step(40, pass_ms=1_000)
    assert world.stream().frontier == 3 * len(RECORDS)
    assert world.log.reopened == 0
