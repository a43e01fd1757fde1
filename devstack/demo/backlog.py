"""The demo's backlog: updates that wait in Kafka, half of them for one row."""

import random
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from kafka import KafkaProducer

from devstack.demo import plain
from notify.domain.engine.lanes import partition_of
from notify.domain.records.patch import ADD, SET, Patch
from notify.domain.records.update import Update, encode

UPDATES: Final = 200_000
#: Plain Celery gets only the first of these updates: all of them would take it minutes.
PLAIN_UPDATES: Final = 6_000
RECORDS: Final = 20_000


def updates(apps: list[str]) -> Iterator[tuple[str, str, int]]:
    """Yields (app, record, level) of each update. Every second one is for the same row."""
    dice = random.Random(7)  # noqa: S311 - the same backlog every time
    records = [
        (dice.choice(apps), str(uuid.UUID(int=dice.getrandbits(128)))) for _ in range(RECORDS)
    ]
    for number in range(UPDATES):
        app, record = records[0] if number % 2 else dice.choice(records)
        yield app, record, number


def preload(bootstrap: str, topic: str, apps: list[str], *, partitions: int) -> None:
    """Writes the backlog to the topic, without web. Returns when Kafka has acked all of it."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap.split(","), acks="all", linger_ms=50, batch_size=512 * 1024
    )
    now = int(time.time() * 1000)
    for app, record, level in updates(apps):
        patch = Patch(False, {"tags.level": (SET, level), "session_count": (ADD, 1)})
        update = Update(app, record, now, "backlog", kind="push", patch=patch)
        producer.send(topic, encode(update), partition=partition_of(app, partitions))
    producer.flush()
    producer.close()


def preload_plain(dsn: str, redis_url: str, apps: list[str]) -> None:
    """Queues the first PLAIN_UPDATES of the same updates for plain Celery, one task per update."""
    with psycopg.connect(dsn, autocommit=True) as sql:
        sql.execute(plain.TABLE)
    plain.app.conf.broker_url = redis_url
    for number, update in enumerate(updates(apps)):
        if number >= PLAIN_UPDATES:
            return
        plain.app.send_task("plain.apply", args=update, queue=plain.QUEUE)


def plain_applied(sql: psycopg.Connection[Any]) -> int:
    """How many updates plain Celery has applied."""
    ((count,),) = sql.execute("SELECT coalesce(sum(n), 0) FROM plain_record").fetchall()
    return int(count)
