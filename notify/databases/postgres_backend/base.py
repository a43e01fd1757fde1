"""The module that Django looks for in an ENGINE."""

from typing import Any

from django.db.backends.postgresql import base
from psycopg import IsolationLevel

from notify.databases import postgres


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, on a `DjangoSession`, and with an end to the wait for a new connection."""

    def get_connection_params(self) -> dict[str, Any]:
        """As Django's. Unless DATABASE_URL says `connect_timeout`, it is CONNECT_TIMEOUT_S."""
        return {"connect_timeout": postgres.CONNECT_TIMEOUT_S, **super().get_connection_params()}

    def get_new_connection(self, conn_params: dict[str, Any]) -> postgres.DjangoSession:
        """As Django's, without a pool and an isolation level of one's own, which a URL can't ask for."""
        self.isolation_level = IsolationLevel.READ_COMMITTED
        return postgres.DjangoSession.connect(**conn_params)
