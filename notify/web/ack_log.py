"""Writes one log line for each update that Kafka acked. `manage.py trail` follows updates from these lines.

Web accepts thousands of updates a second, so these lines are made from a fixed template and not by
structlog. They need no redaction, because they contain only UUIDs, hexadecimal digits and integers; any
other text is replaced by its hash.

A separate thread writes them, for two reasons. If requests wrote, each would have to get the interpreter
back from 23 other threads: that cost 10 % of web's throughput, the thread costs 4 to 6 %. And a blocked
standard output would block all requests. So the queue is limited: with more, lines are lost and counted.
"""

import hashlib
import json
import logging
import os
import re
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Final, NamedTuple

from django.conf import settings

from notify.domain.engine.lanes import is_uuid
from notify.domain.records.update import Update
from notify.kafka.producer import Acked
from notify.telemetry import metrics

EVENT: Final = "update_acked"
#: Seconds between two writes: the lines of this time are lost if the process is killed.
EVERY_S: Final = 0.05
#: How many lines may wait for standard output, at about 0.5 KB each.
WAITING_MAX: Final = 50_000
_STDOUT: Final = 1
_HEX: Final = re.compile(r"[0-9a-f]{32}")
#: Has the same spaces as json.dumps, so that one search finds lines of all processes. Integers are %d, so
#: that a text in their place raises an error.
_LINE: Final = (
    '{"event": "update_acked", "level": "info", "timestamp": "%s.%06dZ", "process": "web", "host": %s, '
    '"pid": %d, "trace_id": "%s", "app": "%s", "record": "%s", "partition": %d, "offset": %d, '
    '"message_id": "%s"}\n'
)

Write = Callable[[bytes], None]


class AckLine(NamedTuple):
    """The values of a line; its texts may contain anything."""

    at_ns: int
    trace_id: str
    app: str
    record: str
    place: Acked
    message_id: str


class AckLog:
    """Writes the lines of this process with `write`, in blocks of whole lines and at most PIPE_BUF bytes, so
    that the kernel does not mix them with lines of other processes."""

    def __init__(
        self, write: Write, *, every_s: float = EVERY_S, waiting_max: int = WAITING_MAX
    ) -> None:
        self._write = write
        self._every_s = every_s
        self._waiting_max = waiting_max
        self._waiting: deque[AckLine] = deque()
        self._writing = threading.Lock()
        self._starting = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def acked(self, trace_id: str, updates: Sequence[Update], places: Sequence[Acked]) -> None:
        """Queues a line for each update and its position; it is written within `every_s`. Never waits, and
        never raises because of the content."""
        if self._thread is None:
            self._start()
        if len(self._waiting) + len(updates) > self._waiting_max:
            metrics.WEB_LOG_LOST.inc(len(updates))
            return
        now = time.time_ns()
        self._waiting += [
            AckLine(now, trace_id, update.app, update.record, place, update.message_id)
            for update, place in zip(updates, places, strict=True)
        ]

    def flush(self) -> None:
        """Writes all waiting lines."""
        with self._writing:
            for lines in _together(map(line, self._taken())):
                self._write(lines)

    def close(self) -> None:
        """Writes all waiting lines and ends the thread, unless standard output is blocked."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def _taken(self) -> Iterator[AckLine]:
        try:
            while True:
                yield self._waiting.popleft()
        except IndexError:
            return

    def _start(self) -> None:
        """Starts the thread at the first line of the process, since threads do not survive a fork."""
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="ack-log", daemon=False)
                self._thread.start()

    def _run(self) -> None:
        """Runs until `close`, or until the process ends, which waits for this thread: Granian's processes do
        not call functions that are registered with atexit."""
        main = threading.main_thread()
        while not self._closing.wait(self._every_s) and main.is_alive():
            self.flush()
        self.flush()


def line(entry: AckLine) -> bytes:
    """The line of an entry, whatever its texts contain."""
    trace = entry.trace_id
    return (
        _LINE
        % (
            _second(entry.at_ns // 1_000_000_000),
            entry.at_ns // 1_000 % 1_000_000,
            _host(),
            os.getpid(),
            trace if _HEX.fullmatch(trace) else hashed(trace),
            _plain(entry.app),
            _plain(entry.record),
            entry.place.partition,
            entry.place.offset,
            _plain(entry.message_id),
        )
    ).encode()


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


@cache
def _host() -> str:
    return json.dumps(socket.gethostname())


def hashed(text: str) -> str:
    """The first 32 digits of the SHA-256 of a text. It replaces a text that could be anything, such as a
    person's name."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _plain(text: str) -> str:
    return text if is_uuid(text) else hashed(text)


def _together(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Groups whole lines into blocks that one call can write in one piece."""
    joined = b""
    for each in lines:
        if len(joined) + len(each) > select.PIPE_BUF:
            yield joined
            joined = b""
        joined += each
    if joined:
        yield joined


def to_stdout(lines: bytes) -> None:
    """Write them, in one call where the kernel takes them at once. A standard output that fails is
    counted: what Kafka has acked is accepted, with a line or without one."""
    try:
        while lines:
            lines = lines[os.write(_STDOUT, lines) :]
    except OSError:
        metrics.WEB_LOG_LOST.inc(lines.count(b"\n"))


def of_settings() -> AckLog | None:
    """The log to standard output; None if the settings switch it off."""
    level = logging.getLevelName(settings.NOTIFY_LOG_LEVEL)
    is_wanted = settings.NOTIFY_LOG_ACKS and level <= logging.INFO
    return AckLog(to_stdout) if is_wanted else None
