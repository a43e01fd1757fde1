"""Plain Celery: a task an update, with Celery's defaults. Run as `celery -A ...plain_tasks worker`."""

import os
from functools import cache
from typing import Any

import psycopg
from celery import Celery

from tests.qa.benchmarks.contenders.consumers import rows

app = Celery("contender", broker=os.environ.get("CONTENDER_BROKER", ""))
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    # What a killed worker had prefetched is delivered again after so many seconds.
    broker_transport_options={"visibility_timeout": 30},
)


@cache
def session() -> psycopg.Connection[Any]:
    """This process's session."""
    return rows.connect()


@app.task(name="contender.apply")  # type: ignore[untyped-decorator]
def apply(message: str) -> None:
    """Applies one update."""
    rows.write(session(), [message])
