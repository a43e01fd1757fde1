"""A partition that the consumer group has assigned to this bridge: is it loaded, and is it read?"""

from dataclasses import dataclass
from enum import StrEnum

from ingest.ports import LogEnd
from ingest.stream_memory import StreamMemory


class PartitionPhase(StrEnum):
    """What a partition waits for."""

    LOAD = "load"  # a Load, at `retry_at`
    LOADING = "loading"  # until the log is read again up to `planned`
    LIVE = "live"  # nothing: it is ticked


@dataclass(slots=True)
class AssignedPartition:
    """One partition that the group has assigned to this bridge."""

    partition: int
    phase: PartitionPhase = PartitionPhase.LOAD
    retry_at: int = 0
    failures: int = 0
    paused: bool = True
    memory: StreamMemory | None = None
    #: The position at the last check, and since when fetches have returned nothing there although the log
    #: has more messages.
    checked_position: int = -1
    unread_since: int | None = None
    #: Since when Kafka owes the end of the log; at first, when the group gave the partition.
    unheard_since: int | None = None
    #: How often another bridge has taken the stream since the group gave the partition to this one.
    times_taken: int = 0
    #: When the next sample of the stream is due.
    sample_at: int = 0

    def live(self) -> StreamMemory | None:
        """The memory, if the stream may be ticked; else None."""
        return self.memory if self.phase is PartitionPhase.LIVE else None

    def note_reading(self, end: LogEnd | None, now: int) -> None:
        """Notes whether Kafka answers, and whether the partition is read, which means that its position
        moves or is at the log's end."""
        if end is not None:
            self.unheard_since = now - end.silent_ms
        elif self.unheard_since is None:
            self.unheard_since = now
        position = None if self.memory is None else self.memory.position
        waits = position is not None and end is not None and end.offset > position
        if not waits or self.paused or position != self.checked_position:
            self.unread_since = None
        elif self.unread_since is None:
            self.unread_since = now
        self.checked_position = -1 if position is None else position

    def unread_ms(self, now: int) -> int:
        """How long nothing has been read although the log has more messages; 0 while it is read."""
        return 0 if self.unread_since is None else now - self.unread_since

    def unheard_ms(self, now: int) -> int:
        """How long Kafka has owed the end of the log, so that the lag is unknown."""
        return 0 if self.unheard_since is None else now - self.unheard_since

    def forget(self, retry_at: int) -> None:
        """Drops all memory of the stream (rule 8). It is loaded again at `retry_at`."""
        self.phase, self.memory, self.retry_at = PartitionPhase.LOAD, None, retry_at
