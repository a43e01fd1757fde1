"""A cell of the benchmark: prepared updates of one shape, which every contender drains."""

from collections.abc import Mapping
from contextlib import closing
from functools import cached_property
from typing import Final, NamedTuple

from kafka import KafkaConsumer, TopicPartition

from tests.qa.benchmarks.contenders.comparison import Key, Message, Row, replay
from tests.qa.benchmarks.contenders.filled import CREATED_AT
from tests.qa.benchmarks.contenders.shapes import Shape, aims
from tests.qa.benchmarks.drain import kafka, log_ends
from tests.qa.benchmarks.prepared import Sender, message, partition
from tests.running import Running

#: So many rows show how far a drain is. To count all would take a part of the machine.
WATCHED: Final = 1_000
#: Of these, so many are those with the most updates, which may be applied last.
WATCHED_HOT: Final = 100


class Extent(NamedTuple):
    """Offsets of a partition: `first` included, `end` not."""

    first: int
    end: int


class Cell:
    """The updates of a shape, in the topic between the offsets of `extents`."""

    def __init__(
        self, shape: Shape, extents: Mapping[int, Extent], messages: list[Message]
    ) -> None:
        self.shape = shape
        self.extents = extents
        self.messages = messages
        self.updates = len(messages)

    @cached_property
    def expected(self) -> Mapping[Key, Row]:
        """The rows after serial replay, without those of a filled shape that no update is for."""
        rows = replay(self.messages, partitions=len(self.extents))
        if self.shape.filled:
            return {key: {**row, "created_at": CREATED_AT} for key, row in rows.items()}
        return rows

    @cached_property
    def watched(self) -> list[Key]:
        """The rows with the most updates, and some of the others."""
        rows = self.expected
        own = sorted(rows, key=lambda key: rows[key]["session_count"], reverse=True)
        hot, rest = own[:WATCHED_HOT], own[WATCHED_HOT:]
        every = len(rest) // (WATCHED - WATCHED_HOT) + 1
        return [key for key in (*hot, *rest[::every]) if rows[key]["session_count"]]

    @cached_property
    def watched_updates(self) -> int:
        """How many updates are for the watched rows."""
        return sum(int(self.expected[key]["session_count"]) for key in self.watched)

    @cached_property
    def apps(self) -> list[str]:
        """The apps of the rows. No other cell has them."""
        return sorted({app for app, _ in self.expected})

    def ranges(self, process: int, processes: int) -> list[str]:
        """The offsets that are one process's share, as `FIRST-END`; empty for the partitions of others."""
        return [
            f"{extent.first}-{extent.end}" if number % processes == process else ""
            for number, extent in sorted(self.extents.items())
        ]


def prepare(run: Running, shape: Shape, updates: int, *, seed: int) -> Cell:
    """Appends the updates to the topic, keyed by row."""
    before = log_ends(run)
    sender = Sender(kafka(run), run.topic, linger_ms=50)
    for number, aim in enumerate(aims(shape, updates, seed=seed)):
        sender.send(
            message(aim.target, number, parent=aim.parent, notes=shape.notes),
            partition(aim.target, run.partitions),
            aim.target.record.encode(),
        )
    sender.acked()
    ends = log_ends(run)
    extents = {number: Extent(before[number], end) for number, end in ends.items()}
    return Cell(shape, extents, _read(run, extents))


def _read(run: Running, extents: Mapping[int, Extent]) -> list[Message]:
    """What the topic really has."""
    messages = []
    with closing(
        KafkaConsumer(
            bootstrap_servers=kafka(run).split(","),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            metrics_enabled=False,
        )
    ) as consumer:
        left = {TopicPartition(run.topic, number): each for number, each in extents.items()}
        consumer.assign(list(left))
        for at, extent in left.items():
            consumer.seek(at, extent.first)
        while any(consumer.position(at) < extent.end for at, extent in left.items()):
            for at, found in consumer.poll(timeout_ms=100, max_records=5_000).items():
                messages += [Message(at.partition, each.offset, each.value) for each in found]
    return messages
