"""The bridge's `Ledger` on PostgreSQL: the transactions of Load and tick. The checks are in the domain."""

import os
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from django.conf import settings

from ingest.ports import Chunk, DeadMessage, LedgerAway, Loaded, Samples, SkippedRow
from ingest.tracing import Ticks
from notify.databases import postgres, queries
from notify.domain.engine.digest import Last
from notify.domain.engine.stream import LaneRow, PlanRow, StreamRow
from notify.domain.records.idempotency import SeenKey
from notify.domain.records.links import Links, ParentKey
from notify.domain.records.policy import Limit, Policy, Skip

_QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "queries.sql")
LOCK_TIMEOUT_MS: Final = 5_000
#: Of the sessions of all bridges, in pg_stat_activity.
NAME: Final = "notify-bridge"
#: The most rows of a table that are deleted at a time, because the bridge waits for it.
TIDIED_MOST: Final = 20_000
#: The policy of a new session, before it is read. It is not kept across sessions: after PostgreSQL is
#: restored, the same version number may be another edit.
_UNREAD: Final = Policy(version=-1)

Connection = psycopg.Connection[Any]
Row = tuple[Any, ...]


class PostgresLedger:
    """One PostgreSQL session for ticks and Loads. It is opened when needed and closed after each failure."""

    def __init__(self, ticks: Ticks | None = None) -> None:
        self._connection: Connection | None = None
        self._policy = _UNREAD
        self._ticks = ticks

    def peek(self, partition: int) -> tuple[StreamRow, int] | None:
        if self._ticks is not None:
            self._ticks.forget(partition)
        with self._transaction() as connection:
            row = _one(connection, "peek", partition=partition)
        return None if row is None else (_stream(row), row[12])

    def halt(self, stream: StreamRow, reason: str) -> None:
        with self._transaction() as connection:
            _run(
                connection,
                "halt",
                stream=stream.id,
                planned=stream.planned,
                frontier=stream.frontier,
                reason=reason,
            )

    def resume(self, stream: StreamRow) -> None:
        with self._transaction() as connection:
            _run(connection, "resume", stream=stream.id, reason=stream.halted)

    def load(self, stream: int, token: int) -> Loaded | None:
        try:
            return self._load(stream, token)
        except LedgerAway as error:
            if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                self._end_stopped_ticks()
            raise

    def _end_stopped_ticks(self) -> None:
        """Ends ticks of bridges that stopped in the middle of it, or whose host is gone: another bridge waits
        for their locks. A bridge that goes on after all gets a Surprise."""
        with self._session() as connection:
            _run(connection, "end_stopped_ticks", of=NAME, ms=postgres.IDLE_IN_TRANSACTION_MS)

    def _load(self, stream: int, token: int) -> Loaded | None:
        with self._transaction() as connection:
            row = _one(connection, "lock_streams", streams=_array([stream]))
            if row is None or row[8] is not None:
                return None
            found = _stream(row)
            _run(connection, "set_token", stream=stream, token=token)
            if found.drained and found.lanes != found.lanes_wanted:
                for name in ("drop_lanes", "make_lanes", "set_lanes"):
                    _run(connection, name, stream=stream)
            row = _one(connection, "lock_streams", streams=_array([stream]))
            assert row is not None
            loaded = _stream(row)
            rows = _all(connection, "lanes", streams=_array([stream]))
            lanes = _by_stream(rows, [stream])[stream]
            plan = _all(connection, "plan", stream=stream, frontier=loaded.frontier)
        return Loaded(loaded, lanes, [PlanRow(*fields) for fields in plan])

    @contextmanager
    def tick(self, streams: Sequence[int]) -> Iterator["PostgresTick"]:
        # Pipelined: statements wait for each other only where one's rows are read before the next is sent.
        with self._session() as connection, _pipelined(connection) as pipeline:
            tick = PostgresTick(connection, pipeline, streams, self._policy)
            yield tick
            tick.flush()
        self._policy = tick.known_policy
        if self._ticks is not None:
            for partition, plan in tick.written:
                self._ticks.committed(partition, plan.first, plan.next)

    def write_samples(self, samples: Samples) -> None:
        if not samples.streams:
            return
        with self._session() as connection, _pipelined(connection):
            written: Sequence[tuple[str, Sequence[NamedTuple]]] = (
                ("write_hot", samples.records),
                ("write_app_samples", samples.apps),
                ("write_stream_samples", samples.streams),
                ("write_lane_samples", samples.lanes),
            )
            for name, rows in written:
                if rows:
                    _run(connection, name, bridge=_bridge_name(), **_by_column(rows))

    def note_start(self) -> None:
        """Records that this bridge was started. Raises LedgerAway."""
        with self._transaction() as connection:
            _run(connection, "write_start", bridge=_bridge_name())

    def tidy(self) -> None:
        with self._transaction() as connection:
            _run(connection, "tidy_plan_log", days=settings.NOTIFY_PLAN_LOG_DAYS)
            for name in ("tidy_skipped", "tidy_dead_letters"):
                _run(connection, name, days=settings.NOTIFY_DROPPED_DAYS, most=TIDIED_MOST)
            for name in (
                "tidy_hot",
                "tidy_app_samples",
                "tidy_refused_samples",
                "tidy_unavailable_samples",
                "tidy_left_out_samples",
                "tidy_stream_samples",
                "tidy_lane_samples",
                "tidy_starts",
            ):
                _run(connection, name, hours=settings.NOTIFY_HOT_HOURS)
            _run(connection, "tidy_seen", hours=settings.NOTIFY_SEEN_HOURS)

    def close(self) -> None:
        """Closes the session; the next transaction opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._session() as connection, connection.transaction():
            yield connection

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        """The session. An error of PostgreSQL closes it, and becomes LedgerAway."""
        try:
            if self._connection is None or self._connection.closed:
                self._policy = _UNREAD
                self._connection = postgres.connect(name=NAME, lock_timeout_ms=LOCK_TIMEOUT_MS)
            yield self._connection
        except psycopg.Error as error:
            self.close()
            raise LedgerAway(_error_text(error)) from error


@contextmanager
def _pipelined(connection: Connection) -> Iterator[psycopg.Pipeline]:
    """A transaction in a pipeline. Its BEGIN and COMMIT travel with the other statements; with
    psycopg's `transaction` a tick waits for PostgreSQL six times instead of three.

    COMMIT is not executed after an error: a read that fails raises before it is sent, and after a write that
    fails PostgreSQL skips the rest of the pipeline. Any error closes the session, which rolls the transaction
    back.
    """
    try:
        with connection.pipeline() as pipeline:
            connection.execute("BEGIN")
            yield pipeline
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise


def _error_text(error: psycopg.Error) -> str:
    """The error as text for logs; only its name if PostgreSQL's text may quote the data."""
    if error.sqlstate is None:
        return f"{type(error).__name__} {str(error).partition(chr(10))[0]}"
    named = (error.sqlstate, type(error).__name__, error.diag.constraint_name)
    return " ".join(filter(None, named))


class _Progress(NamedTuple):
    """The new positions of a stream, and its last planned message."""

    stream: int
    frontier: int
    planned: int
    last_offset: int | None
    last_digest: int | None
    last_planned: int | None


class PostgresTick:
    """The bridge's `Tick`, within an open transaction. What is written goes to PostgreSQL at its end.

    Each read ends with a Sync: then PostgreSQL says `idle in transaction`, and ends the transaction after
    IDLE_IN_TRANSACTION_MS if the bridge is never heard of again. Without it no time limit of PostgreSQL
    before 17 holds until the next statement, and the streams stay locked for as long as the connection
    seems to live.
    """

    def __init__(
        self,
        connection: Connection,
        pipeline: psycopg.Pipeline,
        streams: Sequence[int],
        known: Policy,
    ) -> None:
        self._connection = connection
        self._pipeline = pipeline
        locked = _sent(connection, "lock_streams", streams=_array(streams))
        lanes = _sent(connection, "lanes", streams=_array(streams))
        policy = _sent(connection, "policy_version")
        pipeline.sync()
        rows = locked.fetchall()
        self.now: int = rows[0][12] if rows else 0
        self.streams: Mapping[int, StreamRow] = {row[0]: _stream(row) for row in rows}
        self.lanes: Mapping[int, Mapping[int, LaneRow]] = _by_stream(lanes.fetchall(), streams)
        version = policy.fetchone()
        self._policy_version: int = 0 if version is None else version[0]
        self.known_policy = known
        self._progress: list[_Progress] = []
        self._chunks: list[tuple[int, Chunk]] = []
        #: The planned chunks, by partition.
        self.written: list[tuple[int, PlanRow]] = []
        self._active: Policy | None = None

    def policy(self) -> Policy:
        """The policy in force now. The rules are read only if their version is new."""
        if self._active is None:
            version = self._policy_version
            if version != self.known_policy.version:
                self.known_policy = self._read_policy(version)
            self._active = self.known_policy.at(self.now)
        return self._active

    def _read_policy(self, version: int) -> Policy:
        skips = self._all("skip_rules", version=version)
        limits = self._all("link_limits", version=version)
        return Policy(
            version,
            {(app, record): Skip(rule, scope, end) for app, record, rule, scope, end in skips},
            {(app, label): Limit(children, end) for app, label, children, end in limits},
        )

    def links(self, children: Collection[ParentKey], parents: Collection[ParentKey]) -> Links:
        found = Links()
        rows = self._all(
            "links",
            **_columns(children, "child_apps", "children"),
            **_columns(parents, "parent_apps", "parents"),
        )
        for app, child, label, parent, gen, n in rows:
            if child is not None:
                found.parents[app, child, label] = (parent, gen)
            elif label is None:
                found.generations[app, parent] = gen
            else:
                found.counts[app, parent, label, gen] = n
        return found

    def seen(self, keys: Collection[SeenKey]) -> set[SeenKey]:
        hours = settings.NOTIFY_SEEN_HOURS
        if not hours:
            return set()
        rows = self._all("seen", **_columns(keys, "apps", "digests"), hours=hours)
        return {SeenKey(*row) for row in rows}

    def dead_letters(self, stream: int, frontier: int) -> int:
        rows = self._all("dead_letters", stream=stream, frontier=frontier)
        return int(rows[0][0]) if rows else 0

    def write(
        self,
        stream: int,
        *,
        frontier: int,
        planned: int,
        chunk: Chunk | None,
        last_message: Last | None = None,
    ) -> None:
        last = last_message or (None, None, None)
        self._progress.append(_Progress(stream, frontier, planned, *last))
        if chunk is not None:
            self._chunks.append((stream, chunk))
            self.written.append((self.streams[stream].partition, chunk.plan))

    def flush(self) -> None:
        """Writes what `write` was called with: each table once for all streams."""
        if self._progress:
            self._run("progress", **_by_column(self._progress))
        passed = [
            each for each in self._progress if each.frontier != self.streams[each.stream].frontier
        ]
        if passed:
            self._run(
                "drop_plan",
                streams=_array(each.stream for each in passed),
                frontiers=_array(each.frontier for each in passed),
            )
        if not self._chunks:
            return
        self._run(
            "write_plan",
            streams=_array(stream for stream, _ in self._chunks),
            firsts=_array(chunk.plan.first for _, chunk in self._chunks),
            nexts=_array(chunk.plan.next for _, chunk in self._chunks),
            decisions=[chunk.plan.decisions for _, chunk in self._chunks],
            digests=[chunk.plan.digests for _, chunk in self._chunks],
            policy_versions=_array(chunk.policy_version for _, chunk in self._chunks),
        )
        self._write_links([chunk.links for _, chunk in self._chunks])
        for stream, chunk in self._chunks:
            self._write_skipped(stream, chunk.skipped)
            self._write_dead(stream, chunk.dead)
        seen = [key for _, chunk in self._chunks for key in chunk.seen]
        if seen and settings.NOTIFY_SEEN_HOURS:
            self._run("write_seen", **_columns(seen, "apps", "digests"))

    def _write_links(self, chunks: Sequence[Links]) -> None:
        """Writes what these chunks changed, which share their links."""
        parents = {key: links.parents.get(key) for links in chunks for key in links.new_parents}
        put = [(key, link) for key, link in parents.items() if link is not None]
        gone = [key for key, link in parents.items() if link is None]
        if put:
            self._run(
                "write_links",
                apps=_array(app for (app, _, _), _ in put),
                children=_array(child for (_, child, _), _ in put),
                labels=[label for (_, _, label), _ in put],
                parents=_array(parent for _, (parent, _) in put),
                gens=_array(gen for _, (_, gen) in put),
            )
        if gone:
            self._run(
                "drop_links",
                apps=_array(app for app, _, _ in gone),
                children=_array(child for _, child, _ in gone),
                labels=[label for _, _, label in gone],
            )
        gens = {key: links.generations[key] for links in chunks for key in links.new_generations}
        if gens:
            self._run(
                "write_parents",
                apps=_array(app for app, _ in gens),
                parents=_array(parent for _, parent in gens),
                gens=_array(gens.values()),
            )
        counts = {key: links.counts[key] for links in chunks for key in links.new_counts}
        if counts:
            self._run(
                "write_link_counts",
                apps=_array(app for app, _, _, _ in counts),
                parents=_array(parent for _, parent, _, _ in counts),
                labels=[label for _, _, label, _ in counts],
                gens=_array(gen for _, _, _, gen in counts),
                ns=_array(counts.values()),
            )

    def _write_skipped(self, stream: int, skipped: Sequence[SkippedRow]) -> None:
        if not skipped:
            return
        self._run(
            "write_skipped",
            stream=stream,
            apps=[row.app for row in skipped],
            records=[row.record for row in skipped],
            reasons=[row.reason for row in skipped],
            rules=[row.rule for row in skipped],
            firsts=[row.first for row in skipped],
            lasts=[row.last for row in skipped],
            ns=[row.n for row in skipped],
        )
        hits: dict[int, int] = {}
        for row in skipped:
            if row.rule is not None:
                hits[row.rule] = hits.get(row.rule, 0) + row.n
        if hits:
            self._run("write_skip_counts", stream=stream, rules=list(hits), ns=list(hits.values()))

    def _write_dead(self, stream: int, dead: Sequence[DeadMessage]) -> None:
        if not dead:
            return
        self._run(
            "write_dead",
            stream=stream,
            offsets=[row.offset for row in dead],
            apps=[row.app for row in dead],
            records=[row.record for row in dead],
            errors=[row.error for row in dead],
            messages=[row.message for row in dead],
        )

    def _run(self, name: str, **parameters: object) -> None:
        _run(self._connection, name, **parameters)

    def _all(self, name: str, **parameters: object) -> list[Row]:
        found = _sent(self._connection, name, **parameters)
        self._pipeline.sync()
        return found.fetchall()


def _stream(row: Row) -> StreamRow:
    """The stream from a row that begins with its columns; the last three are those of its last message."""
    offset, digest, of_planned = row[9:12]
    last = None if offset is None else Last(offset, digest, of_planned)
    return replace(StreamRow(*row[:9]), last_message=last)


def _by_stream(lanes: Sequence[Row], streams: Sequence[int]) -> dict[int, dict[int, LaneRow]]:
    found: dict[int, dict[int, LaneRow]] = {stream: {} for stream in streams}
    for stream, lane, last, isolate, tries in lanes:
        found[stream][lane] = LaneRow(last, isolate, tries)
    return found


def _sent(connection: Connection, name: str, **parameters: object) -> psycopg.Cursor[Row]:
    """A cursor with the rows, which in a pipeline may still be on their way."""
    return connection.execute(_QUERIES[name], parameters)


def _all(connection: Connection, name: str, **parameters: object) -> list[Row]:
    return _sent(connection, name, **parameters).fetchall()


def _bridge_name() -> str:
    """The name of this bridge for operators: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _by_column(rows: Sequence[NamedTuple]) -> dict[str, str]:
    """Turns rows of one kind into arrays, by field. Values are ids, numbers, booleans or None."""
    return {
        name: _array(column)
        for name, column in zip(type(rows[0])._fields, zip(*rows, strict=True), strict=True)
    }


def _columns(keys: Collection[tuple[str, str]], apps: str, others: str) -> dict[str, str]:
    """The two columns of these keys as arrays, under these names."""
    return {apps: _array(app for app, _ in keys), others: _array(other for _, other in keys)}


def _array(values: Iterable[str | float | None]) -> str:
    """A PostgreSQL array of ids, numbers, booleans and NULLs, as text. In a list psycopg looks at the type of
    each value, and in each string for characters to escape, which took a twelfth of the bridge's time. These
    values need no escaping."""
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


def _one(connection: Connection, name: str, **parameters: object) -> Row | None:
    return connection.execute(_QUERIES[name], parameters).fetchone()


def _run(connection: Connection, name: str, **parameters: object) -> None:
    connection.execute(_QUERIES[name], parameters)
