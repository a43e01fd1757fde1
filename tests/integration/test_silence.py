"""Sockets give up a peer that is gone without a word: no process may wait for hours."""

import os
import socket

import pytest
from django.conf import settings

from notify import postgres as sessions
from notify.celery import app

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT"
)
EXPECTED = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}


def _options(number: int) -> dict[str, int]:
    with socket.socket(fileno=os.dup(number)) as peer:
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        return {
            name: peer.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in EXPECTED
        }


def test_postgresqls(postgres: str) -> None:
    if not settings.DATABASES["default"]["HOST"]:
        pytest.skip("DATABASE_URL is a Unix socket")
    with sessions.connect(name="test", lock_timeout_ms=1_000) as connection:
        assert _options(connection.fileno()) == EXPECTED


def test_redis(redis_url: str) -> None:
    with app.connection() as connection:
        pool = connection.default_channel.client.connection_pool
        line = pool.get_connection()
        try:
            assert _options(line._sock.fileno()) == EXPECTED
        finally:
            pool.release(line)
