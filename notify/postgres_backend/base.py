"""The module that Django looks for in an ENGINE."""

from typing import Any

from django.db.backends.postgresql import base
from psycopg import IsolationLevel

from notify.postgres import Session


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, on a `Session`."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Session:
        """As Django's, without a pool and an isolation level of one's own, which a URL can't ask for."""
        self.isolation_level = IsolationLevel.READ_COMMITTED
        return Session.connect(**conn_params)
