"""Databases of tests that start processes: each its own, with its roles, gone at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from notify.security.database_roles import PROCESSES


@contextmanager
def own_database(url: str, namespace: str) -> Iterator[str]:
    """The URL of a new database called `namespace`. Roles that were made for this namespace go with it."""
    name = sql.Identifier(namespace)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{namespace}"))
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
            for process in PROCESSES:
                role = sql.Identifier(f"{namespace}_{process}")
                admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
