"""Caches the apps, their keys and the topic's number of partitions, as last read from PostgreSQL.

Requests only read memory. A daemon thread reads PostgreSQL every NOTIFY_APPS_REFRESH_MS. While PostgreSQL
is unavailable the last result is used, for as long as it takes. The price is that a revoked key still works
and a new app is unknown meanwhile; `notify_web_apps_read_timestamp_seconds` shows for how long.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from notify.domain.records import nobody
from notify.telemetry import logs, metrics
from notify.web.resources.deleted_list import DeletedList

#: How long the first requests of a process wait for its first read.
FIRST_READ_S: Final = 5.0


class NotKnownYet(Exception):
    """The apps and the topic are not known: no read from PostgreSQL has succeeded yet."""


class TopicUnusable(Exception):
    """Updates must not be sent: the topic they would go to is not the active one."""


class ReadFailed(Exception):
    """PostgreSQL could not be read; the last result stays in use."""


@dataclass(frozen=True, slots=True)
class KnownApp:
    """An app, with the digests of its live keys and its live public keys (`identity_keys`, in PEM)."""

    id: str
    enabled: bool = True
    requires_key: bool = False
    digests: tuple[str, ...] = ()
    requires_identity: bool = False
    #: Its own limit of requests a second. None: the limit of all apps; 0: no limit.
    requests_per_s: int | None = None
    identity_keys: tuple[str, ...] = ()
    #: Names that are nobody's, in lower case.
    nobody: frozenset[str] = nobody.NAMES


@dataclass(frozen=True, slots=True)
class AppsSnapshot:
    """One read: all apps by id, the stored number of partitions, the reasons for which updates are dropped,
    by (app, record), and the deleted records, if they could be listed."""

    apps: Mapping[str, KnownApp]
    partitions: int
    dropping: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    deleted: DeletedList | None = None


class AppsCache:
    """The last result of `read`. Its thread starts at the first use, since threads do not survive a fork."""

    def __init__(self, read: Callable[[], AppsSnapshot], *, refresh_ms: int) -> None:
        self._read = read
        self._refresh_s = refresh_ms / 1000
        self._known: AppsSnapshot | None = None
        self._problem = NotKnownYet.__doc__ or ""
        self._first_read_ended = threading.Event()
        self._stop = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def known(self) -> AppsSnapshot:
        """The last result. Raises NotKnownYet before the first one, or if the topic was replaced."""
        if self._thread is None:
            self._start()
        known = self._known
        if known is None:
            self._first_read_ended.wait(FIRST_READ_S)
            known = self._known
        if known is None:
            raise NotKnownYet(self._problem)
        return known

    def close(self) -> None:
        """Stop the thread; the next use starts another."""
        thread, self._thread = self._thread, None
        self._stop.set()
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stop,), name="apps-cache", daemon=True
                )
                self._thread.start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._refresh()
            self._first_read_ended.set()
            stop.wait(self._refresh_s)

    def _refresh(self) -> None:
        try:
            self._known = self._read()
        except ReadFailed as error:
            self._changed(str(error))
        except TopicUnusable as error:
            self._known = None
            self._changed(str(error))
        else:
            metrics.WEB_APPS_READ_TIMESTAMP.set(time.time())
            self._changed("")

    def _changed(self, problem: str) -> None:
        """Logs the start and the end of a problem, instead of each failed read."""
        if problem and problem != self._problem:
            logs.get().warning("apps_not_read", reason=problem)
        elif self._problem and not problem:
            logs.get().info("apps_read")
        self._problem = problem
