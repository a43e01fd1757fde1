"""Plain Celery, for comparison: one task and one INSERT … ON CONFLICT per update.

Run it as `celery -A devstack.demo.plain worker`. It keeps no order, and a lost or repeated task is a lost
or repeated update. It only shows what one task per update costs.
"""

import os
from functools import cache
from typing import Any, Final

import psycopg
from celery import Celery
from kombu import Queue

QUEUE: Final = "plain"

app = Celery("plain", broker=os.environ.get("REDIS_URL", ""))
app.conf.update(
    task_queues=[Queue(QUEUE)],
    task_default_queue=QUEUE,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
)

TABLE: Final = """
    CREATE TABLE IF NOT EXISTS plain_record (
        app uuid, id uuid, tags jsonb NOT NULL, n bigint NOT NULL, PRIMARY KEY (app, id)
    )
"""


@cache
def _session() -> psycopg.Connection[Any]:
    return psycopg.connect(
        os.environ["DATABASE_URL"], autocommit=True, options="-c synchronous_commit=off"
    )


@app.task(name="plain.apply")
def apply(record_app: str, record: str, level: int) -> None:
    """Applies one update."""
    _session().execute(
        "INSERT INTO plain_record AS r (app, id, tags, n) "
        "VALUES (%s, %s, jsonb_build_object('level', %s::int), 1) "
        "ON CONFLICT (app, id) DO UPDATE SET tags = r.tags || excluded.tags, n = r.n + 1",
        (record_app, record, level),
    )
