"""The wire of a task as workers take it: of this release, of the one before and of the next."""

import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import pytest
from structlog.testing import CapturingLogger

from ingest.dispatch import CeleryDispatcher
from ingest.ports import Part, Task
from notify.domain.engine.stream import StreamRow
from notify.domain.engine.task import VERSION
from notify.domain.engine.window import Batch
from notify.domain.errors import UnknownTask
from notify.domain.records import task_rows as wire
from notify.domain.records.decide import Write
from notify.domain.records.patch import ADD, REMOVE, SET, Patch
from tests.fakes import MemoryDatabase, MemoryLanes
from workers import tasks
from workers.lanes import QUERIES

APP, RECORD = "00000000-0000-0000-0000-0000000000a0", "00000000-0000-0000-0000-0000000000b0"
ROW: Final = {"s": 1, "a": APP, "r": RECORD, "session_count": 1}


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> MemoryDatabase:
    """One stream with offset 0 planned; the tasks' session is on it."""
    database = MemoryDatabase()
    database.make_stream(StreamRow(1, "topic", 0, 1, 1, 11, planned=0, frontier=0))
    database.tables.streams[1] = database.tables.streams[1].at(frontier=0, planned=1)
    monkeypatch.setattr(tasks, "_lanes", lambda: MemoryLanes(database))
    return database


def _apply(row: dict[str, Any], **changed: Any) -> None:
    body = {"v": 1, "lane": 0, "attempt": 1, "segments": [[1, 0, 11, -1, 0]]}
    tasks.apply.run(**(body | {"rows": json.dumps([row]), "fields": sorted(row)} | changed))


def _isolate(row: dict[str, Any], **changed: Any) -> None:
    body = {"v": 1, "lane": 0, "attempt": 1, "segments": [[1, 0, 11, -1, 0]]}
    more = {"originals": [(0, row, "{}")], "dead_letters_max": 20}
    tasks.isolate.run(**(body | more | changed))


BOTH: Final = pytest.mark.parametrize("run", [_apply, _isolate])


@BOTH
@pytest.mark.parametrize("v", [VERSION, VERSION + 1])
def test_a_task_of_this_release_and_of_the_next_is_applied(
    database: MemoryDatabase, run: Any, v: int
) -> None:
    run(ROW, v=v, argument_of_the_next_release=1)
    assert database.tables.records[APP, RECORD]["session_count"] == 1


@BOTH
@pytest.mark.parametrize("v", [VERSION + 2, VERSION - 1, True, 1.0, "1", None])
def test_a_task_of_any_other_version_is_refused(
    database: MemoryDatabase, run: Any, v: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = CapturingLogger()
    monkeypatch.setattr("workers.tasks.logs.get", lambda: said)
    with pytest.raises(UnknownTask, match=r"v .*, this worker takes 1 to 2: upgrade the workers"):
        run(ROW, v=v)
    assert database.tables.records == {}
    ((level, (event,), fields),) = said.calls
    assert (level, event, fields["lane"]) == ("error", "task_refused", 0)


@BOTH
def test_a_field_that_sql_would_drop_is_refused(database: MemoryDatabase, run: Any) -> None:
    with pytest.raises(UnknownTask, match="rows have 'new', which this worker cannot apply"):
        run(ROW | {"new": 1})
    assert database.tables.records == {}


def test_rows_of_a_bridge_that_does_not_name_their_fields_are_looked_at(
    database: MemoryDatabase,
) -> None:
    with pytest.raises(UnknownTask, match="'new'"):
        _apply(ROW | {"new": 1}, fields=None)
    _apply(ROW, fields=None)
    assert database.tables.records[APP, RECORD]["session_count"] == 1


class _Sent:
    """Keeps the arguments of the last task."""

    def __init__(self) -> None:
        self.kwargs: dict[str, Any] = {}

    def producer_or_acquire(self) -> AbstractContextManager["_Sent"]:
        return nullcontext(self)

    def batch(self, *, max_size: int) -> AbstractContextManager[None]:
        return nullcontext()

    def send_task(self, name: str, *, kwargs: dict[str, Any], **options: object) -> None:
        self.kwargs = kwargs


def _dispatched(merged: Sequence[Write]) -> dict[str, Any]:
    sent = _Sent()
    batch = Batch(1, 0, -1, 0, 0, 1, merged=tuple(merged))
    dispatcher = CeleryDispatcher(sent, dead_letters_max=20)
    dispatcher.send([Task(0, [Part(0, 11, batch)], attempt=1)])
    return sent.kwargs


WRITES: Final = [
    Write(APP, RECORD, Patch(False, {"session_count": (ADD, 1)})),
    Write(APP, RECORD, Patch(True, {"identifier": (REMOVE, None), "tags.a": (SET, 1)})),
]


def test_a_task_names_the_fields_of_its_rows(database: MemoryDatabase) -> None:
    body = _dispatched(WRITES)
    assert body["fields"] == ["a", "ir", "r", "s", "session_count", "ts", "z"]
    tasks.apply.run(**body)
    assert database.tables.records[APP, RECORD]["tags.a"] == 1


def test_the_fields_are_the_columns_that_the_statement_reads() -> None:
    columns = re.search(r"AS rows \((.*?)\)\n", QUERIES["apply"], re.DOTALL)
    assert columns is not None
    assert {column.split()[0] for column in columns[1].split(",")} == wire.FIELDS
