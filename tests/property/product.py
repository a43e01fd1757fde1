"""The product in one process: planner, windows and merged patches, on an in-memory PostgreSQL."""

from collections import Counter
from dataclasses import dataclass, field

from devstack.oracle.policy_history import Chunk, Edit, PolicyHistory
from devstack.oracle.serial import Serial
from devstack.oracle.serial import Skip as SerialSkip
from devstack.oracle.state import Dead, Dropped, Row, State
from ingest.planner import Message, plan_chunk
from notify.domain.engine.lanes import partition_of
from notify.domain.engine.stream import StreamRow
from notify.domain.engine.window import Lane, Window
from notify.domain.records import idempotency, task_rows
from notify.domain.records import links as linking
from notify.domain.records import plan as plans
from notify.domain.records.decide import OWN_ONLY, Write, writes
from notify.domain.records.patch import apply
from notify.domain.records.policy import Limit, Policy, Skip
from notify.domain.records.update import read
from tests import fakes
from tests.property.histories import (
    LANES,
    PARTITIONS,
    Action,
    EditLimit,
    EditSkip,
    Land,
    Load,
    Pass,
    Plan,
    Produce,
)

#: Short, so that histories outlast it.
SEEN_MS = 3


@dataclass
class Partition:
    """A log, what of it waits to be planned, and the lanes."""

    stream: int
    window: Window[Write]
    log: list[tuple[int, bytes]] = field(default_factory=list)
    fetched: list[Message] = field(default_factory=list)
    end: int = 0


class Product:
    """Planner, windows and workers on an in-memory PostgreSQL; and the log of what it was told."""

    def __init__(self) -> None:
        self.db = fakes.MemoryDatabase(now=0, seen_ms=SEEN_MS)
        self.partitions = [
            Partition(number, Window(number, {lane: Lane(-1) for lane in range(LANES)}))
            for number in range(PARTITIONS)
        ]
        for number in range(PARTITIONS):
            self.db.make_stream(StreamRow(number, "topic", number, LANES, LANES, 1, 0, 0))
        self.skips: list[Edit] = []
        self.limits: list[Edit] = []
        self.dead: Counter[Dead] = Counter()

    def do(self, action: Action) -> None:
        """One action of a history."""
        match action:
            case Produce():
                number = (partition_of(action.app, PARTITIONS) + action.misrouted) % PARTITIONS
                partition = self.partitions[number]
                offset = partition.end + action.hole
                partition.log.append((offset, action.body))
                partition.fetched.append(Message(offset, action.body, read(action.body)))
                partition.end = offset + 1
            case EditSkip(app, record, scope, lives):
                skips = dict(self.db.policies[-1].skips)
                version, end = self._edit(lives)
                skips.pop((app, record), None)
                if scope is not None:
                    skips[app, record] = Skip(version, scope, end)
                rule = None if scope is None else SerialSkip(version, scope)
                self.skips.append(Edit(version, (app, record), rule, end))
                self.db.policies.append(Policy(version, skips, self.db.policies[-1].limits))
            case EditLimit(owner, label, children, lives):
                limits = dict(self.db.policies[-1].limits)
                version, end = self._edit(lives)
                limits.pop((owner, label), None)
                if children is not None:
                    limits[owner, label] = Limit(children, end)
                self.limits.append(Edit(version, (owner, label), children, end))
                self.db.policies.append(Policy(version, self.db.policies[-1].skips, limits))
            case Pass():
                self.db.now += action.ms
            case Plan():
                self.plan(self.partitions[action.partition])
            case Load():
                self.load(self.partitions[action.partition])
            case Land():
                self.land(self.partitions[action.partition], action.lane)

    def _edit(self, lives: int | None) -> tuple[int, int | None]:
        return self.db.policies[-1].version + 1, None if lives is None else self.db.now + lives

    def plan(self, partition: Partition) -> None:
        """What a tick does to one stream."""
        first = self.db.tables.streams[partition.stream].planned
        if partition.end == first:
            return
        tick = fakes.MemoryTick(self.db, [partition.stream])
        contents = [message.content for message in partition.fetched]
        planned = plan_chunk(
            partition.fetched,
            first=first,
            end=partition.end,
            links=linking.gather(tick.links, linking.named(contents)),
            policy=tick.policy(),
            seen=tick.seen(idempotency.keys_of(contents)),
            is_routed=lambda app: partition_of(app, PARTITIONS) == partition.stream,
        )
        tick.write(partition.stream, frontier=0, planned=partition.end, chunk=planned.chunk)
        for dead in planned.chunk.dead:
            why = dead.error.partition(":")[0]
            self.dead[
                Dead(partition.stream, dead.offset, why, dead.app, dead.record, dead.message)
            ] += 1
        partition.window.add(planned.written)
        partition.fetched = []

    def load(self, partition: Partition) -> None:
        """What a Load does: lanes as they stand, the log read again from the start."""
        lanes: dict[int, Lane[Write]] = {
            number: Lane(lane.last) for number, lane in partition.window.lanes.items()
        }
        partition.window = Window(partition.stream, lanes)
        for (stream, first), row in sorted(self.db.tables.plan.items()):
            if stream == partition.stream:
                decisions = plans.decode(first, row.decisions)
                partition.window.add(
                    (offset, body, writes(read(body), decisions.get(offset, OWN_ONLY)))
                    for offset, body in partition.log
                    if first <= offset < row.next
                )

    def land(self, partition: Partition, lane: int) -> bool:
        """What a task does; False where none waits."""
        batch = partition.window.take(lane, max_rows=2, max_bytes=10_000)
        if batch is None:
            return False
        task = task_rows.encode((partition.stream, write) for write in batch.merged)
        for _, write in task_rows.decode(task):
            key = (write.app, write.record)
            before = self.db.tables.records.get(key, {})
            self.db.tables.records[key] = apply(before, write.patch)
        assert partition.window.landed(lane, batch.last)
        return True

    def drain(self) -> None:
        """Plan and apply everything."""
        for partition in self.partitions:
            self.plan(partition)
            for lane in range(LANES):
                while self.land(partition, lane):
                    pass

    def state(self) -> State:
        """Its tables, as the oracle writes them down."""
        tables = self.db.tables
        state = State(
            records={key: _row(state) for key, state in tables.records.items()},
            links={
                (app, child, label): parent
                for (app, child, label), (parent, generation) in tables.parents.items()
                if tables.generations.get((app, parent), 0) == generation
            },
            generations=tables.generations,
            counts=tables.counts,
            dead=self.dead,
        )
        for _, row in tables.skipped:
            assert row.app is not None
            assert row.record is not None
            state.dropped[Dropped(row.app, row.record, row.reason, row.rule)] += row.n
            if row.rule is not None:
                state.hits[row.rule] += row.n
        return state


def _row(state: fakes.State) -> Row:
    row: Row = {
        "kind": None,
        "identifier": None,
        "tags": {},
        "properties": {},
        "session_count": 0,
        "session_time_s": 0,
        "purchase_count": 0,
        "spent_micros": 0,
        "mirrored_updates": 0,
        "deleted": False,
    }
    for key, value in state.items():
        family, dot, name = key.partition(".")
        if dot:
            row[family][name] = value
        else:
            row[key] = value
    return row


def replay(product: Product) -> State:
    """What the serial interpreter makes of the log that the product was given."""
    history = PolicyHistory(product.skips, product.limits)
    must = State()
    for partition in product.partitions:
        chunks = [
            Chunk(first, *rest)
            for (stream, first), rest in sorted(product.db.tables.plan_log.items())
            if stream == partition.stream
        ]
        serial = Serial(
            seen_ms=SEEN_MS,
            partition=partition.stream,
            partitions=PARTITIONS,
            rules_at=history.rules_at(chunks),
        )
        for offset, body in partition.log:
            serial.take(offset, body)
        must.add(serial.end())
    return must
