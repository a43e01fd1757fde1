"""The bridge's transactions, on PostgreSQL and on the in-memory fake side by side.

Hypothesis draws sequences of calls, ticks that fail among them; each must return the same on both, and
leave the same tables. Then each condition of the SQL is taken away, and that must be seen.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import Phase as Stage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ingest import ledger as ledgers
from ingest.ledger import PostgresLedger
from ingest.planner import Message, plan_chunk
from ingest.ports import HotRow, LedgerAway, Tick
from notify import models
from notify import postgres as sessions
from notify.domain import links as linking
from notify.domain.patch import EMPTY
from notify.domain.policy import SCOPE_ALL, SCOPE_MIRRORED, Limit, Policy, Skip
from notify.domain.stream import LaneRow, PlanRow, StreamRow
from notify.domain.update import encode, read
from notify.models import LinkLimit, SkipRule, Topic
from tests.fakes import MemoryDatabase, MemoryLedger
from tests.property.test_update_roundtrip import APPS, RECORDS, updates

pytestmark = pytest.mark.django_db(transaction=True)

Connection = psycopg.Connection[Any]
TOPIC, OLD_TOPIC = (f"00000000-0000-0000-0000-0000000000c{n}" for n in range(2))
STREAMS, GONE, OF_OLD_TOPIC, PARTITIONS = (1, 2), 9, 7, 2
#: Tables that a machine starts with empty; what refers to another comes first.
TABLES = (
    *("stream", "lane", "plan", "plan_log", "link", "parent", "link_count"),
    *("dead_letter", "skipped", "skip_count", "skip_rule", "link_limit", "policy_head", "topic"),
)
BODIES = st.one_of(updates(st.just(EMPTY)).map(encode), st.just(b"{"))
CHUNKS = st.one_of(st.none(), st.lists(BODIES, max_size=4))
LIVES_S = st.sampled_from([None, -60, 3_600])


class _Boom(Exception):
    """Raised within a tick."""


class LedgerMachine(RuleBasedStateMachine):
    """Subclasses set a session to look at the tables with."""

    sql: Connection

    @initialize()
    def start(self) -> None:
        for table in TABLES:
            self.sql.execute(f"DELETE FROM {table}")
        self.postgres = PostgresLedger()
        self.database = MemoryDatabase(partitions=PARTITIONS)
        self.memory = MemoryLedger(self.database)
        Topic.objects.create(id=OLD_TOPIC, name="old", partitions=PARTITIONS, active=False)
        Topic.objects.create(id=TOPIC, name="new", partitions=PARTITIONS)
        # peek on the fake takes the first stream it has of a partition, so it gets no old ones.
        self._insert(StreamRow(OF_OLD_TOPIC, OLD_TOPIC, 0, 1, 1, 0, 0, 0))
        for stream in STREAMS:
            row = StreamRow(stream, TOPIC, stream - 1, 2, 2, 0, planned=5, frontier=5)
            self.database.make_stream(row)
            self._insert(row)

    def _insert(self, row: StreamRow) -> None:
        models.Stream.objects.create(
            id=row.id,
            topic_id=row.topic_id,
            partition=row.partition,
            lanes=row.lanes,
            lanes_wanted=row.lanes_wanted,
            planned=row.planned,
            frontier=row.frontier,
        )
        for lane in range(row.lanes):
            models.Lane.objects.create(stream=row.id, lane=lane, last=row.planned - 1)

    def teardown(self) -> None:
        if hasattr(self, "postgres"):
            self.postgres.close()

    # -- what others do ----------------------------------------------------------------------------

    def _change(self, stream: int, **fields: Any) -> None:
        row = self.database.tables.streams[stream]
        self.database.tables.streams[stream] = replace(row, **fields)
        models.Stream.objects.filter(id=stream).update(**fields)

    @rule(stream=st.sampled_from(STREAMS), wanted=st.integers(1, 3))
    def want_lanes(self, stream: int, wanted: int) -> None:
        self._change(stream, lanes_wanted=wanted)

    @rule(stream=st.sampled_from(STREAMS))
    def resume(self, stream: int) -> None:
        self._change(stream, halted=None)

    @rule(
        stream=st.sampled_from(STREAMS),
        lane=st.integers(0, 1),
        row=st.builds(LaneRow, st.integers(0, 9), st.integers(-1, 9), st.integers(-1, 3)),
    )
    def work(self, stream: int, lane: int, row: LaneRow) -> None:
        if (stream, lane) in self.database.tables.lanes:
            self.database.tables.lanes[stream, lane] = row
            models.Lane.objects.filter(stream=stream, lane=lane).update(
                last=row.last, isolate=row.isolate, tries=row.tries
            )

    @rule(
        app=st.sampled_from(APPS),
        record=st.sampled_from(RECORDS),
        scope=st.sampled_from([SCOPE_ALL, SCOPE_MIRRORED]),
        active=st.sampled_from([True, True, False]),
        lives_s=LIVES_S,
    )
    def edit_skip(
        self, app: str, record: str, scope: str, active: bool, lives_s: int | None
    ) -> None:
        end, end_ms = _in(lives_s)
        edit = SkipRule(
            app_id=app, record=record, scope=scope, active=active, expires_at=end, reason="test"
        )
        edit.save()
        policy = self.database.policies[-1]
        skips = {key: skip for key, skip in policy.skips.items() if key != (app, record)}
        if active:
            skips[app, record] = Skip(edit.rule, scope, end_ms)
        self.database.policies.append(Policy(edit.version, skips, policy.limits))

    @rule(
        app=st.sampled_from([None, *APPS]),
        label=st.sampled_from(["email", "sms"]),
        children=st.one_of(st.none(), st.integers(0, 2)),
        lives_s=LIVES_S,
    )
    def edit_limit(
        self, app: str | None, label: str, children: int | None, lives_s: int | None
    ) -> None:
        end, end_ms = _in(lives_s)
        edit = LinkLimit(
            app_id=app, label=label, children=children, expires_at=end, reason="test"
        )
        edit.save()
        policy = self.database.policies[-1]
        limits = {key: limit for key, limit in policy.limits.items() if key != (app, label)}
        if children is not None:
            limits[app, label] = Limit(children, end_ms)
        self.database.policies.append(Policy(edit.version, policy.skips, limits))

    # -- what the bridge does ----------------------------------------------------------------------

    @rule(partition=st.integers(0, PARTITIONS))
    def peek(self, partition: int) -> None:
        assert self.postgres.peek(partition) == self.memory.peek(partition)

    @rule(stream=st.sampled_from([*STREAMS, GONE]), token=st.integers(1, 9))
    def load(self, stream: int, token: int) -> None:
        assert self.postgres.load(stream, token) == self.memory.load(stream, token)

    @rule(
        stream=st.sampled_from(STREAMS),
        reason=st.sampled_from(["why", "because"]),
        planned=st.sampled_from([0, 0, 1]),
        frontier=st.sampled_from([0, 0, 1]),
    )
    def halt(self, stream: int, reason: str, planned: int, frontier: int) -> None:
        """By the positions that it has, or by some that it had."""
        row = self.database.tables.streams[stream]
        seen = row.at(frontier=row.frontier - frontier, planned=row.planned - planned)
        self.postgres.halt(seen, reason)
        self.memory.halt(seen, reason)

    @rule(
        streams=st.sampled_from([[1], [2], [1, 2], [2, 1], [1, GONE], [GONE]]),
        chunk=CHUNKS,
        hole=st.integers(0, 2),
        behind=st.integers(0, 6),
        routed=st.sampled_from([APPS, APPS, APPS[:1]]),
        fails=st.sampled_from([False, False, False, True]),
    )
    def tick(
        self,
        streams: list[int],
        chunk: list[bytes] | None,
        hole: int,
        behind: int,
        routed: list[str],
        fails: bool,
    ) -> None:
        """Both open the tick, see the same, and write what they planned on what they saw."""
        with suppress(_Boom), ExitStack() as ticks:
            theirs = ticks.enter_context(self.postgres.tick(streams))
            self.database.now = theirs.now
            mine = ticks.enter_context(self.memory.tick(streams))
            assert theirs.streams == mine.streams
            assert theirs.lanes == mine.lanes
            assert theirs.policy() == mine.policy()
            for stream, row in mine.streams.items():
                frontier = min(row.planned, row.frontier + behind)
                if chunk is None:
                    for tick in (theirs, mine):
                        tick.write(stream, frontier=frontier, planned=row.planned, chunk=None)
                else:
                    self._plan((theirs, mine), row, frontier, chunk, hole, routed)
            if fails:
                raise _Boom

    @staticmethod
    def _plan(
        ticks: tuple[Tick, Tick],
        row: StreamRow,
        frontier: int,
        chunk: list[bytes],
        hole: int,
        routed: list[str],
    ) -> None:
        messages = [
            Message(row.planned + hole + place, body, read(body))
            for place, body in enumerate(chunk)
        ]
        children, parents = linking.named(message.content for message in messages)
        seen = [tick.links(children, parents) for tick in ticks]
        assert seen[0] == seen[1]
        end = row.planned + hole + len(chunk) + 1
        planned = [
            plan_chunk(
                messages,
                first=row.planned,
                end=end,
                links=deepcopy(links),
                policy=tick.policy(),
                is_routed=lambda app: app in routed,
            )
            for tick, links in zip(ticks, seen, strict=True)
        ]
        assert planned[0] == planned[1]
        for tick, plan in zip(ticks, planned, strict=True):
            tick.write(row.id, frontier=frontier, planned=end, chunk=plan.chunk)

    # -- what there is then ------------------------------------------------------------------------

    @invariant()
    def tables_are_the_same(self) -> None:
        tables = self.database.tables
        streams = self._rows(
            "id, topic_id::text, partition, lanes, lanes_wanted, token, planned, frontier, halted",
            f"stream WHERE id <> {OF_OLD_TOPIC}",
        )
        assert {row[0]: StreamRow(*row) for row in streams} == tables.streams
        lanes = self._rows(
            "stream, lane, last, isolate, tries", f"lane WHERE stream <> {OF_OLD_TOPIC}"
        )
        assert {row[:2]: LaneRow(*row[2:]) for row in lanes} == tables.lanes
        plans = self._rows("stream, first, next, decisions", "plan")
        assert {row[:2]: PlanRow(*row[1:]) for row in plans} == tables.plan
        logged = self._rows(
            "stream, first, next, policy_version, (extract(epoch FROM at) * 1000)::bigint",
            "plan_log",
        )
        assert {row[:2]: row[2:] for row in logged} == tables.plan_log

    @invariant()
    def links_are_the_same(self) -> None:
        tables = self.database.tables
        links = self._rows("app::text, child::text, label, parent::text, parent_gen", "link")
        assert {row[:3]: row[3:] for row in links} == tables.parents
        parents = self._rows("app::text, id::text, gen", "parent")
        assert {row[:2]: row[2] for row in parents} == tables.generations
        counts = self._rows("app::text, parent::text, label, gen, n", "link_count")
        assert {row[:4]: row[4] for row in counts} == tables.counts

    @invariant()
    def what_was_dropped_is_the_same(self) -> None:
        tables = self.database.tables
        skipped = self._rows(
            "stream, app::text, record::text, reason, rule, first, last, n", "skipped ORDER BY id"
        )
        assert skipped == [(stream, *row) for stream, row in tables.skipped]
        dead = self._rows(
            'stream, "offset", app::text, record::text', "dead_letter ORDER BY id"
        )
        assert dead == tables.dead
        hits: Counter[tuple[int, int]] = Counter()
        for stream, row in tables.skipped:
            if row.rule is not None:
                hits[stream, row.rule] += row.n
        counted = self._rows("stream, rule, hits", "skip_count")
        assert {row[:2]: row[2] for row in counted} == hits

    def _rows(self, columns: str, source: str) -> list[tuple[Any, ...]]:
        return self.sql.execute(f"SELECT {columns} FROM {source}").fetchall()


def _in(seconds: int | None) -> tuple[datetime | None, int | None]:
    """So long from now, and in milliseconds."""
    if seconds is None:
        return None, None
    moment = (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
    return moment, int(moment.timestamp() * 1000)


@pytest.fixture
def sql() -> Iterator[Connection]:
    """A session to look at the tables with."""
    with sessions.connect(name="test", lock_timeout_ms=1_000) as connection:
        yield connection


@pytest.fixture
def apps() -> None:
    for app in APPS:
        models.App.objects.create(id=app, name=app)


def _run(sql: Connection, *, examples: int, stages: tuple[Stage, ...]) -> None:
    run_state_machine_as_test(
        type("Machine", (LedgerMachine,), {"sql": sql}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            database=None,
            phases=stages,
        ),
    )


@pytest.mark.usefixtures("apps")
def test_postgresql_does_what_the_fake_does(sql: Connection) -> None:
    _run(sql, examples=60, stages=(Stage.generate, Stage.shrink))


_CONDITIONS = [
    ("peek", "topic.active AND", ""),
    ("halt", "AND planned = %(planned)s", ""),
    ("halt", "AND frontier = %(frontier)s", ""),
    ("halt", "AND halted IS NULL", ""),
    ("lock_streams", "WHERE id = ANY(%(streams)s)", "WHERE %(streams)s::bigint[] IS NOT NULL"),
    ("set_token", "WHERE id = %(stream)s", "WHERE %(stream)s > 0"),
    ("plan", "stream = %(stream)s AND", "%(stream)s > 0 AND"),
    ("plan", "next > %(frontier)s", "first > %(frontier)s"),
    ("plan", "ORDER BY first", "ORDER BY first DESC"),
    ("drop_lanes", "WHERE stream = %(stream)s", "WHERE %(stream)s < 0"),
    ("make_lanes", "planned - 1", "planned"),
    ("set_lanes", "lanes_wanted", "lanes"),
    ("skip_rules", "version DESC", "version"),
    ("skip_rules", "WHERE active", ""),
    ("link_limits", "version DESC", "version"),
    ("link_limits", "WHERE children IS NOT NULL", "WHERE children > 0"),
    ("links", "link.app = wanted.app AND", ""),
    ("links", "AND link.child = wanted.child", ""),
    ("link_counts", "AND counted.gen = wanted.gen", ""),
    ("progress", "WHERE id = %(stream)s", "WHERE %(stream)s > 0"),
    ("drop_plan", "stream = %(stream)s AND", "%(stream)s > 0 AND"),
    ("drop_plan", "next <= %(frontier)s", "first <= %(frontier)s"),
    ("write_links", "parent = excluded.parent,", ""),
    ("write_links", ", parent_gen = excluded.parent_gen", ""),
    ("drop_links", "AND link.label = gone.label", ""),
    ("drop_links", "AND link.child = gone.child", ""),
    ("write_parents", "gen = excluded.gen", "gen = parent.gen"),
    ("write_link_counts", "n = excluded.n", "n = link_count.n"),
    ("write_skip_counts", "skip_count.hits + excluded.hits", "excluded.hits"),
]


@pytest.mark.usefixtures("apps")
@pytest.mark.parametrize(("statement", "condition", "instead"), _CONDITIONS)
def test_a_statement_without_a_condition_is_found(
    statement: str,
    condition: str,
    instead: str,
    sql: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queries: Mapping[str, str] = ledgers._QUERIES
    assert queries[statement].count(condition) == 1
    mutant = queries[statement].replace(condition, instead)
    monkeypatch.setitem(ledgers._QUERIES, statement, mutant)
    with pytest.raises(Exception) as found:  # noqa: PT011 - any difference will do
        _run(sql, examples=300, stages=(Stage.generate,))
    assert "Unsatisfiable" not in type(found.value).__name__
