"""Only the statements: reads its ranges into memory, merges them in batches, and then writes them.

Run as `python -m tests.benchmarks.contenders.consumers.from_memory TOPIC BATCH FIRST-END FIRST-END ...`.
"""

import sys
from collections.abc import Sequence

from tests.benchmarks.contenders.consumers import rows
from tests.benchmarks.handwritten import parse_ranges, reader


def main(topic: str, batch: int, ranges: Sequence[str]) -> None:
    """Apply the ranges."""
    left = parse_ranges(topic, ranges)
    consumer = reader(f"from-memory-{topic}", batch)
    consumer.assign(list(left))
    for at, (first, _) in left.items():
        consumer.seek(at, first)
    batches = []
    while any(consumer.position(at) < end for at, (_, end) in left.items()):
        polled = consumer.poll(timeout_ms=100)
        merged = rows.merge(message.value for found in polled.values() for message in found)
        if merged:
            batches.append(rows.parameters(merged))
    consumer.close(autocommit=False)
    with rows.connect() as sql:
        for each in batches:
            sql.execute(rows.UPSERT, each)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
