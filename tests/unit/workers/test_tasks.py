"""The wire of a task as workers take it: of this release, of the one before and of the next."""

import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import pytest
from structlog.testing import CapturingLogger

from ingest import task_body
from ingest.dispatch import CeleryDispatcher
from ingest.ports import Part, Task
from notify.domain.engine.stream import StreamRow
from notify.domain.engine.task import VERSION, MergedTask, check_fields, decode, encode
from notify.domain.engine.window import Batch, Original
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
def test_an_argument_that_is_no_text_is_refused(database: MemoryDatabase, run: Any) -> None:
    with pytest.raises(UnknownTask, match="not one that this worker knows"):
        run(ROW, **{"\ud800": 1})
    assert database.tables.records == {}


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


def _parts(*lanes: int) -> list[Part]:
    return [Part(0, 11, Batch(1, lane, -1, 0, 0, 1, merged=tuple(WRITES[:1]))) for lane in lanes]


def test_the_segments_of_one_lane_are_as_the_release_before_knows_them() -> None:
    body = encode(task_body.of(Task(3, _parts(3), attempt=1), dead_letters_max=1))
    assert body["segments"] == [[1, 0, 11, -1, 0]]
    assert "l" not in body["fields"]
    assert [segment.lane for segment in decode(body, MergedTask).segments] == [3]


def test_streams_that_share_one_lane_do_not_name_it() -> None:
    """Or a worker of the release before would refuse the tasks that it gets under load."""
    parts = [Part(n, 11, Batch(n, 3, -1, 0, 0, 1, merged=tuple(WRITES[:1]))) for n in (1, 2)]
    body = encode(task_body.of(Task(3, parts, attempt=1), dead_letters_max=1))
    assert body["segments"] == [[1, 1, 11, -1, 0], [2, 2, 11, -1, 0]]
    assert "l" not in body["fields"]
    described = task_body.describe(Task(3, parts, attempt=1))
    assert described == "lane 03 p1(-1..0] p2(-1..0] 2 rows"


def test_the_outcome_of_each_lane_is_logged_as_its_own(
    database: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`manage.py trail` looks for the line of a record's lane."""
    said = CapturingLogger()
    monkeypatch.setattr("workers.tasks.logs.get", lambda: said)
    tasks.apply.run(**encode(task_body.of(Task(3, _parts(3, 0), attempt=1), dead_letters_max=1)))
    logged = [(call.args[0], call.kwargs["lane"]) for call in said.calls]
    assert logged == [("batch_refused", 3), ("batch_applied", 0)]


def test_a_worker_that_does_not_know_the_lane_of_a_row_refuses_a_task_of_several() -> None:
    """It would take all for one lane. It refuses rows with a field that it does not know."""
    body = encode(task_body.of(Task(3, _parts(3, 0), attempt=1), dead_letters_max=1))
    assert body["segments"] == [[1, 0, 11, -1, 0, 3], [1, 0, 11, -1, 0, 0]]
    assert [segment.lane for segment in decode(body, MergedTask).segments] == [3, 0]
    assert [row["l"] for row in json.loads(body["rows"])] == [3, 0]
    with pytest.raises(UnknownTask, match="'l'"):
        check_fields(body["fields"], wire.FIELDS - {"l"})


def test_a_description_names_the_offsets_of_one_lane_and_the_lanes_of_several() -> None:
    assert task_body.describe(Task(3, _parts(3), attempt=1)) == "lane 03 p0(-1..0] 1 rows"
    assert task_body.describe(Task(3, _parts(3, 0), attempt=2)) == "lanes 00,03 p0 2 rows send 2"
    alone = Batch(1, 3, -1, 0, 0, 1, isolated=(Original(0, WRITES[0], b"{}"),))
    described = task_body.describe(Task(3, [Part(0, 11, alone)], attempt=1))
    assert described == "lane 03 p0(-1..0] 1 rows isolated"


def test_the_fields_are_the_columns_that_the_statement_reads() -> None:
    columns = re.search(r"AS rows \((.*?)\)\n", QUERIES["apply"], re.DOTALL)
    assert columns is not None
    assert {column.split()[0] for column in columns[1].split(",")} == wire.FIELDS
