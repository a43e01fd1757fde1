"""Carries out long orders from the admin (replays), step by step."""

import threading
from collections.abc import Callable
from typing import Final

from django.db import connection

from notify.telemetry import logs

EVERY_S: Final = 1.0


def carry_out(
    step: Callable[[], object], is_leader: threading.Event, stopped: threading.Event
) -> None:
    """Does one step a second while this watcher is the leader, until stopped; retries failed steps."""
    has_failed = False
    while not stopped.wait(EVERY_S):
        if not is_leader.is_set():
            continue
        try:
            step()
            has_failed = False
        except Exception as error:  # noqa: BLE001 - Kafka, PostgreSQL or a bug: the next step may do it
            if not has_failed:
                logs.get().warning("order_failed", error=str(error), exc_info=error)
            has_failed = True
            connection.close()
