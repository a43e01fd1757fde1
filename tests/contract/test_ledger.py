"""The bridge's transactions, on PostgreSQL and on the in-memory fake side by side.

A seed is a sequence of calls, ticks that fail among them; each must return the same on both, and leave
the same tables. Then each condition of the SQL is taken away, and some seed must show that.
"""

import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, NamedTuple

import psycopg
import pytest
from django.conf import settings
from django.db import connections

from ingest import ledger as ledger_of_postgres
from ingest import ledger as ledgers
from ingest.ledger import PostgresLedger
from ingest.planner import Message, plan_chunk
from ingest.ports import (
    AppRow,
    Chunk,
    HotRow,
    LaneSample,
    LedgerAway,
    Samples,
    SkippedRow,
    StreamSample,
    Tick,
)
from notify import models
from notify.databases import postgres as sessions
from notify.domain.engine.digest import Last
from notify.domain.engine.stream import LaneRow, PlanRow, StreamRow
from notify.domain.records import idempotency
from notify.domain.records import links as linking
from notify.domain.records.decide import SKIPPED
from notify.domain.records.idempotency import SeenKey
from notify.domain.records.ids import alias_id
from notify.domain.records.links import Links
from notify.domain.records.patch import ADD, Patch
from notify.domain.records.policy import SCOPE_ALL, SCOPE_MIRRORED, Limit, Policy, Skip
from notify.domain.records.update import DELETE, DETACH, UPDATE, Update, encode, read
from notify.models import LinkLimit, SkipRule, Topic
from tests.fakes import MemoryDatabase, MemoryLedger
from tests.waiting import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("apps")]

Connection = psycopg.Connection[Any]
APPS = [f"00000000-0000-0000-0000-0000000000a{n}" for n in range(2)]
RECORDS = [f"00000000-0000-0000-0000-0000000000b{n}" for n in range(4)]
TOPIC, OLD_TOPIC = (f"00000000-0000-0000-0000-0000000000c{n}" for n in range(2))
STREAMS, GONE, OF_OLD_TOPIC, PARTITIONS = (1, 2), 9, 7, 2
SEEDS, STEPS = 12, 50
NAMES = [
    *(("user", "external_id", name) for name in ("x", "y")),
    ("user", "crm", "x"),
    ("push", "token", "t"),
]
#: What every seed starts without.
TABLES = (
    *("stream", "lane", "plan", "plan_log", "link", "parent", "link_count"),
    *("dead_letter", "skipped", "skip_count", "skip_rule", "link_limit", "policy_head", "topic"),
    "seen",
)


class _Boom(Exception):
    """Raised within a tick."""


class _Known(NamedTuple):
    """What ticks read to decide messages: links and seen keys are those of each ledger."""

    links: tuple[Links, Links]
    policy: Policy
    seen: tuple[set[SeenKey], set[SeenKey]]


class Pair:
    """Both ledgers on the same tables, the dice, and a session to look at PostgreSQL's with."""

    def __init__(self, seed: int, sql: Connection) -> None:
        self.rng, self.sql = random.Random(seed), sql
        for table in TABLES:
            sql.execute(f"DELETE FROM {table}")
        self.postgres = PostgresLedger()
        self.database = MemoryDatabase(partitions=PARTITIONS)
        self.memory = MemoryLedger(self.database)
        Topic.objects.create(id=OLD_TOPIC, name="old", partitions=PARTITIONS + 1, active=False)
        Topic.objects.create(id=TOPIC, name="new", partitions=PARTITIONS)
        # The fake knows one topic, so a stream of another is PostgreSQL's alone: of a partition that
        # the new topic has not, or a mutant of `peek` would find whichever of two rows comes first.
        _insert(StreamRow(OF_OLD_TOPIC, OLD_TOPIC, PARTITIONS, 1, 1, 0, 0, 0))
        for stream in STREAMS:
            row = StreamRow(stream, TOPIC, stream - 1, 2, 2, 0, planned=5, frontier=5)
            self.database.make_stream(row)
            _insert(row)

    def run(self) -> None:
        actions: list[tuple[Callable[[], None], int]] = [
            (self.tick, 12),
            (self.load, 4),
            (self.peek, 1),
            (self.halt, 1),
            (self.resume, 2),
            (self.want_lanes, 2),
            (self.work, 2),
            (self.edit_skip, 2),
            (self.edit_limit, 2),
        ]
        kinds, weights = [action for action, _ in actions], [weight for _, weight in actions]
        with closing(self.postgres):
            for action in self.rng.choices(kinds, weights, k=STEPS):
                action()
                self.compare()

    # -- what others do ----------------------------------------------------------------------------

    def _change(self, **fields: Any) -> None:
        stream = self.rng.choice(STREAMS)
        row = self.database.tables.streams[stream]
        self.database.tables.streams[stream] = replace(row, **fields)
        models.Stream.objects.filter(id=stream).update(**fields)

    def want_lanes(self) -> None:
        self._change(lanes_wanted=self.rng.randint(1, 3))

    def work(self) -> None:
        key, row = self.rng.choice(list(self.database.tables.lanes.items()))
        row = LaneRow(row.last + 1, self.rng.randint(-1, 9), self.rng.randint(-1, 3))
        self.database.tables.lanes[key] = row
        models.Lane.objects.filter(stream=key[0], lane=key[1]).update(
            last=row.last, isolate=row.isolate, tries=row.tries
        )

    def edit_skip(self) -> None:
        app, record = self.rng.choice(APPS), self.rng.choice(RECORDS[:2])
        scope, active = self.rng.choice([SCOPE_ALL, SCOPE_MIRRORED]), self.rng.random() < 0.7
        end, end_ms = _in(self.rng.choice([None, None, -60, 3_600]))
        edit = SkipRule(
            app_id=app, record=record, scope=scope, active=active, expires_at=end, reason="test"
        )
        edit.save()
        before = self.database.policies[-1]
        skips = {key: skip for key, skip in before.skips.items() if key != (app, record)}
        if active:
            skips[app, record] = Skip(edit.rule, scope, end_ms)
        self.database.policies.append(Policy(edit.version, skips, before.limits))

    def edit_limit(self) -> None:
        app, label = self.rng.choice([None, *APPS]), self.rng.choice(["email", "sms"])
        children = self.rng.choice([None, 0, 1, 2])
        end, end_ms = _in(self.rng.choice([None, None, -60, 3_600]))
        edit = LinkLimit(app_id=app, label=label, children=children, expires_at=end, reason="test")
        edit.save()
        before = self.database.policies[-1]
        limits = {key: limit for key, limit in before.limits.items() if key != (app, label)}
        if children is not None:
            limits[app, label] = Limit(children, end_ms)
        self.database.policies.append(Policy(edit.version, before.skips, limits))

    # -- what the bridge does ----------------------------------------------------------------------

    def peek(self) -> None:
        partition = self.rng.randint(0, PARTITIONS)
        assert self.postgres.peek(partition) == self.memory.peek(partition)

    def load(self) -> None:
        stream, token = self.rng.choice([*STREAMS, *STREAMS, GONE]), self.rng.getrandbits(62)
        assert self.postgres.load(stream, token) == self.memory.load(stream, token)

    def halt(self) -> None:
        """By the positions that it has, or by some that it had; once or twice."""
        row = self.database.tables.streams[self.rng.choice(STREAMS)]
        seen = row.at(
            frontier=row.frontier - self.rng.choice([0, 0, 1]),
            planned=row.planned - self.rng.choice([0, 0, 1]),
        )
        for reason in self.rng.choice([["why"], ["why", "because"]]):
            self.postgres.halt(seen, reason)
            self.memory.halt(seen, reason)

    def resume(self) -> None:
        """By reasons that it may not have, then by its own."""
        row = self.database.tables.streams[self.rng.choice(STREAMS)]
        for seen in (replace(row, halted="another"), replace(row, halted="why"), row):
            self.postgres.resume(seen)
            self.memory.resume(seen)
            self.compare()

    def tick(self) -> None:
        """Both open the tick, see the same, and write what they planned on what they saw."""
        streams = self.rng.choice([[1], [2], [1, 2], [2, 1], [1, GONE], [GONE]])
        with suppress(_Boom), ExitStack() as ticks:
            theirs = ticks.enter_context(self.postgres.tick(streams))
            self.database.now = theirs.now
            mine = ticks.enter_context(self.memory.tick(streams))
            assert theirs.streams == mine.streams
            assert theirs.lanes == mine.lanes
            fetched = [(row, self._messages(row)) for row in mine.streams.values()]
            known = self._known((theirs, mine), [each for _, found in fetched for each in found])
            for row, messages in fetched:
                self._write((theirs, mine), row, messages, known)
            if self.rng.random() < 0.15:
                raise _Boom

    def _messages(self, row: StreamRow) -> list[Message]:
        first = row.planned + self.rng.randint(0, 2)
        bodies = [self._body() for _ in range(self.rng.randint(0, 9))]
        return [Message(offset, body, read(body)) for offset, body in enumerate(bodies, first)]

    def _known(self, ticks: tuple[Tick, Tick], messages: Sequence[Message]) -> _Known:
        """What each tick reads to decide the messages of all its streams."""
        theirs, mine = ticks
        contents = [message.content for message in messages]
        named, keys = linking.named(contents), idempotency.keys_of(contents)
        links, policy, seen = linking.gather(mine.links, named), mine.policy(), mine.seen(keys)
        assert linking.gather(theirs.links, named) == links
        assert theirs.policy() == policy
        assert theirs.seen(keys) == seen
        return _Known((deepcopy(links), links), policy, (set(seen), set(seen)))

    def _write(
        self,
        ticks: tuple[Tick, Tick],
        row: StreamRow,
        messages: Sequence[Message],
        known: _Known,
    ) -> None:
        frontier = min(row.planned, row.frontier + self.rng.choice([0, 3, 99, 99]))
        dead = {tick.dead_letters(row.id, frontier) for tick in ticks}
        assert len(dead) == 1
        chunks: Sequence[Chunk | None] = (None, None)
        planned = row.planned
        if self.rng.random() < 0.6:
            planned = (messages[-1].offset if messages else row.planned + 2) + 1
            routed = self.rng.choice([APPS, APPS, APPS[:1]])
            chunks = [
                plan_chunk(
                    messages,
                    first=row.planned,
                    end=planned,
                    links=links.shared(),
                    policy=known.policy,
                    seen=seen,
                    is_routed=lambda app: app in routed,
                ).chunk
                for links, seen in zip(known.links, known.seen, strict=True)
            ]
        last = None
        if self.rng.random() < 0.8:
            last = Last(self.rng.randint(0, planned), self.rng.getrandbits(32), planned)
        for tick, chunk in zip(ticks, chunks, strict=True):
            tick.write(row.id, frontier=frontier, planned=planned, chunk=chunk, last_message=last)

    def _body(self) -> bytes:
        rng = self.rng
        if rng.random() < 0.05:
            return b"{"
        app, record = rng.choice([APPS[0], *APPS]), rng.choice(RECORDS)
        kind, aliases = None, {}
        if rng.random() < 0.4:
            kind, label, name = rng.choice(NAMES)
            record = rng.choice([record, alias_id(app, kind, label, name)])
            aliases = {label: rng.choice([name, name, None])}
        op = rng.choices([UPDATE, DELETE, DETACH], [12, 1, 2])[0]
        links: dict[str, str | None] = {}
        if op == UPDATE and rng.random() < 0.7:
            parents = [other for other in RECORDS if other != record]
            for label in rng.sample(["email", "sms"], rng.randint(1, 2)):
                links[label] = rng.choice([None, *parents])
        if op != UPDATE:
            return encode(Update(app, record, 1_000, "m", op=op))
        message_id, once = rng.choice("mno"), rng.random() < 0.5
        return encode(
            Update(
                app,
                record,
                1_000,
                message_id,
                kind=kind,
                patch=Patch(False, {"session_count": (ADD, 1)}),
                links=links,
                aliases=aliases,
                once=once,
            )
        )

    # -- what there is then ------------------------------------------------------------------------

    def compare(self) -> None:
        """Every table is the same on both."""
        tables = self.database.tables
        streams = self._rows(
            "id, topic_id::text, partition, lanes, lanes_wanted, token, planned, frontier, halted, "
            "last_offset, last_digest, last_planned",
            f"stream WHERE id <> {OF_OLD_TOPIC}",
        )
        assert {row[0]: ledger_of_postgres._stream(row) for row in streams} == tables.streams
        lanes = self._rows(
            "stream, lane, last, isolate, tries", f"lane WHERE stream <> {OF_OLD_TOPIC}"
        )
        assert {row[:2]: LaneRow(*row[2:]) for row in lanes} == tables.lanes
        plans = self._rows("stream, first, next, decisions, digests", "plan")
        assert {row[:2]: PlanRow(*row[1:]) for row in plans} == tables.plan
        logged = self._rows(
            "stream, first, next, policy_version, (extract(epoch FROM at) * 1000)::bigint",
            "plan_log",
        )
        assert {row[:2]: row[2:] for row in logged} == tables.plan_log
        self._compare_links()
        self._compare_dropped()

    def _compare_links(self) -> None:
        tables = self.database.tables
        links = self._rows("app::text, child::text, label, parent::text, parent_gen", "link")
        assert {row[:3]: row[3:] for row in links} == tables.parents
        parents = self._rows("app::text, id::text, gen", "parent")
        assert {row[:2]: row[2] for row in parents} == tables.generations
        counts = self._rows("app::text, parent::text, label, gen, n", "link_count")
        assert {row[:4]: row[4] for row in counts} == tables.counts

    def _compare_dropped(self) -> None:
        tables = self.database.tables
        skipped = self._rows(
            "stream, app::text, record::text, reason, rule, first, last, n", "skipped ORDER BY id"
        )
        listed = [(stream, *row) for stream, row in tables.skipped]
        assert _by_rules(skipped) == _by_rules(listed)
        assert _refused(skipped) == _refused(listed)
        seen = self._rows(
            "app::text, message::text, (extract(epoch FROM at) * 1000)::bigint", "seen"
        )
        assert {SeenKey(*row[:2]): row[2] for row in seen} == tables.seen
        dead = self._rows('stream, "offset", app::text, record::text', "dead_letter ORDER BY id")
        assert dead == tables.dead
        hits: Counter[tuple[int, int]] = Counter()
        for stream, row in tables.skipped:
            if row.rule is not None:
                hits[stream, row.rule] += row.n
        counted = self._rows("stream, rule, hits", "skip_count")
        assert {row[:2]: row[2] for row in counted} == hits

    def _rows(self, columns: str, source: str) -> list[tuple[Any, ...]]:
        return self.sql.execute(f"SELECT {columns} FROM {source}").fetchall()


def _insert(row: StreamRow) -> None:
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


def _by_rules(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [row for row in rows if row[3] == SKIPPED]


def _refused(rows: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """What was refused of each record, however many rows say so: first, last, and how often."""
    found: dict[tuple[Any, ...], tuple[int, int, int]] = {}
    for *key, first, last, n in rows:
        if key[3] != SKIPPED:
            before = found.get(tuple(key), (first, last, 0))
            found[tuple(key)] = min(first, before[0]), max(last, before[1]), n + before[2]
    return found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_postgresql_does_what_the_fake_does(seed: int, sql: Connection) -> None:
    Pair(seed, sql).run()


_CONDITIONS = [
    ("peek", "topic.active AND", ""),
    ("peek", "AND stream.partition = %(partition)s", ""),
    ("peek", "ON stream.topic_id = topic.id", "ON true"),
    ("halt", "id = %(stream)s AND", ""),
    ("halt", "AND planned = %(planned)s", ""),
    ("halt", "AND frontier = %(frontier)s", ""),
    ("halt", "AND halted IS NULL", ""),
    ("resume", "id = %(stream)s AND", ""),
    ("resume", "AND halted = %(reason)s", ""),
    ("dead_letters", "stream = %(stream)s AND", ""),
    ("dead_letters", 'AND "offset" >= %(frontier)s', ""),
    ("lock_streams", "WHERE id = ANY(%(streams)s)", "WHERE %(streams)s::bigint[] IS NOT NULL"),
    ("set_token", "WHERE id = %(stream)s", "WHERE %(stream)s > 0"),
    ("lanes", "WHERE stream = ANY(%(streams)s)", "WHERE %(streams)s::bigint[] IS NOT NULL"),
    ("plan", "stream = %(stream)s AND", "%(stream)s > 0 AND"),
    ("plan", "next > %(frontier)s", "first > %(frontier)s"),
    ("plan", "ORDER BY first", "ORDER BY first DESC"),
    ("drop_lanes", "WHERE stream = %(stream)s", "WHERE %(stream)s < 0"),
    ("make_lanes", "planned - 1", "planned"),
    ("make_lanes", "WHERE id = %(stream)s", "WHERE %(stream)s > 0"),
    ("set_lanes", "lanes_wanted", "lanes"),
    ("set_lanes", "WHERE id = %(stream)s", "WHERE %(stream)s > 0"),
    ("skip_rules", "ON (app_id, record)", "ON (app_id)"),
    ("skip_rules", "version DESC", "version"),
    ("skip_rules", "WHERE active", ""),
    ("link_limits", "version DESC", "version"),
    ("link_limits", "WHERE children IS NOT NULL", "WHERE children > 0"),
    ("links", "link.app = wanted.app AND", ""),
    ("links", "AND link.child = wanted.child", ""),
    ("links", "SELECT app, parent AS id FROM linked", "SELECT app, child AS id FROM linked"),
    (
        "links",
        "SELECT * FROM unnest(%(parent_apps)s",
        "SELECT NULL::uuid, NULL::uuid FROM unnest(%(parent_apps)s",
    ),
    (
        "links",
        "LEFT JOIN parent USING (app, id)",
        "LEFT JOIN (SELECT app, gen FROM parent) AS parent USING (app)",
    ),
    ("links", "counted.app = asked.app AND", ""),
    ("links", "AND counted.parent = asked.id", ""),
    ("links", "AND counted.gen = COALESCE(asked.gen, 0)", ""),
    ("links", "COALESCE(asked.gen, 0)", "asked.gen"),
    ("links", "WHERE gen IS NOT NULL", ""),
    ("seen", "seen.app = wanted.app AND", ""),
    ("seen", "AND seen.message = wanted.message", ""),
    ("progress", "WHERE id = new.stream", ""),
    ("drop_plan", "plan.stream = passed.stream AND", ""),
    ("drop_plan", "plan.next <= passed.frontier", "plan.first <= passed.frontier"),
    ("write_links", "parent = excluded.parent,", ""),
    ("write_links", ", parent_gen = excluded.parent_gen", ""),
    ("drop_links", "link.app = gone.app AND", ""),
    ("drop_links", "AND link.label = gone.label", ""),
    ("drop_links", "AND link.child = gone.child", ""),
    ("write_parents", "gen = excluded.gen", "gen = parent.gen"),
    ("write_link_counts", "n = excluded.n", "n = link_count.n"),
    ("write_skip_counts", "skip_count.hits + excluded.hits", "excluded.hits"),
]


@pytest.mark.parametrize(("statement", "condition", "instead"), _CONDITIONS)
def test_a_statement_without_one_of_its_conditions_is_found(
    statement: str, condition: str, instead: str, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ledgers._QUERIES[statement]
    assert whole.count(condition) == 1
    monkeypatch.setitem(ledgers._QUERIES, statement, whole.replace(condition, instead))
    assert any(_differs(seed, sql) for seed in range(SEEDS))


def _differs(seed: int, sql: Connection) -> bool:
    try:
        Pair(seed, sql).run()
    except LedgerAway as error:
        if str(error).startswith("42"):
            raise  # the mutant is no SQL, so it proves nothing
        return True
    except (AssertionError, KeyError):
        return True
    return False


# -- what the fake does not know -----------------------------------------------------------------------


@pytest.fixture
def ledger(sql: Connection) -> Iterator[PostgresLedger]:
    """On PostgreSQL, with the streams of a Pair."""
    pair = Pair(0, sql)
    with closing(pair.postgres):
        yield pair.postgres


SAMPLE = StreamSample(
    bucket=10_000, stream=1, log_end=9, planned=7, frontier=5, lag_s=2.5, unread_s=1.5, unheard_s=3.5,
    held_bytes=100,
    held_writes=2, paused=False, messages=4, accepted_s=0.5, writes=6, mirrored=2, skipped=1, dead=0,
)  # fmt: skip


def _chunk(first: int, end: int) -> Chunk:
    return Chunk(PlanRow(first, end, b"\x01"), 0, Links(), [], [])


def _planned(sql: Connection) -> int:
    ((planned,),) = sql.execute("SELECT planned FROM stream WHERE id = 1").fetchall()
    return int(planned)


def test_policy_that_is_committed_after_the_version_was_read_is_not_read(
    ledger: PostgresLedger, sql: Connection
) -> None:
    SkipRule(app_id=APPS[0], record=RECORDS[0], reason="test").save()
    with ledger.tick([1]) as tick:
        assert len(tick.policy().skips) == 1
    SkipRule(app_id=APPS[0], record=RECORDS[1], reason="test").save()
    LinkLimit(app_id=APPS[0], label="email", children=1, reason="test").save()
    sql.execute("UPDATE policy_head SET version = version - 2 WHERE id = 1")
    ledger._policy = Policy(-1)
    with ledger.tick([1]) as tick:
        assert (len(tick.policy().skips), tick.policy().limits) == (1, {})


def test_a_policy_is_not_kept_for_the_next_session(ledger: PostgresLedger, sql: Connection) -> None:
    """After PostgreSQL is restored, the same version may have other rules."""
    SkipRule(app_id=APPS[0], record=RECORDS[0], reason="test").save()
    with ledger.tick([1]) as tick:
        assert len(tick.policy().skips) == 1
    with pytest.raises(_Boom), ledger.tick([1]):
        raise _Boom
    sql.execute("DELETE FROM skip_rule")
    with ledger.tick([1]) as tick:
        assert tick.policy().skips == {}


def test_an_error_rolls_back_the_tick_and_the_next_one_works(
    ledger: PostgresLedger, sql: Connection
) -> None:
    with ledger.tick([1]) as tick:
        tick.write(1, frontier=5, planned=7, chunk=_chunk(5, 7))
    with pytest.raises(LedgerAway, match="23505"), ledger.tick([1]) as tick:
        tick.write(1, frontier=5, planned=9, chunk=_chunk(5, 9))
    assert _planned(sql) == 7
    with ledger.tick([1]) as tick:
        tick.write(1, frontier=5, planned=9, chunk=_chunk(7, 9))
    assert _planned(sql) == 9


def test_a_lost_session_is_replaced(ledger: PostgresLedger, sql: Connection) -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(LedgerAway))
        tick = stack.enter_context(ledger.tick([1]))
        sql.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE application_name = 'notify-bridge' AND datname = current_database()"
        )
        tick.write(1, frontier=5, planned=7, chunk=_chunk(5, 7))
    assert _planned(sql) == 5
    loaded = ledger.load(1, 11)
    assert loaded is not None
    assert loaded.stream.token == 11


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda tick: None, id="streams"),
        pytest.param(lambda tick: tick.policy(), id="policy"),
        pytest.param(lambda tick: tick.links([(APPS[0], RECORDS[0])], []), id="links"),
        pytest.param(lambda tick: tick.seen([SeenKey(APPS[0], str(uuid.UUID(int=1)))]), id="seen"),
        pytest.param(lambda tick: tick.dead_letters(1, 5), id="dead letters"),
    ],
)
def test_after_each_read_of_a_tick_the_time_limit_of_an_idle_transaction_holds(
    ledger: PostgresLedger, sql: Connection, read: Callable[[Tick], object]
) -> None:
    SkipRule(app_id=APPS[0], record=RECORDS[0], reason="test").save()
    with ledger.tick([1]) as tick:
        read(tick)
        assert ledger._connection is not None
        pid = ledger._connection.info.backend_pid
        found = sql.execute("SELECT state FROM pg_stat_activity WHERE pid = %s", [pid])
        assert found.fetchall() == [("idle in transaction",)]


def test_a_bridge_that_is_never_heard_of_again_leaves_no_lock(
    ledger: PostgresLedger, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "IDLE_IN_TRANSACTION_MS", 3_000)
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(LedgerAway))
        stack.enter_context(ledger.tick([1]))
        assert _is_locked(sql)
        wait_for(lambda: not _is_locked(sql))
    with ledger.tick([1]) as tick:
        assert tick.streams[1].planned == 5


@contextmanager
def _stopped(
    *,
    name: str = "notify-bridge",
    statement: LiteralString = "SELECT 1 FROM stream WHERE id = 1 FOR UPDATE",
    is_synced: bool = False,
    **others: str,
) -> Iterator[int]:
    """A session of this name whose transaction has sent the statement and stopped; its process id."""
    parameters = connections["default"].get_connection_params() | others
    with (
        closing(sessions.Session.connect(**parameters, application_name=name)) as session,
        suppress(psycopg.Error),
        session.pipeline() as pipeline,
    ):
        session.execute("BEGIN")
        session.execute(statement)
        session.pgconn.send_flush_request()
        session.pgconn.flush()
        if is_synced:
            pipeline.sync()
        yield session.info.backend_pid


def test_a_bridge_that_stopped_in_the_middle_of_its_writes_is_ended_by_the_next(
    ledger: PostgresLedger, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "IDLE_IN_TRANSACTION_MS", 1_000)
    monkeypatch.setattr(ledgers, "LOCK_TIMEOUT_MS", 200)
    with _stopped():
        wait_for(lambda: _is_locked(sql))
        with pytest.raises(LedgerAway, match="55P03"):
            ledger.load(1, 11)

        def is_loaded() -> bool:
            with suppress(LedgerAway):
                return ledger.load(1, 11) is not None
            return False

        wait_for(is_loaded)


_STOPS = ("active", "ClientRead")


@pytest.mark.parametrize(
    ("how", "ms", "stands"),
    [
        pytest.param({}, 600_000, _STOPS, id="not for long enough"),
        pytest.param({"name": "psql"}, 0, _STOPS, id="another program"),
        pytest.param(
            {"is_synced": True}, 0, ("idle in transaction", "ClientRead"), id="has another limit"
        ),
        pytest.param(
            {"statement": "SELECT pg_sleep(5)"}, 0, ("active", "PgSleep"), id="in a statement"
        ),
        pytest.param(
            {"dbname": "postgres", "statement": "SELECT 1"}, 0, _STOPS, id="another database"
        ),
        pytest.param(
            {"user": "another_bridge", "password": "x", "statement": "SELECT 1"},
            0,
            _STOPS,
            id="another role",
        ),
    ],
)
def test_no_other_session_is_ended(
    ledger: PostgresLedger,
    sql: Connection,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
    ms: int,
    stands: tuple[str, str],
) -> None:
    sql.execute("DROP ROLE IF EXISTS another_bridge")
    sql.execute("CREATE ROLE another_bridge LOGIN PASSWORD 'x'")

    def found(pid: int) -> list[tuple[Any, ...]]:
        looked = "SELECT state, wait_event FROM pg_stat_activity WHERE pid = %s"
        return sql.execute(looked, [pid]).fetchall()

    with _stopped(**how) as pid:
        wait_for(lambda: found(pid) == [stands])
        monkeypatch.setattr(sessions, "IDLE_IN_TRANSACTION_MS", ms)
        ledger._end_stopped_ticks()
        # One that was told to end has ended.
        sql.execute("SELECT pg_sleep(0.5)")
        assert found(pid) == [stands]
    wait_for(lambda: not found(pid))
    sql.execute("DROP ROLE another_bridge")


def _is_locked(sql: Connection) -> bool:
    try:
        sql.execute("SELECT 1 FROM stream WHERE id = 1 FOR UPDATE NOWAIT")
    except psycopg.errors.LockNotAvailable:
        return True
    return False


def test_hot_rows_of_a_bucket_add_up(ledger: PostgresLedger, sql: Connection) -> None:
    row = HotRow(10_000, 1, APPS[0], RECORDS[0], direct=2, mirrored=1, error=3)
    ledger.write_samples(Samples())
    for records in (
        [row, row._replace(record=RECORDS[1])],
        [row._replace(direct=5, error=2), row._replace(bucket=20_000)],
    ):
        ledger.write_samples(Samples(records, streams=[SAMPLE]))
    found = sql.execute(
        "SELECT (extract(epoch FROM bucket) * 1000)::bigint, direct, mirrored, error FROM hot "
        "WHERE record = %s ORDER BY bucket",
        [RECORDS[0]],
    ).fetchall()
    assert found == [(10_000, 7, 2, 3), (20_000, 2, 1, 3)]


def test_a_sample_adds_up_counts_and_replaces_what_stands(
    ledger: PostgresLedger, sql: Connection
) -> None:
    app = AppRow(10_000, 1, APPS[0], updates=3, mirrored=1, error=0)
    lane = LaneSample(1, 2, writes=5, oldest_s=1.5, attempt=1)
    ledger.write_samples(Samples(apps=[app], streams=[SAMPLE], lanes=[lane]))
    later = SAMPLE._replace(planned=9, lag_s=0.5, paused=True)
    ledger.write_samples(
        Samples(apps=[app], streams=[later], lanes=[lane._replace(writes=0, oldest_s=0, attempt=0)])
    )
    assert sql.execute("SELECT updates, mirrored FROM app_sample").fetchall() == [(6, 2)]
    assert sql.execute("SELECT writes, oldest_s, attempt FROM lane_sample").fetchall() == [
        (0, 0, 0)
    ]
    found = sql.execute(
        "SELECT planned, lag_s, lag_s_max, paused, messages, accepted_s, writes, mirrored, skipped, dead, "
        "at > now() - interval '1 minute', bridge LIKE '%:%' FROM stream_sample"
    ).fetchall()
    assert found == [(9, 0.5, 2.5, True, 8, 1.0, 12, 4, 2, 0, True, True)]


def test_what_is_past_its_time_is_tidied_away(ledger: PostgresLedger, sql: Connection) -> None:
    for first, days in enumerate(
        (settings.NOTIFY_PLAN_LOG_DAYS - 1, settings.NOTIFY_PLAN_LOG_DAYS + 1)
    ):
        sql.execute(
            "INSERT INTO plan_log (stream, first, next, policy_version, at) "
            "VALUES (1, %s, 9, 0, now() - %s * interval '1 day')",
            (first, days),
        )
    for hours in (settings.NOTIFY_HOT_HOURS - 1, settings.NOTIFY_HOT_HOURS + 1):
        sql.execute(
            "INSERT INTO hot (bucket, stream, app, record, direct, mirrored, error) "
            "VALUES (now() - %s * interval '1 hour', 1, %s, %s, %s, 0, 0)",
            (hours, APPS[0], RECORDS[0], hours),
        )
        sql.execute(
            "INSERT INTO app_sample (bucket, stream, app, updates, mirrored, error) "
            "VALUES (now() - %s * interval '1 hour', 1, %s, %s, 0, 0)",
            (hours, APPS[0], hours),
        )
        sql.execute(
            'INSERT INTO refused_sample (bucket, app, "limit", n) '
            "VALUES (now() - %s * interval '1 hour', %s, 'app_requests', %s)",
            (hours, APPS[0], hours),
        )
        sql.execute(
            "INSERT INTO unavailable_sample (bucket, reason, n, first_at, last_at) "
            "VALUES (now() - %s * interval '1 hour', 'bug', %s, now(), now())",
            (hours, hours),
        )
        sql.execute(
            "INSERT INTO left_out_sample (bucket, app, what, n) "
            "VALUES (now() - %s * interval '1 hour', %s, 'tag', %s)",
            (hours, APPS[0], hours),
        )
        sql.execute(
            "INSERT INTO lane_sample (stream, lane, at, writes, oldest_s, attempt) "
            "VALUES (1, %s, now() - %s * interval '1 hour', 0, 0, 0)",
            (hours, hours),
        )
        sql.execute(
            "INSERT INTO bridge_start (name, at) VALUES (%s, now() - %s * interval '1 hour')",
            (str(hours), hours),
        )
    for days in (settings.NOTIFY_DROPPED_DAYS - 1, settings.NOTIFY_DROPPED_DAYS + 1):
        sql.execute(
            "INSERT INTO skipped (stream, reason, first, last, n, at) "
            "VALUES (1, 'skip_rule', 0, 0, %s, now() - %s * interval '1 day')",
            (days, days),
        )
        sql.execute(
            'INSERT INTO dead_letter (stream, "offset", error, message, at) '
            "VALUES (1, %s, 'e', '', now() - %s * interval '1 day')",
            (days, days),
        )
    ledger.write_samples(Samples(streams=[SAMPLE]))
    ledger.tidy()
    assert sql.execute("SELECT first FROM plan_log").fetchall() == [(0,)]
    newest = settings.NOTIFY_DROPPED_DAYS - 1
    assert sql.execute("SELECT n FROM skipped").fetchall() == [(newest,)]
    assert sql.execute('SELECT "offset" FROM dead_letter').fetchall() == [(newest,)]
    kept = settings.NOTIFY_HOT_HOURS - 1
    assert sql.execute("SELECT updates FROM app_sample").fetchall() == [(kept,)]
    assert sql.execute("SELECT name FROM bridge_start").fetchall() == [(str(kept),)]
    assert sql.execute("SELECT n FROM refused_sample").fetchall() == [(kept,)]
    assert sql.execute("SELECT n FROM unavailable_sample").fetchall() == [(kept,)]
    assert sql.execute("SELECT n FROM left_out_sample").fetchall() == [(kept,)]
    assert sql.execute("SELECT lane FROM lane_sample").fetchall() == [(kept,)]
    assert sql.execute("SELECT 1 FROM stream_sample").fetchall() == []
    assert sql.execute("SELECT direct FROM hot").fetchall() == [(settings.NOTIFY_HOT_HOURS - 1,)]


def _skip(ledger: PostgresLedger, first: int, *rows: SkippedRow) -> None:
    with ledger.tick([1]) as tick:
        chunk = replace(_chunk(first, first + 1), skipped=rows)
        tick.write(1, frontier=5, planned=first + 1, chunk=chunk)


def test_what_is_refused_has_a_row_for_ten_seconds_and_what_a_rule_drops_one_each(
    ledger: PostgresLedger, sql: Connection
) -> None:
    refused = SkippedRow(APPS[0], RECORDS[0], "link_limit", None, 3, 5, 2)
    nameless = refused._replace(record=None, n=7)
    dropped = refused._replace(reason="skip_rule", rule=4)
    _skip(ledger, 5, refused, nameless, dropped)
    _skip(ledger, 6, refused._replace(first=8, last=9), nameless, dropped)
    found = sql.execute(
        "SELECT record::text, reason, min(first), max(last), sum(n)::int, count(*) FROM skipped "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    named, ruled, rest = found
    assert ruled == (RECORDS[0], "skip_rule", 3, 5, 4, 2)
    assert named[:5] == (RECORDS[0], "link_limit", 3, 9, 4)
    assert rest[:5] == (None, "link_limit", 3, 5, 14)
    # Two where the second chunk came in the next ten seconds.
    assert (named[5], rest[5]) in ((1, 1), (2, 2))


def _waits(sql: Connection) -> tuple[int | None, float | None]:
    """At which frontier updates wait, and for how many minutes."""
    ((at, minutes),) = sql.execute(
        "SELECT waiting_at, (extract(epoch FROM now() - waiting_since) / 60)::int FROM stream WHERE id = 1"
    ).fetchall()
    return at, minutes


def test_since_when_updates_wait_at_a_frontier_is_recorded(
    ledger: PostgresLedger, sql: Connection
) -> None:
    """N5: and it holds over bridges, so whoever looks first knows it."""

    def ticked(frontier: int, planned: int) -> tuple[int | None, float | None]:
        with ledger.tick([1]) as tick:
            tick.write(1, frontier=frontier, planned=planned, chunk=None)
        return _waits(sql)

    assert ticked(5, 5) == (None, None)
    assert ticked(5, 7) == (5, 0)
    sql.execute("UPDATE stream SET waiting_since = now() - interval '9 minutes' WHERE id = 1")
    assert ticked(5, 7) == (5, 9)
    assert ticked(5, 9) == (5, 9)
    assert ticked(6, 9) == (6, 0)
    sql.execute("UPDATE stream SET waiting_since = now() - interval '9 minutes' WHERE id = 1")
    assert ticked(9, 9) == (None, None)
    # A bridge of the release before moved the frontier and left what was recorded.
    sql.execute("UPDATE stream SET waiting_since = now() - interval '9 minutes', waiting_at = 3")
    assert ticked(9, 12) == (9, 0)


def test_a_start_is_noted_with_who_it_was(ledger: PostgresLedger, sql: Connection) -> None:
    ledger.note_start()
    ((name, is_now),) = sql.execute(
        "SELECT name, at > now() - interval '1 minute' FROM bridge_start"
    ).fetchall()
    assert is_now
    assert name.count(":") == 1


SEEN = SeenKey(APPS[0], RECORDS[0])


def test_a_message_id_is_remembered_for_so_long(
    ledger: PostgresLedger, sql: Connection, settings: Any
) -> None:
    settings.NOTIFY_SEEN_HOURS = 2
    with ledger.tick([1]) as tick:
        assert tick.seen({SEEN}) == set()
        tick.write(1, frontier=5, planned=7, chunk=replace(_chunk(5, 7), seen=[SEEN]))
    for minutes, found in ((0, {SEEN}), (119, {SEEN}), (121, set())):
        sql.execute("UPDATE seen SET at = now() - %s * interval '1 minute'", [minutes])
        with ledger.tick([1]) as tick:
            assert tick.seen({SEEN, SEEN._replace(app=APPS[1])}) == found


def test_no_message_id_is_remembered_where_that_is_off(
    ledger: PostgresLedger, sql: Connection, settings: Any
) -> None:
    settings.NOTIFY_SEEN_HOURS = 0
    with ledger.tick([1]) as tick:
        tick.write(1, frontier=5, planned=7, chunk=replace(_chunk(5, 7), seen=[SEEN]))
    assert sql.execute("SELECT count(*) FROM seen").fetchall() == [(0,)]


#: Of the hour by PostgreSQL's clock.
_LEFT_S = "SELECT 3600 - (extract(epoch FROM clock_timestamp())::bigint % 3600)"


def _partitions(sql: Connection) -> list[str]:
    rows = sql.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'seen'::regclass ORDER BY 1"
    )
    return [name for (name,) in rows]


def test_message_ids_are_kept_by_the_hour_and_dropped_whole(
    ledger: PostgresLedger, sql: Connection, settings: Any
) -> None:
    settings.NOTIFY_SEEN_HOURS = 2
    # Not while one hour ends and the next begins.
    wait_for(lambda: sql.execute(_LEFT_S).fetchall()[0][0] > 60)
    ledger.tidy()
    ledger.tidy()
    kept = _partitions(sql)
    assert len(kept) == 4
    old = sql.execute(
        "SELECT 'seen_' || to_char((now() - n * interval '1 hour') AT TIME ZONE 'UTC', "
        "'YYYYMMDDHH24') FROM generate_series(2, 4) AS n"
    ).fetchall()
    for (name,) in old:
        start = datetime.strptime(name, "seen_%Y%m%d%H").replace(tzinfo=UTC)
        end = start + timedelta(hours=1)
        sql.execute(
            f"CREATE TABLE {name} PARTITION OF seen FOR VALUES FROM ('{start}') TO ('{end}')"
        )
    with ledger.tick([1]) as tick:
        tick.write(1, frontier=5, planned=7, chunk=replace(_chunk(5, 7), seen=[SEEN]))
    ((where,),) = sql.execute("SELECT tableoid::regclass::text FROM seen").fetchall()
    assert where in kept
    assert where != "seen_rest"
    ledger.tidy()
    # An hour that began two hours ago may still hold what is less than two hours old.
    assert _partitions(sql) == sorted([*kept, old[0][0]])


def test_an_hour_without_a_partition_is_kept_apart(
    ledger: PostgresLedger, sql: Connection, settings: Any
) -> None:
    """No bridge ran in the hours before: no tick fails, and nothing stays for ever."""
    settings.NOTIFY_SEEN_HOURS = 1
    sql.execute("INSERT INTO seen_rest SELECT now() - interval '30 hours', %s, %s", SEEN)
    with sql.transaction(force_rollback=True):
        for name in _partitions(sql):
            if name != "seen_rest":
                sql.execute(f"DROP TABLE {name}")
        sql.execute("INSERT INTO seen SELECT now(), %s, %s", SEEN)
        sql.execute("SELECT seen_tidy(1)")
        rows = sql.execute(
            "SELECT tableoid::regclass::text, at > now() - interval '1 hour' FROM seen"
        )
        assert rows.fetchall() == [("seen_rest", True)]
    ledger.tidy()
    assert sql.execute("SELECT count(*) FROM seen").fetchall() == [(0,)]
