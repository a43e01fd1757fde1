"""The bridge: reads partitions, decides updates, and keeps one batch in flight for each lane.

All that it knows about a stream is memory that may be dropped at any moment. Whatever unexpected happens,
it recovers in one way: it forgets the stream and loads it again from PostgreSQL and Kafka (rule 8). Its
dependencies (log, ledger, dispatcher, clock) are passed in, so the simulation runs this very code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from ingest import samples
from ingest.assigned_partition import AssignedPartition, PartitionPhase
from ingest.bridge_limits import BridgeLimits
from ingest.packing import join_small_tasks, pack_parts
from ingest.planner import Message, Planned, plan_chunk
from ingest.ports import (
    Chunk,
    Clock,
    Dispatcher,
    DispatcherAway,
    Fetched,
    Ledger,
    LedgerAway,
    Log,
    LogAway,
    LogEnd,
    Part,
    Task,
    Tick,
)
from ingest.stream_memory import BatchInFlight, StreamMemory
from notify.domain.engine.lanes import partition_of
from notify.domain.engine.stream import (
    TAKEN,
    LogFacts,
    StreamRow,
    dead_letters_reason,
    halt_reason,
    needed_version,
    replaced_reason,
    tick_surprise,
)
from notify.domain.errors import NeedsUpgrade, PlanUnreadable, ReplayDisagrees
from notify.domain.records import idempotency
from notify.domain.records import links as linking
from notify.domain.records.idempotency import SeenKey
from notify.domain.records.links import Links
from notify.domain.records.update import Unreadable, Update
from notify.telemetry import logs, metrics

#: Milliseconds from a failed Load to the next one: the first wait, and the longest.
LOAD_RETRY_MS: Final = 100
LOAD_RETRY_MAX_MS: Final = 5_000
#: A halted or unknown stream is checked again after this.
HALTED_RETRY_MS: Final = 2_000
#: A stream with nothing to do ticks this often, to show that its bridge is alive.
IDLE_TICK_MS: Final = 1_000
COMMIT_EVERY_MS: Final = 2_000
SAMPLE_EVERY_MS: Final = 1_000
#: Samples of the partitions are written at so many different moments within SAMPLE_EVERY_MS. Updates wait
#: meanwhile, and those of four partitions take 30 ms together (docs/performance.md).
SAMPLE_MOMENTS: Final = 8
TIDY_EVERY_MS: Final = 600_000
#: A batch is not sent again while this many tasks wait in its queue: no worker reads the queue.
QUEUED_MAX: Final = 100
#: A log end that is older than this does not show that Kafka answers now.
LOG_END_FRESH_MS: Final = 3_000
#: How often the wait before another new connection for an unread partition doubles, since each one costs
#: the group a rebalance.
UNREAD_DOUBLINGS_MAX: Final = 5
#: How often another bridge may take a stream before this one joins the group again to learn who has it.
#: One or two times are normal, when a bridge hears late of a rebalance.
TAKEN_MAX: Final = 10
#: After a failure Redis is not asked again before this. Each failure may take a whole timeout, and a bridge
#: that waits for one on every lane neither polls nor ticks.
REDIS_AGAIN_MS: Final = 1_000


class _Ticked(NamedTuple):
    """What a tick does to one stream, in effect once it has committed."""

    assigned: AssignedPartition
    memory: StreamMemory
    stream: StreamRow
    planned: Planned | None


class _ToTick(NamedTuple):
    """What a tick is to do with one stream: its row, and the chunk to plan, which ends at `end`."""

    assigned: AssignedPartition
    memory: StreamMemory
    row: StreamRow
    messages: Sequence[Message]
    end: int


class _NotTicked(NamedTuple):
    """Why a tick did not change a stream, which must then be loaded again or halted."""

    reason: str
    halts: bool = False


class Bridge:
    """One member of the consumer group. Call `step` again and again; it raises only configuration errors."""

    def __init__(
        self, log: Log, ledger: Ledger, dispatcher: Dispatcher, clock: Clock, limits: BridgeLimits
    ) -> None:
        self._log = log
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._clock = clock
        self._limits = limits
        self._short_limits = limits.with_short_chunks()
        self._assigned: dict[int, AssignedPartition] = {}
        self._draining = False
        self._next_commit = self._next_sample = self._next_tidy = self._next_redis = 0
        #: Partitions for which the log was opened again: how often, and their position then.
        self._reopened: dict[int, tuple[int, int]] = {}

    def step(self, poll_ms: int) -> None:
        """Does one round: polls, loads streams, ticks, sends batches, and sends late ones again."""
        self.poll(poll_ms)
        self.check_reading()
        self.check_group()
        self.load()
        self.tick()
        self.dispatch()
        self.resend()
        self.housekeep()

    @property
    def in_flight(self) -> int:
        """How many batches were sent and are not known to be applied."""
        return sum(
            len(assigned.memory.in_flight)
            for assigned in self._assigned.values()
            if assigned.memory
        )

    @property
    def behind(self) -> bool:
        """Whether a whole chunk could be planned right away, so that the next step should not wait."""
        return any(
            len(memory.fetched) >= self._limits.chunk_messages and memory.has_room(self._limits)
            for _, memory in self._live()
        )

    def drain(self) -> None:
        """Stops planning and sending new batches. When `in_flight` is 0, all batches are applied."""
        self._draining = True

    def _live(self) -> Iterator[tuple[AssignedPartition, StreamMemory]]:
        for assigned in self._assigned.values():
            memory = assigned.live()
            if memory is not None:
                yield assigned, memory

    def poll(self, timeout_ms: int) -> None:
        """Handles assignments, revocations and messages from Kafka."""
        try:
            polled = self._log.poll(timeout_ms)
        except LogAway as error:
            logs.get().warning("kafka_away", error=str(error))
            return
        for partition in polled.revoked:
            self._assigned.pop(partition, None)
            metrics.forget_partition(partition)
            logs.get().info("partition_revoked", partition=partition)
        for partition in polled.assigned:
            self._assigned[partition] = AssignedPartition(partition)
            logs.get().info("partition_assigned", partition=partition)
        for partition in polled.lost_position:
            if partition in self._assigned:
                self._surprise(self._assigned[partition], "the log has no such position")
        for partition, messages in polled.messages.items():
            assigned = self._assigned.get(partition)
            if assigned is not None and assigned.memory is not None:
                self._take_messages(assigned, assigned.memory, messages)
        for assigned in self._assigned.values():
            try:
                if assigned.memory is None:
                    self._pause(assigned, pause=True)
                else:
                    self._note_position(assigned, assigned.memory)
            except LogAway as error:
                self._surprise(assigned, f"kafka is away: {error}")

    def _take_messages(
        self, assigned: AssignedPartition, memory: StreamMemory, messages: Sequence[Fetched]
    ) -> None:
        try:
            memory.take(messages)
        except NeedsUpgrade as error:
            self._halt(assigned, memory.stream, str(error))
        except ReplayDisagrees as error:
            self._halt(assigned, memory.stream, f"{error}. {ReplayDisagrees.__doc__}")

    def _note_position(self, assigned: AssignedPartition, memory: StreamMemory) -> None:
        memory.position = self._log.position(assigned.partition)
        if assigned.phase is PartitionPhase.LOADING and memory.position >= memory.stream.planned:
            replaced = memory.expected.replaced()
            if replaced is not None:
                self._halt(assigned, memory.stream, replaced_reason(replaced))
                return
            assigned.phase = PartitionPhase.LIVE
            assigned.failures = 0
            memory.decisions.clear()
            logs.get().info(
                "stream_live",
                partition=assigned.partition,
                frontier=memory.stream.frontier,
                planned=memory.stream.planned,
            )
        full = (
            len(memory.fetched) >= 2 * self._limits.chunk_messages
            or memory.fetched_bytes >= 2 * self._limits.chunk_bytes
        )
        self._pause(assigned, pause=self._draining or full)

    def _pause(self, assigned: AssignedPartition, *, pause: bool) -> None:
        if pause != assigned.paused:
            (self._log.pause if pause else self._log.resume)(assigned.partition)
            assigned.paused = pause

    def check_reading(self) -> None:
        """Connects to Kafka again if a partition has brought no messages for long although it has more.

        Fetches raise no error in this case. A new connection helps, whatever the old one or the client
        has lost.
        """
        now = self._clock.now_ms()
        unread = []
        for assigned in self._assigned.values():
            end = self._log_end(assigned)
            assigned.note_reading(end, now)
            if self._needs_reopen(assigned, end, now):
                assert end is not None  # or it would not count as unread
                unread.append((assigned, end.offset))
        for assigned, end_offset in unread:
            times, _ = self._reopened.get(assigned.partition, (0, 0))
            self._reopened[assigned.partition] = (times + 1, assigned.checked_position)
            logs.get().error(
                "partition_unread",
                partition=assigned.partition,
                position=assigned.checked_position,
                log_end=end_offset,
                seconds=assigned.unread_ms(now) / 1000,
            )
        if unread:
            self._reopen()

    def check_group(self) -> None:
        """Joins the group again if another bridge keeps taking a stream that the group gave to this one.

        One of the two is no longer a member and does not know it, so they would take the stream from each
        other for ever. After joining again, both learn what they have.
        """
        taken = [
            assigned for assigned in self._assigned.values() if assigned.times_taken >= TAKEN_MAX
        ]
        for assigned in taken:
            logs.get().error(
                "partition_disputed", partition=assigned.partition, tries=assigned.times_taken
            )
        if taken:
            self._reopen()

    def _reopen(self) -> None:
        metrics.BRIDGE_REOPENED.inc()
        for partition in self._assigned:
            metrics.forget_partition(partition)
        self._assigned.clear()
        self._log.reopen()

    def _needs_reopen(self, assigned: AssignedPartition, end: LogEnd | None, now: int) -> bool:
        """Whether a new connection is due. Not while Kafka does not answer: the log's end is old then."""
        times, position = self._reopened.get(assigned.partition, (0, 0))
        if assigned.checked_position > position:
            self._reopened.pop(assigned.partition, None)
            times = 0
        wait = self._limits.unread_after_ms << min(times, UNREAD_DOUBLINGS_MAX)
        if assigned.unread_ms(now) < wait:
            return False
        assert end is not None  # or it would not count as unread
        return end.age_ms < LOG_END_FRESH_MS

    def load(self) -> None:
        """Loads the partitions whose Load is due (rule 4).

        Positions are read before Kafka is asked. Log ends only rise, so an end below `planned` means that
        messages were lost.
        """
        now = self._clock.now_ms()
        due = [
            assigned
            for assigned in self._assigned.values()
            if assigned.phase is PartitionPhase.LOAD
            and now >= assigned.retry_at
            and not self._draining
        ]
        try:
            streams = {assigned.partition: self._peek(assigned) for assigned in due}
            wanted = [partition for partition, peeked in streams.items() if peeked is not None]
            facts = self._log.facts(wanted) if wanted else {}
        except (LedgerAway, LogAway) as error:
            for assigned in due:
                self._load_failed(assigned, error)
            return
        for assigned in due:
            peeked = streams[assigned.partition]
            if peeked is not None:
                try:
                    self._load(assigned, *peeked, facts[assigned.partition])
                except (LedgerAway, LogAway, PlanUnreadable) as error:
                    self._load_failed(assigned, error)

    def _peek(self, assigned: AssignedPartition) -> tuple[StreamRow, int] | None:
        """The stream and the stored number of partitions; None if it may not be loaded now.

        Ends a halt that waited for this release.
        """
        assigned.forget(self._clock.now_ms() + HALTED_RETRY_MS)
        peeked = self._ledger.peek(assigned.partition)
        if peeked is None:
            logs.get().error("stream_unknown", partition=assigned.partition)
            return None
        stream, partitions = peeked
        if stream.halted is not None and self._ends_halt(stream.halted):
            self._ledger.resume(stream)
            logs.get().info("stream_resumed", partition=assigned.partition, reason=stream.halted)
            stream = replace(stream, halted=None)
        is_halted = stream.halted is not None
        metrics.BRIDGE_HALTED.labels(partition=str(assigned.partition)).set(is_halted)
        return None if is_halted else (stream, partitions)

    def _ends_halt(self, reason: str) -> bool:
        needed = needed_version(reason)
        return needed is not None and needed <= self._limits.reads

    def _load(
        self, assigned: AssignedPartition, stream: StreamRow, partitions: int, facts: LogFacts
    ) -> None:
        reason = halt_reason(stream, facts, partitions_stored=partitions)
        if reason is not None:
            self._halt(assigned, stream, reason)
            return
        loaded = self._ledger.load(stream.id, self._clock.token())
        if loaded is None:
            return
        memory = StreamMemory.of(
            loaded, partitions=partitions, limits=self._limits, log_start=facts.start
        )
        assigned.memory = memory
        self._log.seek(assigned.partition, memory.position)
        assigned.phase = PartitionPhase.LOADING
        self._pause(assigned, pause=False)
        metrics.BRIDGE_LOADS.labels(outcome="loaded").inc()
        logs.get().info(
            "stream_loading",
            partition=assigned.partition,
            frontier=loaded.stream.frontier,
            planned=loaded.stream.planned,
        )

    def _load_failed(self, assigned: AssignedPartition, error: Exception) -> None:
        assigned.failures += 1
        wait = min(LOAD_RETRY_MS << min(assigned.failures, 10), LOAD_RETRY_MAX_MS)
        assigned.forget(self._clock.now_ms() + wait)
        metrics.BRIDGE_LOADS.labels(outcome="failed").inc()
        logs.get().warning(
            "load_failed", partition=assigned.partition, error=str(error), tries=assigned.failures
        )

    def _halt(self, assigned: AssignedPartition, stream: StreamRow, reason: str) -> None:
        assigned.forget(self._clock.now_ms() + HALTED_RETRY_MS)
        logs.get().error("stream_halted", partition=assigned.partition, reason=reason)
        try:
            self._ledger.halt(stream, reason)
        except LedgerAway as error:
            logs.get().warning("postgres_away", error=str(error))

    def _surprise(self, assigned: AssignedPartition, reason: str) -> None:
        assigned.forget(self._clock.now_ms())
        metrics.BRIDGE_SURPRISES.inc()
        logs.get().warning("surprise", partition=assigned.partition, reason=reason)

    def tick(self) -> None:
        """Does one transaction for all live streams, if at least one of them needs it (rule 5)."""
        now = self._clock.now_ms()
        for assigned, memory in list(self._live()):
            reason = memory.waits_for_upgrade()
            if reason is not None:
                self._halt(assigned, memory.stream, reason)
        live = sorted(self._live(), key=lambda pair: pair[1].stream.id)
        if not any(self._wants_tick(memory, now) for _, memory in live):
            return
        try:
            ids = [memory.stream.id for _, memory in live]
            with metrics.BRIDGE_TICK_SECONDS.time(), self._ledger.tick(ids) as tick:
                ticked, not_ticked = self._tick_streams(tick, live)
        except LedgerAway as error:
            for assigned, _ in live:
                self._surprise(assigned, f"the tick failed: {error}")
            return
        for assigned, memory, stream, planned in ticked:
            memory.ticked_at = now
            memory.commit(stream, planned)
            self._measure(assigned, memory, tick.now, planned)
        for assigned, memory, why in not_ticked:
            if why.halts:
                self._halt(assigned, memory.stream, why.reason)
            else:
                assigned.times_taken += why.reason == TAKEN
                self._surprise(assigned, why.reason)

    def _wants_tick(self, memory: StreamMemory, now: int) -> bool:
        return (
            bool(memory.in_flight)
            or now >= memory.ticked_at + IDLE_TICK_MS
            or (memory.has_room(self._limits) and not self._draining)
        )

    def _tick_streams(
        self, tick: Tick, live: Sequence[tuple[AssignedPartition, StreamMemory]]
    ) -> tuple[list[_Ticked], list[tuple[AssignedPartition, StreamMemory, _NotTicked]]]:
        ticked: list[_Ticked] = []
        not_ticked: list[tuple[AssignedPartition, StreamMemory, _NotTicked]] = []
        to_tick: list[_ToTick] = []
        limits = self._tick_limits(live)
        for assigned, memory in live:
            checked = self._check_stream(tick, assigned, memory, limits)
            if isinstance(checked, _NotTicked):
                not_ticked.append((assigned, memory, checked))
            else:
                to_tick.append(checked)
        contents = [message.content for due in to_tick for message in due.messages]
        links = linking.gather(tick.links, linking.named(contents)) if contents else Links()
        seen = self._seen(tick, contents)
        for due in to_tick:
            result = self._tick_stream(tick, due, links, seen)
            if isinstance(result, _NotTicked):
                not_ticked.append((due.assigned, due.memory, result))
            else:
                ticked.append(result)
        return ticked, not_ticked

    def _tick_limits(self, live: Sequence[tuple[AssignedPartition, StreamMemory]]) -> BridgeLimits:
        """The limits of this tick's chunks: short ones while a quiet stream waits for the round."""
        quiet_waits = any(self._is_quiet(assigned, memory) for assigned, memory in live)
        return self._short_limits if quiet_waits else self._limits

    def _is_quiet(self, assigned: AssignedPartition, memory: StreamMemory) -> bool:
        """Whether updates of the stream wait, but few, counting those that were not fetched yet."""
        if not memory.fetched and not memory.in_flight:
            return False
        end = self._end_offset(assigned, memory)
        unread = 0 if end is None else end - memory.position
        return unread + len(memory.fetched) <= self._limits.short_chunk_messages // 2

    def _check_stream(
        self, tick: Tick, assigned: AssignedPartition, memory: StreamMemory, limits: BridgeLimits
    ) -> _ToTick | _NotTicked:
        mine = memory.stream
        row = tick.streams.get(mine.id)
        lanes = tick.lanes.get(mine.id, {})
        surprise = tick_surprise(row, lanes, memory.window, token=mine.token, planned=mine.planned)
        if surprise is not None:
            return _NotTicked(surprise)
        assert row is not None  # or it would be a surprise
        if row.lanes_wanted != row.lanes and row.drained:
            return _NotTicked(f"drained, to have {row.lanes_wanted} lanes")
        if row.lanes_wanted != row.lanes or self._draining:
            return _ToTick(assigned, memory, row, (), mine.planned)
        return _ToTick(assigned, memory, row, *memory.next_chunk(limits))

    def _tick_stream(
        self, tick: Tick, due: _ToTick, links: Links, seen: set[SeenKey]
    ) -> _Ticked | _NotTicked:
        assigned, memory, row, _, _ = due
        mine = memory.stream
        frontier = memory.window.frontier(mine.planned)
        planned = self._plan(tick, due, links, seen) if due.end != mine.planned else None
        chunk = None if planned is None else planned.chunk
        if chunk is not None and self._has_too_many_dead(tick, mine.id, frontier, chunk):
            first = chunk.dead[0]
            where = (
                f"{len(chunk.dead)} of them at offsets {chunk.plan.first} to {chunk.plan.next - 1}, "
                f"of which nothing is decided yet (the first at {first.offset}: {first.error})"
            )
            most = self._limits.dead_letters_max
            return _NotTicked(
                dead_letters_reason(most, where=where, partition=assigned.partition), halts=True
            )
        end = mine.planned if chunk is None else chunk.plan.next
        last = memory.last_message(planned)
        tick.write(mine.id, frontier=frontier, planned=end, chunk=chunk, last_message=last)
        ticked = row.at(frontier=frontier, planned=end, last_message=last)
        return _Ticked(assigned, memory, ticked, planned)

    def _has_too_many_dead(self, tick: Tick, stream: int, frontier: int, chunk: Chunk) -> bool:
        """Whether so many messages are invalid that the cause is a bad deploy, not single ones (rule 9)."""
        most = self._limits.dead_letters_max
        return bool(chunk.dead) and tick.dead_letters(stream, frontier) + len(chunk.dead) > most

    def _plan(self, tick: Tick, due: _ToTick, links: Links, seen: set[SeenKey]) -> Planned:
        """Plans a chunk. `links` and `seen` are those of all streams of the tick. What this chunk changes
        in them concerns no other stream, since all valid updates of an app are in one partition."""
        assigned, memory, _, messages, end = due
        planned = plan_chunk(
            messages,
            first=memory.stream.planned,
            end=end,
            links=links.shared(),
            policy=tick.policy(),
            seen=seen,
            is_routed=lambda app: partition_of(app, memory.partitions) == assigned.partition,
        )
        skipped = memory.refusals.bounded(planned.chunk.skipped, tick.now)
        return replace(planned, chunk=replace(planned.chunk, skipped=skipped))

    @staticmethod
    def _seen(tick: Tick, contents: Sequence[Update | Unreadable]) -> set[SeenKey]:
        keys = idempotency.keys_of(contents)
        return tick.seen(keys) if keys else set()

    def _measure(
        self, assigned: AssignedPartition, memory: StreamMemory, now: int, planned: Planned | None
    ) -> None:
        name = str(assigned.partition)
        end = self._end_offset(assigned, memory)
        if end is not None:
            metrics.BRIDGE_LAG_MESSAGES.labels(partition=name).set(end - memory.stream.frontier)
        unread_ms = assigned.unread_ms(self._clock.now_ms())
        metrics.BRIDGE_LAG_SECONDS.labels(partition=name).set(
            max(memory.age_ms(now), unread_ms) / 1000
        )
        metrics.BRIDGE_UNREAD_SECONDS.labels(partition=name).set(unread_ms / 1000)
        metrics.BRIDGE_UNHEARD_SECONDS.labels(partition=name).set(
            assigned.unheard_ms(self._clock.now_ms()) / 1000
        )
        metrics.BRIDGE_HELD_BYTES.labels(partition=name).set(memory.window.held_bytes)
        metrics.BRIDGE_WINDOW_OFFSETS.labels(partition=name).set(
            memory.stream.planned - memory.stream.frontier
        )
        memory.counts.note(planned, now)
        metrics.BRIDGE_PAUSED.labels(partition=name).set(assigned.paused)
        if planned is None:
            return
        plan = planned.chunk.plan
        logs.get().info(
            "chunk_planned",
            partition=assigned.partition,
            first=plan.first,
            next=plan.next,
            messages=len(planned.written),
            policy=planned.chunk.policy_version,
        )
        metrics.BRIDGE_POLICY_TIMESTAMP.set_to_current_time()
        metrics.BRIDGE_WRITES.inc(planned.direct.total() + planned.mirrored.total())
        metrics.BRIDGE_CHUNK_MESSAGES.observe(len(planned.written))
        for row in planned.chunk.skipped:
            metrics.BRIDGE_SKIPPED.labels(reason=row.reason).inc(row.n)
        metrics.BRIDGE_DEAD_LETTERS.inc(len(planned.chunk.dead))

    def _log_end(self, assigned: AssignedPartition) -> LogEnd | None:
        """The log end if it is known; the group may have taken the partition a moment ago."""
        try:
            return self._log.end(assigned.partition)
        except LogAway:
            return None

    def _end_offset(self, assigned: AssignedPartition, memory: StreamMemory) -> int | None:
        """The log end as of now; messages that were read after Kafka was asked count too."""
        end = self._log_end(assigned)
        return None if end is None else max(end.offset, memory.position)

    def dispatch(self) -> None:
        """Sends the next batch of each lane (rule 6): one task for the same lane of all live streams, and for
        several lanes if they have few rows."""
        if self._draining:
            return
        waiting: dict[int, list[tuple[StreamMemory, Part]]] = {}
        for assigned, memory in self._live():
            for number in memory.window.lanes:
                batch = memory.window.take(
                    number, max_rows=self._limits.task_rows, max_bytes=self._limits.task_bytes
                )
                if batch is not None:
                    part = Part(assigned.partition, memory.stream.token, batch)
                    waiting.setdefault(number, []).append((memory, part))
        due = self._clock.now_ms() + self._limits.resend_after_ms
        tasks: list[Task] = []
        for number, of_lane in waiting.items():
            for memory, part in of_lane:
                memory.in_flight[number] = BatchInFlight(part, 1, due)
            packed = pack_parts([part for _, part in of_lane], rows=self._limits.task_rows)
            tasks += [Task(number, parts, attempt=1) for parts in packed]
        rows = min(self._limits.shared_rows, self._limits.task_rows)
        shared = join_small_tasks(tasks, rows=rows, max_bytes=self._limits.task_bytes)
        for task in shared:
            metrics.BRIDGE_TASK_ROWS.observe(task.rows)
        self._send(shared)

    def resend(self) -> None:
        """Sends batches that were not applied in time again, each in its own task and unchanged."""
        now = self._clock.now_ms()
        tasks: list[Task] = []
        for _, memory in self._live():
            for number, sent in memory.in_flight.items():
                if now < sent.due:
                    continue
                wait = self._limits.resend_after_ms << min(sent.attempt, 10)
                sent.due = now + min(wait, self._limits.resend_after_max_ms)
                if self._has_reader(number):
                    sent.attempt += 1
                    metrics.BRIDGE_RESENT.inc()
                    tasks.append(Task(number, [sent.part], sent.attempt))
        self._send(tasks)

    def _has_reader(self, lane: int) -> bool:
        if self._clock.now_ms() < self._next_redis:
            return False
        try:
            return self._dispatcher.queued(lane) < QUEUED_MAX
        except DispatcherAway as error:
            self._redis_away(error)
            return False

    def _send(self, tasks: Sequence[Task]) -> None:
        if not tasks or self._clock.now_ms() < self._next_redis:
            return
        try:
            self._dispatcher.send(tasks)
        except DispatcherAway as error:
            self._redis_away(error)
            return
        for _, parts, attempt in tasks:
            say = logs.get().debug if attempt == 1 else logs.get().info
            for part in parts:
                say(
                    "batch_sent",
                    partition=part.partition,
                    lane=part.batch.lane,
                    prev=part.batch.prev,
                    last=part.batch.last,
                    rows=part.batch.rows,
                    attempt=attempt,
                )

    def _redis_away(self, error: DispatcherAway) -> None:
        self._next_redis = self._clock.now_ms() + REDIS_AGAIN_MS
        logs.get().warning("redis_away", error=str(error))

    def housekeep(self) -> None:
        """Commits offsets to Kafka, writes samples and deletes old rows. Nothing depends on these."""
        now = self._clock.now_ms()
        try:
            if now >= self._next_commit:
                self._next_commit = now + COMMIT_EVERY_MS
                self.commit_offsets()
            if now >= self._next_sample:
                self._next_sample = now + SAMPLE_EVERY_MS
                samples.show(memory for _, memory in self._live())
            self._write_samples(now)
            if now >= self._next_tidy:
                self._next_tidy = now + TIDY_EVERY_MS
                self._ledger.tidy()
        except LedgerAway as error:
            logs.get().warning("housekeeping_failed", error=str(error))

    def _write_samples(self, now: int) -> None:
        """Writes the samples of the streams that are due."""
        due = [(assigned, memory) for assigned, memory in self._live() if now >= assigned.sample_at]
        for assigned, _ in due:
            assigned.sample_at = _next_sample_at(assigned.partition, now)
        if due:
            ends = {
                assigned.partition: self._end_offset(assigned, memory) for assigned, memory in due
            }
            self._ledger.write_samples(samples.take(due, ends, now))

    def commit_offsets(self) -> None:
        """Commits the frontiers to Kafka for its lag tools (rule 12). The bridge never reads them."""
        frontiers = {
            assigned.partition: memory.stream.frontier for assigned, memory in self._live()
        }
        try:
            if frontiers:
                self._log.commit(frontiers)
        except LogAway as error:
            logs.get().warning("kafka_away", error=str(error))


def _next_sample_at(partition: int, now: int) -> int:
    """When the next sample of the partition is due.

    The group deals partitions out in turns, so of eight bridges one may have 0, 8, 16 and so on: these have
    different moments too.
    """
    moment = (partition + partition // SAMPLE_MOMENTS) % SAMPLE_MOMENTS
    own = moment * SAMPLE_EVERY_MS // SAMPLE_MOMENTS
    return now + SAMPLE_EVERY_MS - (now - own) % SAMPLE_EVERY_MS
