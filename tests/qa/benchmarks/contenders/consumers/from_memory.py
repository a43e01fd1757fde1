"""Only the statements: reads the messages into memory, merges them in batches, and then writes them.

Run as `python -m tests.qa.benchmarks.contenders.consumers.from_memory TOPIC BATCH PROCESSES FIRST-END ...`.
The processes share the partitions, and begin to write at the same time.
"""

import multiprocessing
import sys
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier

from tests.qa.benchmarks.contenders.consumers import rows
from tests.qa.benchmarks.handwritten import parse_ranges, reader


def main(topic: str, batch: int, processes: int, ranges: Sequence[str]) -> int:
    """Applies the ranges. 0 if every process could."""
    forks = multiprocessing.get_context("fork")
    barrier = forks.Barrier(processes)
    shares = [
        _read(
            topic,
            batch,
            [each if number % processes == own else "" for number, each in enumerate(ranges)],
        )
        for own in range(processes)
    ]
    children = [forks.Process(target=_write, args=(share, barrier)) for share in shares]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return int(any(child.exitcode for child in children))


def _read(topic: str, batch: int, ranges: Sequence[str]) -> list[rows.Parameters]:
    left = parse_ranges(topic, ranges)
    consumer = reader(f"from-memory-{topic}", batch)
    consumer.assign(list(left))
    for at, (first, _) in left.items():
        consumer.seek(at, first)
    statements = []
    while any(consumer.position(at) < end for at, (_, end) in left.items()):
        polled = consumer.poll(timeout_ms=100)
        merged = rows.merge(message.value for found in polled.values() for message in found)
        if merged:
            statements.append(rows.parameters(merged))
    consumer.close(autocommit=False)
    return statements


def _write(statements: Sequence[rows.Parameters], barrier: Barrier) -> None:
    with rows.connect() as sql:
        barrier.wait()
        for each in statements:
            sql.execute(rows.UPSERT, each)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
