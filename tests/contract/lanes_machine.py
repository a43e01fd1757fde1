"""The worker's guarded statements, on PostgreSQL and on the in-memory fake side by side.

Hypothesis draws sequences of statements, right ones and near misses (a prev one off, an old token, an
end that is not planned); after each, outcome and tables must be the same on both.
"""

import itertools
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from notify.domain.engine.stream import LaneRow, StreamRow
from notify.domain.engine.task import IsolatedRow, Segment
from notify.domain.records import task_rows as wire
from notify.domain.records.decide import Write
from notify.domain.records.patch import ADD, COUNTERS, DEFAULT, PUSH_IDENTIFIER, REMOVE, SET, Patch
from tests.fakes import BIGINT_MAX, MemoryDatabase, MemoryLanes, State
from workers.apply import BadData, StreamLane, apply_isolated
from workers.lanes import QUERIES, PostgresLanes

APPS = ("00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-0000000000ab")
RECORDS = [f"00000000-0000-0000-0000-00000000000{n}" for n in range(3)]
STREAMS, LANES, TOKENS = (1, 2), 2, (7, 8)
TOPIC = "00000000-0000-0000-0000-0000000000bb"
AT = 1_700_000_000_000

_tag_ops = st.one_of(
    st.tuples(st.just(SET), st.sampled_from(["x", True, 3, 2.5, "é"])),
    st.just((REMOVE, None)),
    st.tuples(st.just(DEFAULT), st.just("d")),
)
_ops = st.fixed_dictionaries(
    {
        "updated_at": st.tuples(st.just(SET), st.integers(AT, AT + 5)),
        "created_at": st.just((DEFAULT, AT)),
    },
    optional={
        "tags.a": _tag_ops,
        "properties.p": _tag_ops,
        "identifier": st.sampled_from([(SET, "i"), (REMOVE, None)]),
        "kind": st.sampled_from([(DEFAULT, "push"), (DEFAULT, "email")]),
        PUSH_IDENTIFIER: st.sampled_from([(SET, "t"), (REMOVE, None)]),
        "deleted": st.sampled_from([(SET, True), (SET, False)]),
        **dict.fromkeys(COUNTERS, st.just((ADD, 1))),
        "session_count": st.sampled_from([(ADD, 1), (ADD, 5), (ADD, BIGINT_MAX + 1)]),
    },
)
_writes = st.builds(
    lambda app, record, reset, ops: Write(app, record, Patch(reset, ops)),
    st.sampled_from([APPS[0], *APPS]),
    st.sampled_from(RECORDS),
    st.booleans(),
    _ops,
)
_tokens = st.sampled_from([7, 7, 7, 8])
_near = st.sampled_from([0, 0, 0, 0, -1, 1])


def _apply(lanes: Any, *, segment: Segment, rows: str) -> set[StreamLane]:
    applied: set[StreamLane] = lanes.apply([segment], rows)
    return applied


class LanesMachine(RuleBasedStateMachine):
    """Subclasses set the session to use, and the statements."""

    sql: psycopg.Connection[Any]
    queries: Mapping[str, str]
    wants: Set[str] = frozenset(QUERIES)

    @initialize()
    def start(self) -> None:
        self.postgres = PostgresLanes(lambda: self.sql, queries=self.queries)
        self.database = MemoryDatabase()
        self.memory = MemoryLanes(self.database)
        for table in ("stream", "lane", "record", "dead_letter"):
            self.sql.execute(f"DELETE FROM {table}")
        for stream in STREAMS:
            self.database.make_stream(StreamRow(stream, TOPIC, stream, LANES, LANES, 7, 0, 0))
            self.sql.execute(
                "INSERT INTO stream (id, topic_id, partition, lanes, lanes_wanted, token, planned, frontier)"
                " VALUES (%s, %s, %s, %s, %s, 7, 0, 0)",
                (stream, TOPIC, stream, LANES, LANES),
            )
            for lane in range(LANES):
                self.sql.execute(
                    "INSERT INTO lane (stream, lane, last) VALUES (%s, %s, -1)", (stream, lane)
                )

    @precondition(lambda self: "apply" in self.wants)
    @rule(stream=st.sampled_from(STREAMS))
    def take_identifier_away(self, stream: int) -> None:
        """Of one of two records that have the same id in two apps: chance would rarely draw that."""
        times = {"created_at": (DEFAULT, AT), "updated_at": (SET, AT)}
        named = Patch(False, {**times, "identifier": (SET, "i")})
        nameless = Patch(False, {**times, "identifier": (REMOVE, None)})
        self._write_one_by_one(
            stream,
            [Write(app, RECORDS[0], named) for app in APPS],
            [Write(APPS[0], RECORDS[0], nameless)],
        )

    @precondition(lambda self: "apply" in self.wants)
    @rule(stream=st.sampled_from(STREAMS))
    def send_push_tokens_to_an_address(self, stream: int) -> None:
        """Alone, and merged behind an identifier for any kind: chance would rarely draw that too."""
        times = {"created_at": (DEFAULT, AT), "updated_at": (SET, AT)}
        token = {"kind": (DEFAULT, "push"), PUSH_IDENTIFIER: (SET, "t")}
        for ops in (token, {"identifier": (SET, "j"), **token}):
            address = {"kind": (DEFAULT, "email"), "identifier": (SET, "i")}
            self._write_one_by_one(
                stream,
                [Write(APPS[0], RECORDS[0], Patch(True, {**times, **address}))],
                [Write(APPS[0], RECORDS[0], Patch(False, {**times, **ops}))],
            )

    def _write_one_by_one(self, stream: int, *batches: list[Write]) -> None:
        for writes in batches:
            row = self.database.tables.streams[stream]
            segment = self._segment(stream, 0, row.token, 0, 1)
            planned = max(row.planned, segment.last + 1)
            self._move(stream, replace(row, planned=planned, halted=None))
            rows = wire.encode((stream, write) for write in writes)
            self._same(partial(_apply, segment=segment, rows=rows))
            self.tables_are_the_same()

    @rule(stream=st.sampled_from(STREAMS), by=st.integers(1, 6), frontier=st.integers(0, 3))
    def plan(self, stream: int, by: int, frontier: int) -> None:
        row = self.database.tables.streams[stream]
        self._move(stream, replace(row, planned=row.planned + by, frontier=frontier, halted=None))

    @rule(stream=st.sampled_from(STREAMS), token=st.sampled_from(TOKENS))
    def load(self, stream: int, token: int) -> None:
        self._move(stream, replace(self.database.tables.streams[stream], token=token))

    def _move(self, stream: int, row: StreamRow) -> None:
        self.database.tables.streams[stream] = row
        self.sql.execute(
            "UPDATE stream SET planned = %s, token = %s, frontier = %s, halted = %s WHERE id = %s",
            (row.planned, row.token, row.frontier, row.halted, stream),
        )

    def _segment(self, stream: int, lane: int, token: int, prev: int, length: int) -> Segment:
        at = self.database.tables.lanes[stream, lane].last
        return Segment(stream, stream, token, at + prev, at + prev + length, lane)

    @precondition(lambda self: "apply" in self.wants)
    @rule(
        places=st.lists(
            st.tuples(st.sampled_from(STREAMS), st.integers(0, LANES - 1), _near),
            min_size=1,
            max_size=4,
            unique_by=lambda place: place[:2],
        ),
        token=_tokens,
        length=st.integers(1, 4),
        writes=st.lists(_writes, max_size=3, unique_by=lambda write: (write.app, write.record)),
    )
    def apply(
        self,
        places: list[tuple[int, int, int]],
        token: int,
        length: int,
        writes: list[Write],
    ) -> None:
        """Of lanes and streams that are next or not; rows name their lane if there are several."""
        segments = [
            self._segment(stream, lane, token, prev, length) for stream, lane, prev in places
        ]
        is_shared = len({lane for _, lane, _ in places}) > 1
        rows = [
            wire.row(stream, write, lane if is_shared else None)
            for (stream, lane, _), write in zip(itertools.cycle(places), writes, strict=False)
        ]
        self._same(lambda lanes: lanes.apply(segments, wire.as_text(rows)))

    @rule(
        stream=st.sampled_from(STREAMS),
        lane=st.integers(0, LANES - 1),
        tries=st.integers(-4, 3),
        isolate=st.integers(-1, 9),
    )
    def stand(self, stream: int, lane: int, tries: int, isolate: int) -> None:
        row = self.database.tables.lanes[stream, lane]
        self.database.tables.lanes[stream, lane] = replace(row, tries=tries, isolate=isolate)
        self.sql.execute(
            "UPDATE lane SET tries = %s, isolate = %s WHERE stream = %s AND lane = %s",
            (tries, isolate, stream, lane),
        )

    @precondition(lambda self: self.wants & {"try", "survived", "isolate"})
    @rule(
        pick=st.integers(0, 5),
        stream=st.sampled_from(STREAMS),
        lane=st.integers(0, LANES - 1),
        token=_tokens,
        prev=_near,
        length=st.integers(1, 4),
    )
    def note(self, pick: int, stream: int, lane: int, token: int, prev: int, length: int) -> None:
        segment = self._segment(stream, lane, token, prev, length)
        acts: dict[str, Callable[[Any], Any]] = {
            "try": lambda lanes: lanes.count_try(segment),
            "survived": lambda lanes: lanes.survived(segment),
            "isolate": lambda lanes: lanes.isolate(segment, tries=0),
        }
        names = sorted(self.wants & acts.keys())
        self._same(acts[names[pick % len(names)]])

    @precondition(lambda self: self.wants & {"dead_letter", "halt"})
    @rule(
        stream=st.sampled_from(STREAMS),
        lane=st.integers(0, LANES - 1),
        token=_tokens,
        prev=_near,
        attempt=st.integers(1, 4),
        writes=st.lists(_writes, min_size=1, max_size=3),
        most=st.integers(0, 2),
    )
    def isolated(
        self,
        stream: int,
        lane: int,
        token: int,
        prev: int,
        attempt: int,
        writes: list[Write],
        most: int,
    ) -> None:
        segment = self._segment(stream, lane, token, prev, len(writes))
        originals = [
            IsolatedRow(segment.prev + 1 + place, wire.row(stream, write), "{}")
            for place, write in enumerate(writes)
        ]
        self._same(
            lambda lanes: apply_isolated(
                lanes, segment, originals=originals, attempt=attempt, dead_letters_max=most
            )
        )

    @precondition(lambda self: "halt" in self.wants)
    @rule(stream=st.sampled_from(STREAMS), token=_tokens, reason=st.sampled_from(["one", "other"]))
    def halt(self, stream: int, token: int, reason: str) -> None:
        self._same(lambda lanes: lanes.halt(Segment(stream, stream, token, -1, 0, lane=0), reason))

    @precondition(lambda self: "dead_letter" in self.wants)
    @rule(stream=st.sampled_from(STREAMS), offset=st.integers(0, 9), write=_writes)
    def dead(self, stream: int, offset: int, write: Write) -> None:
        segment = self._segment(stream, 0, TOKENS[0], 0, 1)
        original = IsolatedRow(offset, wire.row(stream, write), "{}")
        self._same(lambda lanes: lanes.dead_letter(segment, original, "22003: too large"))

    def _same(self, act: Callable[[Any], Any]) -> None:
        assert self._outcome(act, self.memory) == self._outcome(act, self.postgres)

    @staticmethod
    def _outcome(act: Callable[[Any], Any], lanes: Any) -> Any:
        try:
            return act(lanes)
        except BadData:
            return "bad data"

    @invariant()
    def tables_are_the_same(self) -> None:
        tables = self.database.tables
        lanes = {
            (stream, lane): LaneRow(*rest)
            for stream, lane, *rest in self.sql.execute(
                "SELECT stream, lane, last, isolate, tries FROM lane"
            )
        }
        assert lanes == tables.lanes
        assert _records(self.sql) == {key: _visible(state) for key, state in tables.records.items()}
        dead = self.sql.execute('SELECT stream, "offset", record::text FROM dead_letter').fetchall()
        assert sorted(dead) == sorted(
            (stream, offset, record) for stream, offset, _, record in tables.dead
        )
        halted = dict(self.sql.execute("SELECT id, halted FROM stream").fetchall())
        assert halted == {n: row.halted for n, row in tables.streams.items()}


def _visible(state: State) -> State:
    """The state without what a row shows by default."""
    return {
        key: value
        for key, value in state.items()
        if not (key in COUNTERS and value == 0) and not (key == "deleted" and value is False)
    }


def _records(sql: psycopg.Connection[Any]) -> dict[tuple[str, str], State]:
    found: dict[tuple[str, str], State] = {}
    columns = ", ".join(
        (
            "app::text, id::text, kind, identifier, tags, properties, deleted",
            "(extract(epoch FROM created_at) * 1000)::bigint",
            "(extract(epoch FROM updated_at) * 1000)::bigint",
            *COUNTERS,
        )
    )
    for row in sql.execute(f"SELECT {columns} FROM record"):
        state: dict[str, Any] = dict(
            zip(("kind", "identifier"), row[2:4], strict=True),
            deleted=row[6],
            created_at=row[7],
            updated_at=row[8],
        )
        state |= zip(COUNTERS, row[9:], strict=True)
        state |= {f"tags.{name}": value for name, value in row[4].items()}
        state |= {f"properties.{name}": value for name, value in row[5].items()}
        found[row[0], row[1]] = _visible(
            {key: value for key, value in state.items() if value is not None}
        )
    return found
