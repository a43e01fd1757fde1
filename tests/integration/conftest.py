"""Requests to the admin have the rights of web's role in PostgreSQL; what a test does itself, the owner's."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from psycopg import sql
from pytest_django import DjangoDbBlocker, Settings

from notify.security import database_roles
from notify.security.database_roles import PROCESSES, WEB

ADMIN = "test_admin_"


def _run(statement: str, *names: str) -> None:
    """Not among the queries that tests count."""
    connection.ensure_connection()
    connection.connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The role is there before a test's transaction begins, which would take it along."""
    for item in items:
        if item.path.name.startswith(ADMIN):
            item.fixturenames.insert(0, "web_role")  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def web_role(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The name of a role of web's in this worker's test database."""
    namespace = f"t{uuid.uuid4().hex[:10]}"
    with django_db_blocker.unblock(), override_settings(NOTIFY_NAMESPACE=namespace):
        database_roles.grant({})
        names = [database_roles.role_of(process) for process in PROCESSES]
    yield f"{namespace}_{WEB}"
    with django_db_blocker.unblock():
        for name in names:
            _run("DROP OWNED BY {}", name)
            _run("DROP ROLE {}", name)


@pytest.fixture
def plain_http(settings: Settings) -> None:
    """Pages without TLS, as they come, and log-ins that cost nothing."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.SECURE_SSL_REDIRECT = False
    settings.STATIC_ROOT = None
    settings.WHITENOISE_USE_FINDERS = False


@pytest.fixture
def patient(settings: Settings) -> None:
    """What is so when a test begins is so at the end of a slow one; what is old is 40 s old."""
    settings.NOTIFY_STALLED_AFTER_MS = 30_000


@contextmanager
def _acting_as(role: str) -> Iterator[None]:
    _run("SET ROLE {}", role)
    try:
        yield
    finally:
        if not connection.needs_rollback:
            _run("RESET ROLE")


@pytest.fixture(autouse=True)
def _admin_as_web(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "web_role" not in request.fixturenames:
        return
    role: str = request.getfixturevalue("web_role")
    send = Client.request

    def send_as_web(self: Client, **environ: Any) -> Any:
        with _acting_as(role):
            return send(self, **environ)

    monkeypatch.setattr(Client, "request", send_as_web)
