"""What the bridge remembers about one stream. It may be dropped at any time; a Load builds it again."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from ingest.bridge_limits import BridgeLimits
from ingest.counts import Counts
from ingest.planner import Message, Planned
from ingest.ports import Fetched, Loaded, Part
from ingest.refusals import Refusals
from notify.domain.engine.digest import Digests, Expected, Last
from notify.domain.engine.stream import StreamRow, upgrade_reason
from notify.domain.engine.window import Lane, Window
from notify.domain.errors import NeedsUpgrade, ReplayDisagrees
from notify.domain.records import plan as plans
from notify.domain.records.decide import OWN_ONLY, Decision, Write, writes
from notify.domain.records.update import READS, Newer, Update, read

#: The time of one update is remembered for about so many offsets.
ACCEPTED_TIME_OFFSETS: Final = 50


@dataclass(slots=True)
class BatchInFlight:
    """A batch that was sent and is not known to be applied. It is sent again at `due`."""

    part: Part
    attempt: int
    due: int


@dataclass(slots=True)
class StreamMemory:
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
    in_flight: dict[int, BatchInFlight] = field(default_factory=dict)
    accepted_times: deque[tuple[int, int]] = field(default_factory=deque)
    ticked_at: int = 0

    @classmethod
    def of(
        cls, loaded: Loaded, *, partitions: int, limits: BridgeLimits, log_start: int = 0
    ) -> "StreamMemory":
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
                self._note_accepted_times((message,))
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

    def has_room(self, limits: BridgeLimits) -> bool:
        """Whether the window has room for a chunk of at least one message."""
        if not self.fetched:
            return False
        first = self.fetched[0]
        return self._fits(first, 0, 0, self.window.frontier(first.offset), limits)

    def next_chunk(self, limits: BridgeLimits) -> tuple[list[Message], int]:
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

    def _fits(
        self, message: Message, count: int, size: int, oldest: int, limits: BridgeLimits
    ) -> bool:
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
            self._note_accepted_times(self.fetched.popleft() for _ in planned.written)
            self.fetched_bytes -= sum(len(body) for _, body, _ in planned.written)
            self.window.add(planned.written)
        while self.accepted_times and self.accepted_times[0][0] < stream.frontier:
            self.accepted_times.popleft()
        for number in [n for n in self.in_flight if self.window.lanes[n].in_flight is None]:
            del self.in_flight[number]

    def age_ms(self, now: int) -> int:
        """How long ago web accepted the oldest update that is not applied, in ms; 0 if all are applied."""
        if self.accepted_times:
            return max(0, now - self.accepted_times[0][1])
        contents = (message.content for message in self.fetched)
        return max(
            (now - content.at for content in contents if isinstance(content, Update)), default=0
        )

    def accepted_at(self, offset: int) -> int | None:
        """About when web accepted the update at `offset`: the time of one shortly before it in the log."""
        after = bisect_right(self.accepted_times, offset, key=itemgetter(0))
        return self.accepted_times[max(0, after - 1)][1] if self.accepted_times else None

    def _note_accepted_times(self, messages: Iterable[Message]) -> None:
        """Remembers the time of about one update in fifty offsets, which is exact enough for the lag."""
        due = self.accepted_times[-1][0] + ACCEPTED_TIME_OFFSETS if self.accepted_times else 0
        for message in messages:
            if message.offset >= due and isinstance(message.content, Update):
                self.accepted_times.append((message.offset, message.content.at))
                due = message.offset + ACCEPTED_TIME_OFFSETS
