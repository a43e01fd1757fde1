"""The web application with another end: what the same view costs otherwise.

`NOTIFY_BENCH_END` says which: `none` answers as soon as the update is parsed and checked; `sync` writes
it to its row in PostgreSQL first, durably, as the product did before there was a queue. Without it the
application is as it is.
"""

import os
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from notify import wsgi
from notify.domain.records.patch import PROPERTIES, SET, TAGS
from notify.domain.records.update import Update
from notify.web import wiring
from notify.web.resources import changes

#: Granian looks for it here.
application = wsgi.application

_UPSERT: Final = """
    INSERT INTO record (app, id, kind, identifier, tags, properties, created_at, updated_at)
    VALUES (%(app)s, %(id)s, %(kind)s, %(identifier)s, %(tags)s, %(properties)s,
        to_timestamp(%(at)s / 1000.0), to_timestamp(%(at)s / 1000.0))
    ON CONFLICT (app, id) DO UPDATE SET
        kind = coalesce(excluded.kind, record.kind),
        identifier = coalesce(excluded.identifier, record.identifier),
        tags = record.tags || excluded.tags,
        properties = record.properties || excluded.properties,
        updated_at = excluded.updated_at
"""
#: As many as Granian has threads.
_SESSIONS: Final = 24


def _part(update: Update, prefix: str) -> Jsonb:
    return Jsonb(
        {
            key.removeprefix(prefix): value
            for key, (op, value) in update.patch.ops.items()
            if op == SET and key.startswith(prefix)
        }
    )


def _row(update: Update) -> dict[str, Any]:
    return {
        "app": update.app,
        "id": update.record,
        "kind": update.kind,
        "identifier": update.patch.ops.get("identifier", (SET, None))[1],
        "tags": _part(update, TAGS),
        "properties": _part(update, PROPERTIES),
        "at": update.at,
    }


def _pool() -> ConnectionPool[psycopg.Connection[Any]]:
    url = os.environ["DATABASE_URL"]
    return ConnectionPool(
        url, min_size=_SESSIONS, max_size=_SESSIONS, kwargs={"autocommit": True}, open=True
    )


def _install(end: str) -> None:
    pool = _pool() if end == "sync" else None

    def send_all(call: Any, app: Any, who: Any, updates: Sequence[Update]) -> dict[str, Any]:
        updates = [who.admitted(update) for update in updates]
        call.services.limits.updates(app, [update.record for update in updates])
        wiring.services().apps.known()
        if pool is not None:
            with pool.connection() as connection:
                for update in updates:
                    connection.execute(_UPSERT, _row(update))
        return {}

    changes.send_all = send_all


if "NOTIFY_BENCH_END" in os.environ:
    _install(os.environ["NOTIFY_BENCH_END"])
