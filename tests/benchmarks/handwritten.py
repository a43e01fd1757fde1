"""A batch consumer as one writes it by hand: fast, and with none of the promises.

It merges what it polled by record and writes it in one statement. No policy, links or mirrors, no lanes,
no isolation of bad data; killed between the statement and the offset commit, it counts twice.

Run as `python -m tests.benchmarks.handwritten TOPIC FIRST-END FIRST-END ...` with one range of offsets a
partition (empty: not ours). It prints when it began and ended, and how many messages it had.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata

BATCH: Final = 500
TABLE: Final = """
    CREATE TABLE IF NOT EXISTS handwritten (
        app uuid, id uuid, tags jsonb NOT NULL, session_count bigint NOT NULL,
        created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (app, id)
    )
"""
_UPSERT: Final = """
    INSERT INTO handwritten AS r (app, id, tags, session_count, created_at, updated_at)
    SELECT app, id, tags, n, to_timestamp(at / 1000.0), to_timestamp(at / 1000.0)
    FROM unnest(%s::uuid[], %s::uuid[], %s::jsonb[], %s::bigint[], %s::bigint[])
        AS new (app, id, tags, n, at)
    ON CONFLICT (app, id) DO UPDATE SET
        tags = r.tags || excluded.tags,
        session_count = r.session_count + excluded.session_count,
        updated_at = excluded.updated_at
"""


def main(topic: str, ranges: Sequence[str]) -> None:
    """Apply the ranges."""
    left = {
        TopicPartition(topic, number): [int(bound) for bound in each.split("-")]
        for number, each in enumerate(ranges)
        if each
    }
    consumer = KafkaConsumer(
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(","),
        group_id=f"handwritten-{topic}",
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_poll_records=BATCH,
        max_partition_fetch_bytes=2 * 1024 * 1024,
        metrics_enabled=False,
    )
    consumer.assign(list(left))
    for at, (first, _) in left.items():
        consumer.seek(at, first)
    began, messages = 0.0, 0
    with psycopg.connect(
        os.environ["DATABASE_URL"], autocommit=True, options="-c synchronous_commit=off"
    ) as sql:
        while left := {at: ends for at, ends in left.items() if consumer.position(at) < ends[1]}:
            polled = consumer.poll(timeout_ms=100)
            began = began or time.time()
            found = [record for records in polled.values() for record in records]
            _write(sql, found)
            messages += len(found)
            consumer.commit_async(
                {
                    at: OffsetAndMetadata(records[-1].offset + 1, "", -1)
                    for at, records in polled.items()
                }
            )
    print(json.dumps({"began": began, "ended": time.time(), "messages": messages}))
    consumer.close(autocommit=False)


def _write(sql: psycopg.Connection[Any], found: Iterable[ConsumerRecord]) -> None:
    merged: dict[tuple[str, str], tuple[dict[str, Any], int, int]] = {}
    for record in found:
        update = json.loads(record.value)
        key = (update["app"], update["record"])
        tags, n, _ = merged.get(key, ({}, 0, 0))
        patch = update["patch"]
        tags |= {name.removeprefix("tags."): value for name, value in patch["="].items()}
        merged[key] = (tags, n + patch["+"]["session_count"], update["at"])
    if merged:
        rows = list(merged.values())
        sql.execute(
            _UPSERT,
            (
                [app for app, _ in merged],
                [record for _, record in merged],
                [json.dumps(tags) for tags, _, _ in rows],
                [n for _, n, _ in rows],
                [at for _, _, at in rows],
            ),
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
