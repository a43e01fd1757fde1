"""Simulated Kafka: logs with holes, and one group member's view of them, with all that goes wrong."""

from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.ports import Fetched, LogAway, LogEnd, Polled
from notify.domain.engine.stream import LogFacts

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(slots=True)
class Partition:
    """A log: offsets rise, with holes. Offsets below `start` can't be read any more.

    `messages` keeps them all, for the oracle.
    """

    messages: list[Fetched] = field(default_factory=list)
    start: int = 0
    end: int = 0

    def append(self, value: bytes, *, hole: int) -> None:
        """Add a message after `hole` offsets that no consumer ever sees."""
        self.messages.append(Fetched(self.end + hole, value))
        self.end += hole + 1

    def read(self, position: int, most: int) -> list[Fetched]:
        """Up to `most` messages at or after the position."""
        first = bisect_left(self.messages, position, key=lambda message: message.offset)
        return self.messages[first : first + most]

    def cut(self, end: int) -> None:
        """Kafka loses what is at or after this offset."""
        del self.messages[bisect_left(self.messages, end, key=lambda message: message.offset) :]
        self.end = end


@dataclass(slots=True)
class Topic:
    """A topic as Kafka has it. `told` is how many partitions it says that it has."""

    id: str
    partitions: list[Partition]
    told: int


class SimLog:
    """One group member's view. It learns of rebalances late, and may go on as a zombie.

    Its own position after an assignment may be anything: the bridge must seek.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.topic_id = world.topic.id
        self.assigned: list[int] = []
        self.revoked: list[int] = []
        self.positions: dict[int, int] = {}
        self.paused: set[int] = set()
        #: Partitions whose fetches bring nothing, and no error, until the log is opened again.
        self.deaf: set[int] = set()
        #: Partitions whose next fetch tells, by the leader's epoch, that their log was cut.
        self.truncated: set[int] = set()

    def poll(self, timeout_ms: int) -> Polled:
        self._may_be_away()
        polled = Polled(revoked=self.revoked, assigned=self.assigned)
        self.revoked, self.assigned = [], []
        for partition in polled.revoked:
            self.positions.pop(partition, None)
        for partition in polled.assigned:
            self.positions[partition] = self._world.rng.randint(0, self._log(partition).end)
            self.paused.add(partition)
        if self.topic_id != self._world.topic.id:
            self.topic_id = self._world.topic.id
            polled.lost_position += self.positions
            return polled
        for partition in self.positions:
            if partition not in self.paused | self.deaf:
                self._poll(partition, polled)
        return polled

    def _poll(self, partition: int, polled: Polled) -> None:
        log, position = self._log(partition), self.positions[partition]
        if partition in self.truncated or not log.start <= position <= log.end:
            self.truncated.discard(partition)
            polled.lost_position.append(partition)
            return
        most = self._world.rng.randint(0, 8)
        found = log.read(position, most)
        if found:
            polled.messages[partition] = found
            self.positions[partition] = found[-1].offset + 1
        if len(found) < most:
            self.positions[partition] = max(log.end, position)

    def _log(self, partition: int) -> Partition:
        return self._world.topic.partitions[partition]

    def _may_be_away(self) -> None:
        if self._world.kafka_away or self._world.chance(0.01):
            raise LogAway("no broker answers")

    def facts(self, partitions: Collection[int]) -> Mapping[int, LogFacts]:
        self._may_be_away()
        topic = self._world.topic
        return {
            n: LogFacts(topic.id, topic.told, self._log(n).start, self._log(n).end)
            for n in partitions
        }

    def seek(self, partition: int, offset: int) -> None:
        if partition not in self.positions:
            raise LogAway("the partition has just left")
        self.positions[partition] = offset

    def position(self, partition: int) -> int:
        if partition not in self.positions:
            raise LogAway("the partition has just left")
        return self.positions[partition]

    def end(self, partition: int) -> LogEnd | None:
        away_ms = 60_000 if self._world.kafka_away else 0
        if partition not in self.positions:
            return None
        return LogEnd(self._log(partition).end, away_ms, away_ms)

    def reopen(self) -> None:
        self.assigned = sorted({*self.assigned, *self.positions} - set(self.revoked))
        self.revoked = []
        self.positions.clear()
        self.deaf.clear()

    def pause(self, partition: int) -> None:
        self.paused.add(partition)

    def resume(self, partition: int) -> None:
        self.paused.discard(partition)

    def commit(self, offsets: Mapping[int, int]) -> None:
        self._may_be_away()
        self._world.committed_offsets |= offsets
