"""What the bridge remembers about one partition. It may be dropped at any time; a Load builds it again."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from typing import Final

from ingest.counts import Counts
from ingest.planner import Message, Planned
from ingest.ports import Fetched, Loaded, LogEnd, Part, Task
from ingest.refusals import Refusals
from notify.domain.engine import window as windows
from notify.domain.engine.digest import Digests, Expected, Last
from notify.domain.engine.stream import StreamRow, upgrade_reason
from notify.domain.engine.window import Lane, Window
from notify.domain.errors import NeedsUpgrade, ReplayDisagrees
from notify.domain.records import plan as plans
from notify.domain.records.decide import OWN_ONLY, Decision, Write, writes
from notify.domain.records.update import READS, Newer, Update, read

#: How many dead letters a stream may have at or after its frontier, or 1 % of the window if that is more.
DEAD_LETTERS_MIN: Final = 20
#: The time of one update is remembered for about so many offsets.
AGE_OFFSETS: Final = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """The bridge's settings; see notify/settings.py for each."""

    window_offsets: int = windows.WINDOW_OFFSETS
    window_bytes: int = windows.WINDOW_BYTES
    chunk_messages: int = windows.CHUNK_MESSAGES
    chunk_bytes: int = windows.CHUNK_BYTES
    task_rows: int = windows.TASK_ROWS
    task_bytes: int = windows.TASK_BYTES
    shared_rows: int = windows.SHARED_ROWS
    resend_after_ms: int = 2_000
    resend_after_max_ms: int = 8_000
    hot_records: int = 200
    hot_apps: int = 200
    unread_after_ms: int = 10_000
    refused_records: int = 200
    #: The highest `v` of a message that this release reads.
    reads: int = READS

    @property
    def dead_letters_max(self) -> int:
        """How many dead letters a stream may have at or after its frontier before it halts."""
        return max(DEAD_LETTERS_MIN, self.window_offsets // 100)


class Phase(StrEnum):
    """What a partition waits for."""

    LOAD = "load"  # a Load, at `retry_at`
    LOADING = "loading"  # until the log is read again up to `planned`
    LIVE = "live"  # nothing: it is ticked


@dataclass(slots=True)
class Flight:
    """A batch that was sent and is not known to be applied. It is sent again at `due`."""

    part: Part
    attempt: int
    due: int


@dataclass(slots=True)
class Memory:
    """What a Load found and what was fetched since. `position` is the offset after the last fetched message.

    `expected` are the planned messages that must be found again first.
    """

    stream: StreamRow
    partitions: int
    window: Window[Write]
    decisions: dict[int, Decision]
    counts: Counts
    refusals: Refusals
    position: int
    expected: Expected
    reads: int = READS
    fetched: deque[Message] = field(default_factory=deque)
    fetched_bytes: int = 0
    flights: dict[int, Flight] = field(default_factory=dict)
    ages: deque[tuple[int, int]] = field(default_factory=deque)
    ticked_at: int = 0

    @classmethod
    def of(cls, loaded: Loaded, *, partitions: int, limits: Limits, log_start: int = 0) -> "Memory":
        """The memory after a Load, for reading from `position` on. Raises PlanUnreadable."""
        stream = loaded.stream
        expected = Expected(
            (Digests(row.first, row.next, row.digests) for row in loaded.plan),
            stream.last_message,
            frontier=stream.frontier,
            planned=stream.planned,
            log_start=log_start,
        )
        lanes: dict[int, Lane[Write]] = {
            number: Lane(row.last, row.isolate, row.one_at_a_time)
            for number, row in loaded.lanes.items()
        }
        return cls(
            stream=stream,
            partitions=partitions,
            window=Window(stream.id, lanes),
            decisions={
                offset: decision
                for row in loaded.plan
                for offset, decision in plans.decode(row.first, row.decisions).items()
            },
            counts=Counts(stream.id, records=limits.hot_records, apps=limits.hot_apps),
            refusals=Refusals(limits.refused_records),
            position=expected.first,
            expected=expected,
            reads=limits.reads,
        )

    def take(self, messages: Iterable[Fetched]) -> None:
        """Adds messages from a poll. Those below `planned` are already decided and go to the lanes.

        Raises ReplayDisagrees if a message does not fit its recorded decision, and NeedsUpgrade if a later
        release decided it.
        """
        again: list[tuple[int, bytes, list[Write]]] = []
        for offset, value in messages:
            message = Message(offset, value or b"", read(value, reads=self.reads))
            if offset >= self.stream.planned:
                self.fetched.append(message)
                self.fetched_bytes += len(message.body)
                continue
            self.expected.meet(offset, message.body)
            if offset >= self.stream.frontier:
                decision = self.decisions.pop(offset, OWN_ONLY)
                again.append((offset, message.body, self._writes(message, decision)))
                self._note_ages((message,))
        self.window.add(again)

    def _writes(self, message: Message, decision: Decision) -> list[Write]:
        try:
            return writes(message.content, decision)
        except ReplayDisagrees:
            if isinstance(message.content, Newer):
                reason = upgrade_reason(message.offset, message.content.v, reads=self.reads)
                raise NeedsUpgrade(reason) from None
            raise

    def waits_for_upgrade(self) -> str | None:
        """Why the stream must halt in front of a message of a later release. None without such a message,
        and until all updates before it are applied."""
        if not self.fetched or not self.stream.drained:
            return None
        first = self.fetched[0]
        if not isinstance(first.content, Newer):
            return None
        return upgrade_reason(first.offset, first.content.v, reads=self.reads)

    def room(self, limits: Limits) -> bool:
        """Whether the window has room for a chunk of at least one message."""
        if not self.fetched:
            return False
        first = self.fetched[0]
        return self._fits(first, 0, 0, self.window.frontier(first.offset), limits)

    def next_chunk(self, limits: Limits) -> tuple[list[Message], int]:
        """The messages of the next chunk and the offset where it ends; `planned` if there is no chunk."""
        messages: list[Message] = []
        size = 0
        oldest = self.window.frontier(self.fetched[0].offset) if self.fetched else 0
        for message in self.fetched:
            if not self._fits(message, len(messages), size, oldest, limits):
                break
            messages.append(message)
            size += len(message.body)
        if len(messages) == len(self.fetched):
            return messages, self.position
        return messages, messages[-1].offset + 1 if messages else self.stream.planned

    def _fits(self, message: Message, count: int, size: int, oldest: int, limits: Limits) -> bool:
        """Whether `message` fits into the chunk, which has `count` messages and `size` bytes so far.
        `oldest` is the lowest offset that is not applied, of those that were fetched too.

        The first message of an empty window always fits, so that no readable message stops the stream. A
        message of a later release never fits, because this release cannot decide it.
        """
        if isinstance(message.content, Newer):
            return False
        if message.offset == oldest:
            return True
        size += len(message.body)
        return (
            count < limits.chunk_messages
            and size <= limits.chunk_bytes
            and message.offset - oldest < limits.window_offsets
            and self.window.held_bytes + size <= limits.window_bytes
        )

    def last_message(self, planned: Planned | None) -> Last | None:
        """The last planned message after a tick that plans this chunk; None if it is unknown."""
        if planned is not None and planned.last is not None:
            return planned.last
        last = self.stream.last_message
        if last is None or last.planned != self.stream.planned:
            return None
        end = self.stream.planned if planned is None else planned.chunk.plan.next
        return last._replace(planned=end)

    def commit(self, stream: StreamRow, planned: Planned | None) -> None:
        """Takes over the result of a committed tick: `stream` is the row in the database now."""
        self.stream = stream
        if planned is not None:
            self._note_ages(self.fetched.popleft() for _ in planned.written)
            self.fetched_bytes -= sum(len(body) for _, body, _ in planned.written)
            self.window.add(planned.written)
        while self.ages and self.ages[0][0] < stream.frontier:
            self.ages.popleft()
        for number in [n for n in self.flights if self.window.lanes[n].flying is None]:
            del self.flights[number]

    def age_ms(self, now: int) -> int:
        """How long ago web accepted the oldest update that is not applied, in ms; 0 if all are applied."""
        if self.ages:
            return max(0, now - self.ages[0][1])
        contents = (message.content for message in self.fetched)
        return max(
            (now - content.at for content in contents if isinstance(content, Update)), default=0
        )

    def at_of(self, offset: int) -> int | None:
        """About when web accepted the update at `offset`: the time of one shortly before it in the log."""
        found = bisect_right(self.ages, offset, key=itemgetter(0))
        return self.ages[max(0, found - 1)][1] if self.ages else None

    def _note_ages(self, messages: Iterable[Message]) -> None:
        """Remembers the time of about one update in fifty offsets, which is exact enough for the lag."""
        due = self.ages[-1][0] + AGE_OFFSETS if self.ages else 0
        for message in messages:
            if message.offset >= due and isinstance(message.content, Update):
                self.ages.append((message.offset, message.content.at))
                due = message.offset + AGE_OFFSETS


@dataclass(slots=True)
class Held:
    """One partition that the group has assigned to this bridge."""

    partition: int
    phase: Phase = Phase.LOAD
    retry_at: int = 0
    failures: int = 0
    paused: bool = True
    memory: Memory | None = None
    #: The position at the last check, and since when fetches have returned nothing there although the log
    #: has more messages.
    stood_at: int = -1
    unread_since: int | None = None
    #: Since when Kafka owes the end of the log; at first, when the group gave the partition.
    heard_at: int | None = None
    #: How often another bridge has taken the stream since the group gave the partition to this one.
    taken: int = 0

    def live(self) -> Memory | None:
        """The memory, if the stream may be ticked; else None."""
        return self.memory if self.phase is Phase.LIVE else None

    def look(self, end: LogEnd | None, now: int) -> None:
        """Notes whether Kafka answers, and whether the partition is read, which means that its position
        moves or is at the log's end."""
        if end is not None:
            self.heard_at = now - end.silent_ms
        elif self.heard_at is None:
            self.heard_at = now
        position = None if self.memory is None else self.memory.position
        waits = position is not None and end is not None and end.offset > position
        if not waits or self.paused or position != self.stood_at:
            self.unread_since = None
        elif self.unread_since is None:
            self.unread_since = now
        self.stood_at = -1 if position is None else position

    def unread_ms(self, now: int) -> int:
        """How long nothing has been read although the log has more messages; 0 while it is read."""
        return 0 if self.unread_since is None else now - self.unread_since

    def unheard_ms(self, now: int) -> int:
        """How long Kafka has owed the end of the log, so that the lag is unknown."""
        return 0 if self.heard_at is None else now - self.heard_at

    def forget(self, retry_at: int) -> None:
        """Drops all memory of the stream (rule 8). It is loaded again at `retry_at`."""
        self.phase, self.memory, self.retry_at = Phase.LOAD, None, retry_at


def pack(parts: Sequence[Part], *, rows: int) -> list[list[Part]]:
    """Groups the parts of one lane into tasks of at most `rows` rows. An isolated part gets its own task."""
    tasks: list[list[Part]] = []
    room = 0
    for part in parts:
        if part.batch.isolated or part.batch.rows > room:
            tasks.append([])
            room = rows
        tasks[-1].append(part)
        room = 0 if part.batch.isolated else room - part.batch.rows
    return tasks


def share(tasks: Iterable[Task], *, rows: int, max_bytes: int) -> list[Task]:
    """The same parts in fewer tasks: small tasks of different lanes become one, of at most `rows` rows and of
    messages of at most `max_bytes`. A larger task stays alone, and an isolated one too.

    Without its rows a task costs a worker as much as a hundred rows, so lanes with few rows are cheaper
    together.
    """
    shared: list[Task] = []
    joined, room, room_bytes = 0, -1, -1
    for task in tasks:
        if task.parts[0].batch.isolated:
            shared.append(task)
        elif task.rows <= room and task.held_bytes <= room_bytes:
            parts = [*shared[joined].parts, *task.parts]
            shared[joined] = shared[joined]._replace(parts=parts)
            room -= task.rows
            room_bytes -= task.held_bytes
        else:
            shared.append(task)
            if rows - task.rows > room or task.held_bytes > room_bytes:
                joined = len(shared) - 1
                room, room_bytes = rows - task.rows, max_bytes - task.held_bytes
    return shared
