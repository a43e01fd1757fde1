"""A batch consumer as one writes it by hand: fast, and with none of the promises.

It merges what it polled by record and writes it in one statement. No policy, links, no lanes, no isolation
of bad data; killed between the statement and the offset commit, it counts twice.

Run as `python -m tests.qa.benchmarks.handwritten TOPIC FIRST-END FIRST-END ...` with one range of offsets a
partition (empty: not ours). It begins at the offset that its group committed, if that is past FIRST. It
prints when it began and ended, and how many messages it had.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from tests.qa.benchmarks.contenders.consumers import rows

#: The fastest that `make bench BENCH=contenders` found.
BATCH: Final = 5_000
TABLE: Final = rows.TABLE


def main(argv: Sequence[str]) -> None:
    """Apply the ranges."""
    parser = argparse.ArgumentParser(prog="tests.qa.benchmarks.handwritten")
    parser.add_argument("topic")
    parser.add_argument("ranges", nargs="*")
    parser.add_argument("--batch", type=int, default=BATCH, help="messages a statement, at most")
    parser.add_argument("--group")
    arguments = parser.parse_args(argv)
    left = parse_ranges(arguments.topic, arguments.ranges)
    consumer = reader(arguments.group or f"handwritten-{arguments.topic}", arguments.batch)
    consumer.assign(list(left))
    for at, (first, _) in left.items():
        consumer.seek(at, max(first, consumer.committed(at) or 0))
    began, messages = 0.0, 0
    with rows.connect() as sql:
        while unfinished := {
            at: ends for at, ends in left.items() if consumer.position(at) < ends[1]
        }:
            polled = consumer.poll(timeout_ms=100)
            began = began or time.time()
            found = [record.value for records in polled.values() for record in records]
            rows.write(sql, found)
            messages += len(found)
            consumer.commit_async(
                _offsets(
                    {
                        at: records[-1].offset + 1
                        for at, records in polled.items()
                        if at in unfinished
                    }
                )
            )
    ended = time.time()
    if left:
        consumer.commit(_offsets({at: consumer.position(at) for at in left}))
    print(json.dumps({"began": began or ended, "ended": ended, "messages": messages}))
    consumer.close(autocommit=False)


def parse_ranges(topic: str, ranges: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
    """First offset and end of the partitions that are ours."""
    return {
        TopicPartition(topic, number): (int(each.split("-")[0]), int(each.split("-")[1]))
        for number, each in enumerate(ranges)
        if each
    }


def reader(group: str, batch: int) -> KafkaConsumer:
    """A consumer whose partitions are assigned by hand."""
    return KafkaConsumer(
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(","),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_poll_records=batch,
        max_partition_fetch_bytes=2 * 1024 * 1024,
        metrics_enabled=False,
    )


def _offsets(positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {at: OffsetAndMetadata(offset, "", -1) for at, offset in positions.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
