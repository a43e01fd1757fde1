"""The rows that contenders write: updates merged by row, and the one statement that writes them.

Updates are read, merged and written in the same way by every contender but Notify, which has its own.
"""

import json
import os
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import psycopg

TABLE_NAME: Final = "contender_record"
TABLE: Final = """
    CREATE TABLE IF NOT EXISTS contender_record (
        app uuid, id uuid, tags jsonb NOT NULL,
        session_count bigint NOT NULL, mirrored_updates bigint NOT NULL,
        created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (app, id)
    )
"""
#: Parameters: apps, ids, tags, sessions, mirrored updates, first and last time (ms), one array each.
UPSERT: Final = """
    INSERT INTO contender_record AS r
        (app, id, tags, session_count, mirrored_updates, created_at, updated_at)
    SELECT app, id, tags, sessions, mirrored,
        to_timestamp(first_at / 1000.0), to_timestamp(last_at / 1000.0)
    FROM unnest(
        %s::uuid[], %s::uuid[], %s::jsonb[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]
    ) AS new (app, id, tags, sessions, mirrored, first_at, last_at)
    ON CONFLICT (app, id) DO UPDATE SET
        tags = r.tags || excluded.tags,
        session_count = r.session_count + excluded.session_count,
        mirrored_updates = r.mirrored_updates + excluded.mirrored_updates,
        updated_at = excluded.updated_at
"""

Key = tuple[str, str]  # app, row
Parameters = tuple[list[Any], ...]


class Change(NamedTuple):
    """What some updates do to one row."""

    tags: dict[str, Any]
    sessions: int
    mirrored: int
    first_at: int
    last_at: int


def merge(messages: Iterable[bytes | str]) -> dict[Key, Change]:
    """The changes of the rows, and of the parents that updates are mirrored to, in order of the keys.

    All contenders write rows in this order, so that two of their statements cannot deadlock.
    """
    merged: dict[Key, Change] = {}
    for message in messages:
        update = json.loads(message)
        app, at, patch = update["app"], update["at"], update["patch"]
        tags = {name.removeprefix("tags."): value for name, value in patch["="].items()}
        own = Change(tags, patch["+"]["session_count"], 0, at, at)
        _add(merged, (app, update["record"]), own)
        parent = update.get("links", {}).get("email")
        if parent is not None:
            _add(merged, (app, parent), Change(tags, 0, 1, at, at))
    return dict(sorted(merged.items()))


def _add(merged: dict[Key, Change], key: Key, new: Change) -> None:
    old = merged.get(key)
    merged[key] = (
        new
        if old is None
        else Change(
            old.tags | new.tags,
            old.sessions + new.sessions,
            old.mirrored + new.mirrored,
            old.first_at,
            new.last_at,
        )
    )


def parameters(merged: dict[Key, Change]) -> Parameters:
    """The parameters of UPSERT."""
    changes = list(merged.values())
    return (
        [app for app, _ in merged],
        [row for _, row in merged],
        [json.dumps(change.tags) for change in changes],
        [change.sessions for change in changes],
        [change.mirrored for change in changes],
        [change.first_at for change in changes],
        [change.last_at for change in changes],
    )


def connect() -> psycopg.Connection[Any]:
    """A session like those of Notify's workers."""
    return psycopg.connect(
        os.environ["DATABASE_URL"], autocommit=True, options="-c synchronous_commit=off"
    )


def write(sql: psycopg.Connection[Any], messages: Iterable[bytes | str]) -> None:
    """Applies the updates in one statement."""
    merged = merge(messages)
    if merged:
        sql.execute(UPSERT, parameters(merged))
