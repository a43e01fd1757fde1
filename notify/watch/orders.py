"""Orders that people gave in the admin and that take a while: carried out step by step."""

import threading
from collections.abc import Callable
from typing import Final

from django.db import connection

from notify import logs

EVERY_S: Final = 1.0


def carry_out(step: Callable[[], object], acts: threading.Event, stopped: threading.Event) -> None:
    """A step a second while the watcher acts, until stopped; one that fails is tried again."""
    has_failed = False
    while not stopped.wait(EVERY_S):
        if not acts.is_set():
            continue
        try:
            step()
            has_failed = False
        except Exception as error:  # noqa: BLE001 - Kafka, PostgreSQL or a bug: the next step may do it
            if not has_failed:
                logs.get().warning("order_failed", error=str(error), exc_info=error)
            has_failed = True
            connection.close()
