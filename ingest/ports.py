"""The interfaces that the bridge depends on: log (Kafka), ledger (PostgreSQL), dispatcher (Redis), clock.

Each is implemented for production (consumer.py, ledger.py, dispatch.py) and for the simulation
(tests/simulation).
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from notify.domain.engine.digest import Last
from notify.domain.engine.stream import LaneRow, LogFacts, PlanRow, StreamRow
from notify.domain.engine.window import Batch
from notify.domain.records.decide import Write
from notify.domain.records.idempotency import SeenKey
from notify.domain.records.links import Links, ParentKey
from notify.domain.records.policy import Policy


class LogAway(Exception):
    """Kafka cannot be reached, or does not answer."""


class LedgerAway(Exception):
    """PostgreSQL cannot be reached, or the outcome of a COMMIT is unknown."""


class DispatcherAway(Exception):
    """Redis cannot be reached. The task may have been queued or not."""


class Fetched(NamedTuple):
    """One Kafka message."""

    offset: int
    value: bytes | None


@dataclass(slots=True)
class Polled:
    """The result of one poll. Handle revocations first, then assignments, then messages."""

    revoked: list[int] = field(default_factory=list)
    assigned: list[int] = field(default_factory=list)
    lost_position: list[int] = field(default_factory=list)
    messages: dict[int, list[Fetched]] = field(default_factory=dict)


class LogEnd(NamedTuple):
    """The end of a partition's log, as the brokers told it `age_ms` ago.

    `silent_ms` is how long they have owed an answer: the age of the first question that has none.
    """

    offset: int
    age_ms: int
    silent_ms: int = 0


class Log(Protocol):
    """A consumer of the topic, which is one member of the group. Every method raises LogAway."""

    def poll(self, timeout_ms: int) -> Polled:
        """Returns events and messages, as soon as there are any."""
        ...

    def facts(self, partitions: Collection[int]) -> Mapping[int, LogFacts]:
        """Facts about each partition, which the brokers are asked for now."""
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Lets the next polls return the partition's messages from `offset` on."""
        ...

    def position(self, partition: int) -> int:
        """The offset after all messages that polls have returned, including holes in the log."""
        ...

    def end(self, partition: int) -> LogEnd | None:
        """The log's end, which the brokers are asked for independently of fetches; None before an answer."""
        ...

    def reopen(self) -> None:
        """Drops all connections and joins the group again. All partitions are gone, without an event."""
        ...

    def pause(self, partition: int) -> None:
        """Lets polls return no messages of the partition."""
        ...

    def resume(self, partition: int) -> None:
        """Lets polls return the partition's messages again."""
        ...

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commits the frontiers to Kafka for lag tools. The bridge never reads them."""
        ...


class DeadMessage(NamedTuple):
    """A message that the tick makes a dead letter, because it is malformed or misrouted."""

    offset: int
    app: str | None
    record: str | None
    error: str
    message: bytes


class SkippedRow(NamedTuple):
    """The updates of one record that a chunk dropped for one reason. App and record are None if the
    message is unreadable."""

    app: str | None
    record: str | None
    reason: str
    rule: int | None
    first: int
    last: int
    n: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A planned range of the log, with all that its decisions change."""

    plan: PlanRow
    policy_version: int
    links: Links
    skipped: Sequence[SkippedRow]
    dead: Sequence[DeadMessage]
    #: The message ids of clients' updates that were counted, to remember them.
    seen: Sequence[SeenKey] = ()


class HotRow(NamedTuple):
    """One record's updates in a ten-second bucket, which is named by its start in milliseconds."""

    bucket: int
    stream: int
    app: str
    record: str
    direct: int
    mirrored: int
    error: int


class AppRow(NamedTuple):
    """One app's updates in a ten-second bucket, including dropped ones, and its mirrored writes."""

    bucket: int
    stream: int
    app: str
    updates: int
    mirrored: int
    error: int


class StreamSample(NamedTuple):
    """The state of a stream, and what was counted since its last sample; see models.StreamSample."""

    bucket: int
    stream: int
    log_end: int | None
    planned: int
    frontier: int
    lag_s: float
    unread_s: float
    unheard_s: float
    held_bytes: int
    held_writes: int
    paused: bool
    messages: int
    accepted_s: float
    writes: int
    mirrored: int
    skipped: int
    dead: int


class LaneSample(NamedTuple):
    """The state of a lane of a stream; see models.LaneSample."""

    stream: int
    lane: int
    writes: int
    oldest_s: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Samples:
    """What the bridge writes for pages and alerts, about once a second."""

    records: Sequence[HotRow] = ()
    apps: Sequence[AppRow] = ()
    streams: Sequence[StreamSample] = ()
    lanes: Sequence[LaneSample] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of a Load: the stream with its new token, and what its memory is built from."""

    stream: StreamRow
    lanes: Mapping[int, LaneRow]
    plan: Sequence[PlanRow]


class Tick(Protocol):
    """An open transaction of a tick, which has locked its streams. Every method raises LedgerAway."""

    @property
    def now(self) -> int:
        """PostgreSQL's clock at the tick's start, in milliseconds."""
        ...

    @property
    def streams(self) -> Mapping[int, StreamRow]:
        """The streams of the tick that exist, by id."""
        ...

    @property
    def lanes(self) -> Mapping[int, Mapping[int, LaneRow]]:
        """The lanes, by stream and lane number."""
        ...

    def policy(self) -> Policy:
        """The policy in force now."""
        ...

    def links(self, children: Collection[ParentKey], parents: Collection[ParentKey]) -> Links:
        """The links of `children`, and the generations and counts of their parents and of `parents`."""
        ...

    def seen(self, keys: Collection[SeenKey]) -> set[SeenKey]:
        """The keys that were counted less than NOTIFY_SEEN_HOURS ago."""
        ...

    def dead_letters(self, stream: int, frontier: int) -> int:
        """How many dead letters the stream has at or after `frontier`."""
        ...

    def write(
        self,
        stream: int,
        *,
        frontier: int,
        planned: int,
        chunk: Chunk | None,
        last_message: Last | None = None,
    ) -> None:
        """Records the stream's progress, and the planned chunk if there is one. It may be written only at
        the tick's end: read before you write what depends on it."""
        ...


class Ledger(Protocol):
    """The bridge's transactions. Every method raises LedgerAway."""

    def peek(self, partition: int) -> tuple[StreamRow, int] | None:
        """The partition's stream of the active topic, and the stored number of partitions; None if there is
        no stream."""
        ...

    def halt(self, stream: StreamRow, reason: str) -> None:
        """Halts the stream, if its positions are still those of `stream`."""
        ...

    def resume(self, stream: StreamRow) -> None:
        """Ends the halt of `stream`, if it is still halted for the same reason."""
        ...

    def load(self, stream: int, token: int) -> Loaded | None:
        """Takes the stream over by writing a new token. None if it is halted or gone. If it is drained, its
        number of lanes is changed to the wanted one."""
        ...

    def tick(self, streams: Sequence[int]) -> AbstractContextManager[Tick]:
        """Opens a transaction, which is committed when the block ends and rolled back when it raises."""
        ...

    def write_samples(self, samples: Samples) -> None:
        """Writes samples: adds counts and replaces states. Best effort, outside of ticks."""
        ...

    def tidy(self) -> None:
        """Deletes rows past their retention (plan_log, hot, seen) and creates partitions of tables."""
        ...


class Part(NamedTuple):
    """One stream's part of a task for a lane."""

    partition: int
    token: int
    batch: Batch[Write]


class Task(NamedTuple):
    """A task in the queue of a lane: merged parts, of other lanes too if they are small, or one isolated
    part. `attempt` counts how often it was sent."""

    lane: int
    parts: Sequence[Part]
    attempt: int

    @property
    def rows(self) -> int:
        """The number of writes in it."""
        return sum(part.batch.rows for part in self.parts)

    @property
    def lanes(self) -> list[int]:
        """The lanes of its parts, each once, in order."""
        return sorted({part.batch.lane for part in self.parts})

    @property
    def held_bytes(self) -> int:
        """The bytes of the messages of which its writes are."""
        return sum(part.batch.held_bytes for part in self.parts)


class Dispatcher(Protocol):
    """The sender of tasks. Every method raises DispatcherAway."""

    def send(self, tasks: Sequence[Task]) -> None:
        """Queues these tasks, all at once. After an error any of them may be queued or not."""
        ...

    def queued(self, lane: int) -> int:
        """How many tasks wait in the lane's queue."""
        ...


class Clock(Protocol):
    """The source of time and randomness, passed in so that the simulation can control both."""

    def now_ms(self) -> int:
        """The time in milliseconds; only differences have a meaning."""
        ...

    def token(self) -> int:
        """A new random token of 63 bits, never 0."""
        ...
