"""The worker's `Lanes` on PostgreSQL, with one session for each process, opened again after a failure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from notify.databases import queries
from notify.domain.engine.task import IsolatedRow, Segment
from workers.apply import BadData, PostgresUnavailable, StreamLane

QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "queries.sql")
#: SQLSTATE classes that blame the data: data exception, integrity violation, limit exceeded.
_DATA_ERRORS: Final = ("22", "23", "54")


class PostgresLanes:
    """The guarded statements on one connection, which `connect` opens and which is never shared."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        *,
        queries: Mapping[str, str] = QUERIES,
    ) -> None:
        self._connect = connect
        self._queries = queries
        self._connection: psycopg.Connection[Any] | None = None

    def apply(self, segments: Sequence[Segment], rows: str) -> set[StreamLane]:
        parameters = {
            "lanes": [segment.lane for segment in segments],
            "streams": [segment.stream for segment in segments],
            "tokens": [segment.token for segment in segments],
            "prevs": [segment.prev for segment in segments],
            "lasts": [segment.last for segment in segments],
            "rows": rows,
        }
        return {(stream, lane) for stream, lane in self._execute("apply", parameters)}

    def count_try(self, segment: Segment) -> int | None:
        for (tries,) in self._execute("try", _guards(segment)):
            return int(tries)
        return None

    def survived(self, segment: Segment) -> None:
        self._execute("survived", _guards(segment))

    def isolate(self, segment: Segment, *, tries: int) -> None:
        self._execute("isolate", {**_guards(segment), "tries": tries})

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._errors(), self._open().transaction():
            yield

    def dead_letter(self, segment: Segment, original: IsolatedRow, error: str) -> int:
        parameters = {
            "stream": segment.stream,
            "offset": original.offset,
            "app": original.row["a"],
            "record": original.row["r"],
            "error": error,
            "message": original.message.encode(),
        }
        ((count,),) = self._execute("dead_letter", parameters)
        return int(count)

    def halt(self, segment: Segment, reason: str) -> None:
        parameters = {"stream": segment.stream, "token": segment.token, "reason": reason}
        self._execute("halt", parameters)

    def close(self) -> None:
        """Closes the session; the next statement opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self._errors():
            cursor = self._open().execute(self._queries[name], parameters)
            return cursor.fetchall() if cursor.description else []

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            state = error.sqlstate or ""
            if state[:2] in _DATA_ERRORS:
                raise BadData(_kind(error)) from error
            raise PostgresUnavailable(_kind(error)) from error


def _guards(segment: Segment) -> dict[str, int]:
    return {
        "lane": segment.lane,
        "stream": segment.stream,
        "token": segment.token,
        "prev": segment.prev,
        "last": segment.last,
    }


def _kind(error: psycopg.Error) -> str:
    """The names of what went wrong, without PostgreSQL's text, which may quote the data."""
    diag = error.diag
    named = (error.sqlstate, type(error).__name__, diag.constraint_name, diag.column_name)
    return " ".join(filter(None, named))
