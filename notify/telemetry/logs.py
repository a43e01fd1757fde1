"""Structured logs: one JSON object a line, one schema for all three processes.

A line has only the fields in `FIELDS`; anything else is dropped before it is written, so that a body,
a patch or a secret can't get out by mistake. Lines of libraries come in the same form, their text
shortened, and kafka-python never below INFO, since its DEBUG lines hold message bodies.
"""

import json
import logging
import logging.config
import os
import socket
import sys
from contextlib import suppress
from typing import Any, Final, TextIO

import structlog
from django.conf import settings
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from notify.telemetry.redaction import redacted

#: What a line may have. app, record: whose update. trace_id: from the client's traceparent on.
FIELDS: Final = frozenset(
    {
        "event", "level", "timestamp", "process", "host", "pid", "logger", "app", "record", "partition",
        "lane", "offset", "position", "log_end", "prev", "last", "first", "next", "frontier", "planned",
        "rows", "messages", "policy", "attempt", "in_flight", "tries", "trace_id", "request_id",
        "message_id", "method", "route", "status", "seconds", "left_out", "reason", "error", "exception",
        "port", "outcome", "age_s", "kind", "channel",
    }
)  # fmt: skip
#: Characters of a text field, and of a library's line.
TEXT_MAX: Final = 500
#: Text fields that are ours alone: names and ids.
_PLAIN: Final = frozenset(
    {
        "level",
        "timestamp",
        "process",
        "host",
        "logger",
        "app",
        "record",
        "trace_id",
        "method",
        "route",
    }
)
#: Loggers whose DEBUG lines would hold bodies or secrets.
_NEVER_DEBUG: Final = ("celery", "urllib3", "django.db.backends", "psycopg")
#: And those that say too much at INFO: of Celery, two lines for each task.
_WARNINGS_ALONE: Final = ("kafka", "kombu", "celery.worker.strategy", "celery.app.trace")


def configure(process: str) -> None:
    """Send this process's lines, and those of libraries, to standard output as JSON.

    Our own lines do not go through the standard library's logging, because that takes 150 µs per line and
    this 30 (docs/performance.md), and a worker writes a line for each lane of a task.
    """
    level = settings.NOTIFY_LOG_LEVEL
    # Without a standard output, lines of libraries go to standard error too.
    lines = _Lines(sys.stdout or sys.stderr)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[Processor] = [
        structlog.processors.format_exc_info,
        _Stamp(process),
        only_known_fields,
        without_secrets,
        structlog.processors.JSONRenderer(_as_json),
    ]
    structlog.configure(
        processors=[*shared, *rendered],
        logger_factory=lambda *_: lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    global _logger  # noqa: PLW0603 # one for the process, so that a line does not make its own
    _logger = structlog.get_logger().bind()
    quiet = max(logging.getLevelName(level), logging.INFO)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": [*shared, structlog.stdlib.add_logger_name],
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        *rendered,
                    ],
                }
            },
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "formatter": "json",
                    "stream": "ext://sys.stdout",
                }
            },
            "root": {"handlers": ["stdout"], "level": level},
            "loggers": {
                **{name: {"level": quiet} for name in _NEVER_DEBUG},
                **{name: {"level": max(quiet, logging.WARNING)} for name in _WARNINGS_ALONE},
            },
        }
    )


_logger: FilteringBoundLogger | None = None


def get() -> FilteringBoundLogger:
    """The logger; bind what is known (app, record, partition, lane, offset, trace_id)."""
    if _logger is not None:
        return _logger
    unconfigured: FilteringBoundLogger = structlog.get_logger()
    return unconfigured


class _Lines:
    """Writes lines. A full disk or a closed pipe does not stop the caller.

    It has no lock, which a child process of Celery might inherit locked. A line is one call of `write`, so
    lines do not mix.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


def _as_json(event: EventDict, **_: object) -> str:
    return _ENCODER.encode(event)


#: `json.dumps` would make a new encoder for each line.
_ENCODER: Final = json.JSONEncoder(default=repr)


class _Stamp:
    """Adds to each line which process wrote it."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._host = socket.gethostname()

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        event["process"] = self._process
        event["host"] = self._host
        event["pid"] = os.getpid()  # a Celery worker forks after it was configured
        return event


def only_known_fields(logger: WrappedLogger, name: str, event: EventDict) -> dict[str, Any]:
    """The line with the fields of the schema, their texts shortened."""
    return {
        key: value[:TEXT_MAX] if isinstance(value, str) and key != "exception" else value
        for key, value in event.items()
        if key in FIELDS and value is not None
    }


def without_secrets(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """The line with its texts redacted, an exception's too."""
    return {
        key: redacted(value) if isinstance(value, str) and key not in _PLAIN else value
        for key, value in event.items()
    }
