"""The worker's SQL does what the fake does, and no condition of it can go unnoticed."""

import threading
from collections.abc import Mapping, Set

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from notify.databases import postgres as sessions
from notify.domain.engine.task import Segment
from notify.domain.records import task_rows as wire
from notify.domain.records.decide import Write
from notify.domain.records.patch import ADD, SET, Patch
from tests.contract.lanes_machine import TOPIC, LanesMachine
from tests.waiting import wait_for
from workers.apply import StreamLane
from workers.lanes import QUERIES, PostgresLanes

pytestmark = pytest.mark.django_db(transaction=True)
#: Hypothesis draws constants of all modules that the process has imported, so how soon it finds a
#: difference depends on which tests were collected. It stops at the first.
EXAMPLES_MAX = 2_000


def _run(
    queries: Mapping[str, str],
    *,
    wants: Set[str] = frozenset(QUERIES),
    examples: int,
    phases: tuple[Phase, ...],
) -> None:
    with sessions.connect(name="test", lock_timeout_ms=1_000) as sql:
        machine = type("Machine", (LanesMachine,), {"sql": sql, "queries": queries, "wants": wants})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=25,
                deadline=None,
                derandomize=True,
                database=None,
                phases=phases,
            ),
        )


def test_postgresql_does_what_the_fake_does() -> None:
    _run(QUERIES, examples=100, phases=(Phase.generate, Phase.shrink))


def test_a_task_of_several_lanes_waits_for_one_and_applies_each_once() -> None:
    """A copy of one of its batches is applied while it waits; the statement sees the others as they are."""
    app = "00000000-0000-0000-0000-0000000000aa"
    records = [f"00000000-0000-0000-0000-00000000000{lane}" for lane in range(3)]
    lasts = [3, 4, 5]
    segments = [Segment(1, 0, 7, -1, last, lane) for lane, last in enumerate(lasts)]
    one = Patch(False, {"session_count": (ADD, 1), "updated_at": (SET, 1), "created_at": (SET, 1)})
    rows = [wire.row(1, Write(app, each, one), lane) for lane, each in enumerate(records)]
    late = PostgresLanes(lambda: sessions.connect(name="late", lock_timeout_ms=600_000))
    applied: list[set[StreamLane]] = []
    thread = threading.Thread(
        target=lambda: applied.append(late.apply(segments, wire.as_text(rows)))
    )
    with sessions.connect(name="test", lock_timeout_ms=1_000) as sql:
        for table in ("stream", "lane", "record"):
            sql.execute(f"DELETE FROM {table}")
        sql.execute(
            "INSERT INTO stream (id, topic_id, partition, lanes, lanes_wanted, token, planned, frontier)"
            " VALUES (1, %s, 0, 3, 3, 7, 9, 0)",
            (TOPIC,),
        )
        sql.execute(
            "INSERT INTO lane (stream, lane, last) SELECT 1, n, -1 FROM generate_series(0, 2) n"
        )
        with sql.transaction():
            again = PostgresLanes(lambda: sql)
            assert again.apply(segments[1:2], wire.as_text(rows[1:2])) == {(1, 1)}
            thread.start()
            with sessions.connect(name="looks", lock_timeout_ms=1_000) as looking:
                wait_for(lambda: looking.execute(_WAITS).fetchone() is not None)
        thread.join()
        late.close()
        assert applied == [{(1, 0), (1, 2)}]
        assert sql.execute("SELECT last FROM lane ORDER BY lane").fetchall() == [(3,), (4,), (5,)]
        counts = sql.execute("SELECT session_count FROM record ORDER BY id").fetchall()
        assert counts == [(1,), (1,), (1,)]


_WAITS = (
    "SELECT 1 FROM pg_stat_activity WHERE application_name = 'late' AND wait_event_type = 'Lock'"
)
_ROWS_OF = "WHERE (rows.s, COALESCE(rows.l, (%(lanes)s::int[])[1])) IN (SELECT stream, lane FROM f)"
_GUARDED = [
    ("AND lane.last = %(prev)s", ""),
    ("AND stream.token = %(token)s", ""),
    ("AND stream.planned > %(last)s", ""),
    ("AND lane.lane = %(lane)s", ""),
    ("AND lane.stream = stream.id", ""),
    ("stream.id = %(stream)s", "true"),
]
_CONDITIONS = [
    ("apply", "AND lane.last = segment.prev", ""),
    ("apply", "AND stream.token = segment.token", ""),
    ("apply", "AND stream.planned > segment.last", ""),
    ("apply", "AND lane.lane = segment.lane", ""),
    ("apply", "lane.stream = segment.stream", "true"),
    ("apply", "ON stream.id = segment.stream", "ON true"),
    ("apply", _ROWS_OF, ""),
    ("apply", _ROWS_OF, "WHERE rows.s IN (SELECT stream FROM f)"),
    ("apply", _ROWS_OF, _ROWS_OF.replace("rows.l", "NULL::int")),
    ("apply", _ROWS_OF, _ROWS_OF.replace("COALESCE(rows.l, (%(lanes)s::int[])[1])", "rows.l")),
    ("apply", "lane.tries < 0 AND segment.last < lane.isolate", "false"),
    ("apply", "THEN -1 ELSE 0 END", "THEN -1 ELSE lane.tries END"),
    ("apply", "AND w.z IS NOT TRUE", ""),
    ("apply", "ON old.app = w.a AND", "ON"),
    ("apply", "AND old.id = w.r", ""),
    ("apply", "WHEN w.ir THEN", "WHEN false THEN"),
    ("apply", "COALESCE(old.kind, w.kind),", "COALESCE(w.kind, old.kind),"),
    ("apply", "WHEN w.ip AND", "WHEN"),
    ("apply", "AND COALESCE(old.kind, w.kind) IS DISTINCT FROM 'push'", ""),
    ("apply", "IS DISTINCT FROM 'push'", "<> 'push'"),
    ("apply", "CASE WHEN w.iu IS NULL THEN old.identifier ELSE w.iu[1] END", "old.identifier"),
    ("apply", "CASE WHEN w.iu IS NULL THEN old.identifier ELSE w.iu[1] END", "w.iu[1]"),
    ("try", "RETURNING CASE WHEN lane.tries < 0", "RETURNING CASE WHEN false"),
    ("survived", "THEN -1 ELSE 0 END", "THEN 0 ELSE 0 END"),
    ("isolate", "GREATEST(lane.isolate, %(last)s)", "%(last)s"),
    ("try", "SET tries = CASE WHEN lane.tries < 0", "SET tries = CASE WHEN false"),
    ("halt", "id = %(stream)s AND", ""),
    ("halt", "AND token = %(token)s", ""),
    ("halt", "AND halted IS NULL", ""),
    ("dead_letter", "stream.id = dead_letter.stream AND", ""),
    ("dead_letter", "WHERE stream.id = %(stream)s", ""),
    ("dead_letter", 'AND dead_letter."offset" >= stream.frontier', "AND false"),
    *((name, *condition) for name in ("try", "survived", "isolate") for condition in _GUARDED),
]


@pytest.mark.parametrize(("statement", "condition", "instead"), _CONDITIONS)
def test_a_statement_without_a_condition_is_found(
    statement: str, condition: str, instead: str
) -> None:
    assert QUERIES[statement].count(condition) == 1
    mutant = {**QUERIES, statement: QUERIES[statement].replace(condition, instead)}
    with pytest.raises(Exception) as found:  # noqa: PT011 - any difference will do
        _run(mutant, wants={statement}, examples=EXAMPLES_MAX, phases=(Phase.generate,))
    assert "Unsatisfiable" not in type(found.value).__name__
