"""What the bridge is handed: log, ledger, dispatcher and clock.

Each has a real form (consumer.py, ledger.py, dispatch.py) and a simulated one (tests/simulation).
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from notify.domain.digest import Last
from notify.domain.links import Links, ParentKey
from notify.domain.policy import Policy
from notify.domain.repeats import SeenKey
from notify.domain.stream import LaneRow, LogFacts, PlanRow, StreamRow
from notify.domain.window import Batch


class LogAway(Exception):
    """Kafka cannot be reached, or does not answer."""


class LedgerAway(Exception):
    """PostgreSQL cannot be reached, or the outcome of a COMMIT is unknown."""


class DispatcherAway(Exception):
    """Redis cannot be reached: the task may or may not have been queued."""


class Fetched(NamedTuple):
    """One Kafka message."""

    offset: int
    value: bytes | None


@dataclass(slots=True)
class Polled:
    """What one poll brought. Revocations come before assignments, messages after both."""

    revoked: list[int] = field(default_factory=list)
    assigned: list[int] = field(default_factory=list)
    lost_position: list[int] = field(default_factory=list)
    messages: dict[int, list[Fetched]] = field(default_factory=dict)


class LogEnd(NamedTuple):
    """The log end of a partition as the brokers said it `age_ms` ago."""

    offset: int
    age_ms: int


class Log(Protocol):
    """The consumer of the topic, one member of the group. Every method raises LogAway."""

    def poll(self, timeout_ms: int) -> Polled:
        """Events and messages; returns at once when there are any."""
        ...

    def facts(self, partitions: Collection[int]) -> Mapping[int, LogFacts]:
        """Of each partition, asked of the brokers now, not remembered."""
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Messages of the partition come from `offset` on, from the next poll."""
        ...

    def position(self, partition: int) -> int:
        """The offset after all that polls have brought, holes included."""
        ...

    def end(self, partition: int) -> LogEnd | None:
        """The log end, asked of the brokers apart from all fetches; None before any answer."""
        ...

    def reopen(self) -> None:
        """Drop all connections and join the group anew. Every partition has left, without an event."""
        ...

    def pause(self, partition: int) -> None:
        """Polls bring no messages of it."""
        ...

    def resume(self, partition: int) -> None:
        """Polls bring its messages again."""
        ...

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tell Kafka the frontiers, for lag tools: nothing acts on them."""
        ...


class DeadMessage(NamedTuple):
    """A message that is dead-lettered by the tick: malformed or misrouted."""

    offset: int
    app: str | None
    record: str | None
    error: str
    message: bytes


class SkippedRow(NamedTuple):
    """What a chunk dropped of one record for one reason. App and record are None if unreadable."""

    app: str | None
    record: str | None
    reason: str
    rule: int | None
    first: int
    last: int
    n: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A planned stretch of the log and all that its decisions changed."""

    plan: PlanRow
    policy_version: int
    links: Links
    skipped: Sequence[SkippedRow]
    dead: Sequence[DeadMessage]
    #: To be remembered: the client's message ids of what was counted.
    seen: Sequence[SeenKey] = ()


class HotRow(NamedTuple):
    """One record's updates in a ten-second bucket (its start, in milliseconds)."""

    bucket: int
    stream: int
    app: str
    record: str
    direct: int
    mirrored: int
    error: int


class AppRow(NamedTuple):
    """One app's updates in a ten-second bucket, whatever became of them, and its mirrored writes."""

    bucket: int
    stream: int
    app: str
    updates: int
    mirrored: int
    error: int


class StreamSample(NamedTuple):
    """How a stream stands, and what was counted since the sample before; see models.StreamSample."""

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
    """How a lane of a stream stands; see models.LaneSample."""

    stream: int
    lane: int
    writes: int
    oldest_s: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Samples:
    """What the bridge tells pages and alerts, about once a second."""

    records: Sequence[HotRow] = ()
    apps: Sequence[AppRow] = ()
    streams: Sequence[StreamSample] = ()
    lanes: Sequence[LaneSample] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a Load found: the stream with its new token, and all that rebuilds its memory."""

    stream: StreamRow
    lanes: Mapping[int, LaneRow]
    plan: Sequence[PlanRow]


class Tick(Protocol):
    """An open tick: the streams it was asked for are locked. Every method raises LedgerAway."""

    @property
    def now(self) -> int:
        """PostgreSQL's clock at the tick's start, in milliseconds."""
        ...

    @property
    def streams(self) -> Mapping[int, StreamRow]:
        """Those that exist, by id."""
        ...

    @property
    def lanes(self) -> Mapping[int, Mapping[int, LaneRow]]:
        """By stream and lane number."""
        ...

    def policy(self) -> Policy:
        """The policy in force now."""
        ...

    def links(self, children: Collection[ParentKey], parents: Collection[ParentKey]) -> Links:
        """The links of `children`; generations and counts of their parents and of `parents`."""
        ...

    def seen(self, keys: Collection[SeenKey]) -> set[SeenKey]:
        """Those of `keys` that were counted less than NOTIFY_SEEN_HOURS ago."""
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
        """Record the stream's progress, and the chunk that moved `planned` if there is one."""
        ...


class Ledger(Protocol):
    """The bridge's transactions. Every method raises LedgerAway."""

    def peek(self, partition: int) -> tuple[StreamRow, int] | None:
        """The active topic's stream and its stored partition count; None if there is no stream."""
        ...

    def halt(self, stream: StreamRow, reason: str) -> None:
        """Halt the stream if its positions are still those of `stream`."""
        ...

    def resume(self, stream: StreamRow) -> None:
        """End the halt of `stream`, if it is still the halt with its reason."""
        ...

    def load(self, stream: int, token: int) -> Loaded | None:
        """Own the stream by a fresh token; None if it is halted or gone. Drained, it gets the lanes
        that were wanted."""
        ...

    def tick(self, streams: Sequence[int]) -> AbstractContextManager[Tick]:
        """One transaction, committed when the block ends well, rolled back when it raises."""
        ...

    def write_samples(self, samples: Samples) -> None:
        """Add counts, replace what stands: best effort, outside ticks."""
        ...

    def tidy(self) -> None:
        """Delete what is past its time (plan_log, hot, seen), and make room for what comes."""
        ...


class Part(NamedTuple):
    """One stream's part of a lane's task."""

    partition: int
    token: int
    batch: Batch


class Dispatcher(Protocol):
    """The sender of tasks. Every method raises DispatcherAway."""

    def send(self, lane: int, parts: Sequence[Part], *, attempt: int) -> None:
        """Queue one task with merged parts, or with one isolated part."""
        ...

    def queued(self, lane: int) -> int:
        """Tasks that wait in the lane's queue."""
        ...


class Clock(Protocol):
    """Time and chance, handed in so that the simulation can hold both."""

    def now_ms(self) -> int:
        """Milliseconds; only differences count."""
        ...

    def token(self) -> int:
        """A fresh random token, never 0, of 63 bits."""
        ...
