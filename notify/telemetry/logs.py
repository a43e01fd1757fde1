"""Structured logs: one JSON object a line, one schema for all three processes.

A line has only the fields in `FIELDS`; anything else is dropped before it is written, so that a body,
a patch or a secret can't get out by mistake. Lines of libraries come in the same form, their text
shortened, and kafka-python never below INFO, since its DEBUG lines hold message bodies.
"""

import logging
import logging.config
import os
import socket
from typing import Any, Final

import structlog
from django.conf import settings
from structlog.typing import EventDict, Processor, WrappedLogger

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
_NEVER_DEBUG: Final = ("kafka", "kombu", "celery", "urllib3", "django.db.backends", "psycopg")


def configure(process: str) -> None:
    """Send this process's lines, and those of libraries, to standard output as JSON."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    level = settings.NOTIFY_LOG_LEVEL.upper()
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
                        structlog.processors.format_exc_info,
                        _Stamp(process),
                        only_known_fields,
                        without_secrets,
                        structlog.processors.JSONRenderer(),
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
            "loggers": {name: {"level": quiet} for name in _NEVER_DEBUG},
        }
    )
    for name in ("kafka", "kombu"):
        logging.getLogger(name).setLevel(max(quiet, logging.WARNING))


def get() -> structlog.stdlib.BoundLogger:
    """The logger; bind what is known (app, record, partition, lane, offset, trace_id)."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("notify")
    return logger


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
