"""The log lines that tell of one update's way, read from whatever text a collector made of them."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

ACKED: Final = "update_acked"
PLANNED: Final = "chunk_planned"
#: What begins the name of every event of a batch; the rest is what became of it.
BATCH: Final = "batch_"


@dataclass(frozen=True, slots=True)
class Writer:
    """The process that wrote a line, as far as the line says."""

    process: str
    host: str | None = None
    pid: int | None = None

    def __str__(self) -> str:
        where = "" if self.host is None else f" on {self.host}"
        return f"{self.process}{where}" + ("" if self.pid is None else f", pid {self.pid}")


@dataclass(frozen=True, slots=True)
class Accepted:
    """Kafka acked an update."""

    at: datetime
    by: Writer
    trace_id: str
    app: str
    record: str
    partition: int
    offset: int
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChunkPlanned:
    """A bridge decided offsets first..next-1, and PostgreSQL has it."""

    at: datetime
    by: Writer
    partition: int
    first: int
    next: int
    messages: int | None = None
    policy: int | None = None

    def covers(self, offset: int) -> bool:
        """Whether the offset is one of the chunk's."""
        return self.first <= offset < self.next


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """Something that happened to a lane's batch (prev, last]: `what` is `sent`, by the bridge, or the
    outcome that a worker tells."""

    at: datetime
    by: Writer
    what: str
    partition: int
    lane: int
    prev: int
    last: int
    attempt: int | None = None
    rows: int | None = None
    seconds: float | None = None
    error: str | None = None

    def covers(self, offset: int) -> bool:
        """Whether the batch holds the lane's writes of the offset."""
        return self.prev < offset <= self.last


Step = ChunkPlanned | BatchEvent
Line = Accepted | Step


def read(text: str) -> Line | None:
    """The line, None for one that says nothing of an update's way.

    What stands before the first brace is a collector's (`docker compose logs`, CRI), and so is an
    object around the line (Docker's json-file). A line that is cut off or not ours is no error.
    """
    fields = _object(text)
    if fields is not None and isinstance(fields.get("log"), str) and "event" not in fields:
        fields = _object(fields["log"])
    if fields is None:
        return None
    try:
        return _line(fields)
    except (KeyError, TypeError, ValueError):
        return None


def _object(text: str) -> dict[str, Any] | None:
    start = text.find("{")
    if start < 0:
        return None
    try:
        fields = json.loads(text[start:])
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _line(fields: dict[str, Any]) -> Line | None:
    """Raises KeyError, TypeError or ValueError where a field is missing or is something else."""
    event = fields["event"]
    if event == ACKED:
        return Accepted(
            _at(fields),
            _writer(fields),
            _text(fields, "trace_id"),
            _text(fields, "app"),
            _text(fields, "record"),
            _integer(fields, "partition"),
            _integer(fields, "offset"),
            None if fields.get("message_id") is None else _text(fields, "message_id"),
        )
    if event == PLANNED:
        return ChunkPlanned(
            _at(fields),
            _writer(fields),
            _integer(fields, "partition"),
            _integer(fields, "first"),
            _integer(fields, "next"),
            _maybe(fields, "messages"),
            _maybe(fields, "policy"),
        )
    if isinstance(event, str) and event.startswith(BATCH):
        seconds = fields.get("seconds")
        return BatchEvent(
            _at(fields),
            _writer(fields),
            event.removeprefix(BATCH),
            _integer(fields, "partition"),
            _integer(fields, "lane"),
            _integer(fields, "prev"),
            _integer(fields, "last"),
            _maybe(fields, "attempt"),
            _maybe(fields, "rows"),
            float(seconds) if isinstance(seconds, int | float) else None,
            None if fields.get("error") is None else _text(fields, "error"),
        )
    return None


def _at(fields: dict[str, Any]) -> datetime:
    at = datetime.fromisoformat(_text(fields, "timestamp"))
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _writer(fields: dict[str, Any]) -> Writer:
    host = fields.get("host")
    return Writer(
        str(fields.get("process", "a process")),
        host if isinstance(host, str) else None,
        _maybe(fields, "pid"),
    )


def _text(fields: dict[str, Any], name: str) -> str:
    found = fields[name]
    if not isinstance(found, str):
        raise TypeError(name)
    return found


def _integer(fields: dict[str, Any], name: str) -> int:
    found = fields[name]
    if type(found) is not int:
        raise TypeError(name)
    return found


def _maybe(fields: dict[str, Any], name: str) -> int | None:
    found = fields.get(name)
    return found if type(found) is int else None
