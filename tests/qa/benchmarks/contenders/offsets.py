"""The committed offsets of a contender's consumer group."""

import uuid
from contextlib import closing

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from tests.qa.benchmarks.contenders.cell import Cell
from tests.qa.benchmarks.drain import kafka
from tests.running import Running


def new_group(run: Running, name: str, cell: Cell) -> str:
    """A new consumer group, which begins at the cell's first updates."""
    group = f"{name}-{uuid.uuid4().hex[:12]}"
    with closing(_consumer(run, group)) as consumer:
        first = {
            TopicPartition(run.topic, number): OffsetAndMetadata(extent.first, "", -1)
            for number, extent in cell.extents.items()
        }
        consumer.assign(list(first))
        consumer.commit(first)
    return group


def committed(run: Running, group: str, cell: Cell) -> int:
    """How many of the cell's updates are before the group's committed offsets."""
    with closing(_consumer(run, group)) as consumer:
        return sum(
            (consumer.committed(TopicPartition(run.topic, number)) or extent.first) - extent.first
            for number, extent in cell.extents.items()
        )


def _consumer(run: Running, group: str) -> KafkaConsumer:
    return KafkaConsumer(
        bootstrap_servers=kafka(run).split(","),
        group_id=group,
        enable_auto_commit=False,
        metrics_enabled=False,
    )
