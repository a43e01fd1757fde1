"""The module that Django looks for in an ENGINE."""

from typing import Any

from django.db.backends.postgresql import base
from psycopg import IsolationLevel

from notify.postgres import DjangoSession


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, on a `DjangoSession`."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> DjangoSession:
        """As Django's, without a pool and an isolation level of one's own, which a URL can't ask for."""
        self.isolation_level = IsolationLevel.READ_COMMITTED
        return DjangoSession.connect(**conn_params)
