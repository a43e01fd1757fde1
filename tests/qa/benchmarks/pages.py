"""How long the queries of the admin's pages take with many records: EXPLAIN ANALYZE of each.

    python -m devstack run -- python -m tests.qa.benchmarks.pages --records 10000000

Fills a database of its own, next to DATABASE_URL's, with so many records and links of one app, a tenth
as many parents, and a day of samples; drops it afterwards. Nothing here fails for being slow.
"""

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from notify.domain.records import ids

APP: Final = uuid.UUID("6f1c0000-0000-4000-8000-000000000001")
#: Parents for each so many records.
RECORDS_A_PARENT: Final = 10
#: Rows that are written before the log says so.
PART: Final = 1_000_000
EMAIL: Final = "anna@brauerei.example"

#: Ids are hashes of numbers: as random as ours, and known again.
_ID: Final = "md5('{}' || n)::uuid"
_FILL: Final = {
    "record": f"""
        INSERT INTO record (app, id, kind, identifier, tags, properties, created_at, updated_at)
        SELECT %(app)s, {_ID.format("r")}, 'push', md5(n::text), '{{"plan": "gold"}}',
            '{{"sdk": "050401"}}', now(), now()
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n""",
    "link": f"""
        INSERT INTO link (app, child, label, parent, parent_gen)
        SELECT %(app)s, {_ID.format("r")}, 'email', md5('p' || n %% %(parents)s)::uuid, 0
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n""",
}
_PARENTS: Final = f"""
    INSERT INTO link_count (app, parent, label, gen, n)
    SELECT %(app)s, {_ID.format("p")}, 'email', 0, CASE WHEN n %% 1000 = 0 THEN n ELSE n %% 20 END
    FROM generate_series(0, %(parents)s - 1) AS n"""
_SAMPLES: Final = (
    """
    INSERT INTO hot (bucket, stream, app, record, direct, mirrored, error)
    SELECT bucket, 1, %(app)s, md5('p' || k)::uuid, k, k * 9, 0
    FROM generate_series(now() - interval '1 day', now(), interval '10 seconds') AS bucket,
        generate_series(1, 50) AS k""",
    """
    INSERT INTO app_sample (bucket, stream, app, updates, mirrored, error)
    SELECT bucket, 1, CASE k WHEN 1 THEN %(app)s ELSE md5('a' || k)::uuid END, k, k, 0
    FROM generate_series(now() - interval '1 day', now(), interval '10 seconds') AS bucket,
        generate_series(1, 50) AS k""",
    """
    INSERT INTO skipped (stream, app, record, reason, first, last, n, at)
    SELECT 1, %(app)s, md5('p' || CASE WHEN n %% 5 = 0 THEN 7 ELSE n %% 1000 END)::uuid, 'skip_rule', n, n, 1,
        now() - n * interval '80 milliseconds'
    FROM generate_series(1, 1000000) AS n""",
)


def main(argv: Sequence[str]) -> int:
    """0 once all is measured."""
    arguments = _parser().parse_args(argv)
    if "DATABASE_URL" not in os.environ:
        print("pages: run it through `python -m devstack run --`", file=sys.stderr)
        return 2
    with _database(os.environ["DATABASE_URL"]) as url:
        os.environ["DATABASE_URL"] = url
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify.settings")
        _measure(arguments.records)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=10_000_000, help="rows of record, and links")
    return parser


@contextmanager
def _database(url: str) -> Iterator[str]:
    """A database of its own on the same server."""
    name = f"pages_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


def _measure(records: int) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    _fill(records)
    for title, page in _pages().items():
        print(f"\n{title}")
        for statement, parameters in _asked(page):
            plan = _explained(statement, parameters)
            print(f"  {plan:8.2f} ms  {' '.join(statement.split())[:96]}")
    connection.close()


def _fill(records: int) -> None:
    from django.db import connection

    parents = max(1, records // RECORDS_A_PARENT)
    began = time.monotonic()
    with connection.cursor() as cursor:
        for name, statement in _FILL.items():
            key = "app, id" if name == "record" else "app, child, label"
            # Filled without its index, and without a log of its own: it is not the filling that is measured.
            cursor.execute(f"ALTER TABLE {name} SET UNLOGGED, DROP CONSTRAINT {name}_pkey")
            for first in range(0, records, PART):
                last = min(records, first + PART) - 1
                cursor.execute(
                    statement, {"app": APP, "first": first, "last": last, "parents": parents}
                )
                print(f"{name}: {last + 1:,} rows, {time.monotonic() - began:.0f} s", flush=True)
            cursor.execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({key})")
        for statement in (_PARENTS, *_SAMPLES):
            cursor.execute(statement, {"app": APP, "parents": parents})
        cursor.execute(
            "INSERT INTO record (app, id, kind, identifier, created_at, updated_at)"
            " VALUES (%s, %s, 'email', %s, now(), now())",
            (APP, ids.record_id(str(APP), "email", EMAIL), EMAIL),
        )
        cursor.execute(
            "INSERT INTO app (id, name, requires_key, enabled, created_at)"
            " VALUES (%s, 'Closely', false, true, now())",
            (APP,),
        )
        cursor.execute("ANALYZE")
    print(f"filled in {time.monotonic() - began:.0f} s; parents: {parents:,}", flush=True)


def _pages() -> dict[str, Callable[[Any], Any]]:
    """Each page by what it is, as what a browser asks."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT md5('p1000')::uuid, md5('p7')::uuid, md5('r4711')::uuid")
        most_linked, hottest, device = cursor.fetchone()
    record = f"/admin/record/{APP}"
    return {
        "Find a record, by address": lambda client: client.post(
            "/admin/record/", {"app": "Closely", "what": EMAIL}
        ),
        "Find a record, none": lambda client: client.post(
            "/admin/record/", {"app": "Closely", "what": "nobody-4711"}
        ),
        "Record: a device": lambda client: client.get(f"{record}/{device}/"),
        "Record: hot": lambda client: client.get(f"{record}/{hottest}/"),
        "Record: most linked": lambda client: client.get(f"{record}/{most_linked}/"),
        "App usage": lambda client: client.get(f"/admin/app/{APP}/usage/"),
    }


def _asked(page: Callable[[Any], Any]) -> list[tuple[str, Any]]:
    """The page's statements of the product's tables, with their parameters."""
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client

    settings.ALLOWED_HOSTS = ["testserver"]
    settings.SECURE_SSL_REDIRECT = False
    root = User.objects.filter(username="root").first() or User.objects.create_superuser("root")
    client = Client()
    client.force_login(root, "django.contrib.auth.backends.ModelBackend")
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, statement: str, parameters: Any, many: bool, context: Any) -> Any:
        asked.append((statement, parameters))
        return execute(statement, parameters, many, context)

    page(client)
    began = time.monotonic()
    with connection.execute_wrapper(note):
        answer = page(client)
    took = (time.monotonic() - began) * 1000
    print(f"  {took:8.2f} ms  the whole page, {len(asked)} queries, HTTP {answer.status_code}")
    ours = (each for each in asked if each[0].lstrip().upper().startswith(("SELECT", "--", "WITH")))
    return [each for each in ours if "django_session" not in each[0] and "auth_" not in each[0]]


def _explained(statement: str, parameters: Any) -> float:
    """Milliseconds of planning and execution, by PostgreSQL."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        found = cursor.fetchone()[0]
    plan = found if isinstance(found, list) else json.loads(found)
    return float(plan[0]["Planning Time"] + plan[0]["Execution Time"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
