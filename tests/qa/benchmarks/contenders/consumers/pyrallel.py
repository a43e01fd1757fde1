"""Pyrallel Consumer in its asyncio mode, ordered by key: a statement an update, IN_FLIGHT at a time.

Run as `python -m tests.qa.benchmarks.contenders.consumers.pyrallel TOPIC GROUP` in its own environment.
"""

import asyncio
import os
import signal
import sys
from typing import Any, Final

import psycopg
from pyrallel_consumer import (  # type: ignore[import-not-found]
    ExecutionConfig,
    ExecutionMode,
    KafkaConfig,
    OrderingMode,
    ParallelConsumerConfig,
    PyrallelConsumer,
    WorkItem,
)

from tests.qa.benchmarks.contenders.consumers import rows

IN_FLIGHT: Final = 64
SESSIONS: Final = 8


async def main(topic: str, group: str) -> None:
    """Consumes until SIGTERM."""
    sessions: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
    for _ in range(SESSIONS):
        sessions.put_nowait(
            await psycopg.AsyncConnection.connect(
                os.environ["DATABASE_URL"], autocommit=True, options="-c synchronous_commit=off"
            )
        )

    async def work(item: WorkItem) -> None:
        sql = await sessions.get()
        try:
            await sql.execute(rows.UPSERT, rows.parameters(rows.merge([item.payload])))
        finally:
            sessions.put_nowait(sql)

    consumer = PyrallelConsumer(_config(group), work, topic)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await consumer.start()
    await stopped.wait()
    await consumer.stop()


def _config(group: str) -> KafkaConfig:
    execution = ExecutionConfig(mode=ExecutionMode.ASYNC, max_in_flight=IN_FLIGHT)
    return KafkaConfig(
        BOOTSTRAP_SERVERS=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        CONSUMER_GROUP=group,
        SESSION_TIMEOUT_MS=10_000,
        dlq_enabled=False,
        parallel_consumer=ParallelConsumerConfig(
            ordering_mode=OrderingMode.KEY_HASH, execution=execution
        ),
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
