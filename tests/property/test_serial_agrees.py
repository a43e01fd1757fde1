"""The planner, the windows and the patches come to what the serial interpreter comes to.

Two independent readings of DESIGN.md meet here: `notify.domain` with chunks, plans, lanes and merging,
and `devstack.oracle`, one message after the other on plain dicts.
"""

import json
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from devstack.oracle import wire
from devstack.oracle.policy_history import Chunk, Edit, PolicyHistory
from devstack.oracle.serial import Serial
from devstack.oracle.serial import Skip as SerialSkip
from devstack.oracle.state import Dead, Dropped, Row, State, differences
from ingest.planner import Message, plan_chunk
from notify.domain import links as linking
from notify.domain import plan as plans
from notify.domain import rows
from notify.domain.decide import OWN_ONLY, writes
from notify.domain.lanes import partition_of
from notify.domain.patch import apply
from notify.domain.policy import Limit, Policy, Skip
from notify.domain.stream import StreamRow
from notify.domain.update import Unreadable, read
from notify.domain.window import Lane, Window
from tests import fakes

PARTITIONS = 2
LANES = 3
#: One in each partition; few records, so that they meet.
APPS = [str(uuid.UUID(int=n)) for n in (1, 4)]
RECORDS = [str(uuid.UUID(int=0xB0 + n)) for n in range(4)]
LABELS = ["email", "sms", "user"]

# -- histories -----------------------------------------------------------------------------------------

Fields = dict[str, Any]


@dataclass(frozen=True)
class Produce:
    """A message, after a hole in the log."""

    app: str
    body: bytes
    hole: int
    misrouted: bool


@dataclass(frozen=True)
class EditSkip:
    app: str
    record: str
    scope: str | None
    lives: int | None


@dataclass(frozen=True)
class EditLimit:
    app: str | None
    label: str
    children: int | None
    lives: int | None


@dataclass(frozen=True)
class Pass:
    """Time."""

    ms: int


@dataclass(frozen=True)
class Plan:
    """A tick: what was produced is decided."""

    partition: int


@dataclass(frozen=True)
class Land:
    """A lane applies its next batch."""

    partition: int
    lane: int


@dataclass(frozen=True)
class Load:
    """Memory is lost; what is planned is built again from the log and the recorded decisions."""

    partition: int


Action = Produce | EditSkip | EditLimit | Pass | Plan | Land | Load

_values = st.sampled_from(["", "x", "Ω 'é\\", 0, 1, 1.0, -2.5, True, False, 2**53, 1e23, 1e-300])
_ops: st.SearchStrategy[tuple[str, str, Any]] = st.one_of(
    st.tuples(
        st.sampled_from(
            ["tags.a", "tags.b", "properties.language", "properties.model", "tags.c.d"]
        ),
        st.sampled_from("=?-"),
        _values,
    ),
    st.tuples(st.just("identifier"), st.sampled_from("=-"), st.sampled_from(["", "a@b.example"])),
    st.tuples(
        st.sampled_from(["session_count", "session_time_s", "purchase_count", "spent_micros"]),
        st.just("+"),
        st.integers(-3, 3),
    ),
)


def _patch(ops: list[tuple[str, str, Any]]) -> Fields:
    patch: Fields = {}
    for key, op, value in {op[0]: op for op in ops}.values():
        if op == "-":
            patch.setdefault(op, []).append(key)
        else:
            patch.setdefault(op, {})[key] = value
    return patch


@st.composite
def _fields(draw: st.DrawFn) -> Fields:
    """The fields of a valid message."""
    record = draw(st.sampled_from(RECORDS))
    fields: Fields = {
        "v": 1,
        "op": draw(st.sampled_from(["update"] * 8 + ["delete", "detach"])),
        "message_id": "m",
        "app": draw(st.sampled_from(APPS)),
        "record": record,
        "at": draw(st.integers(0, 20)),
    }
    if draw(st.booleans()):
        fields["kind"] = draw(st.sampled_from([None, "push", "email", "sms", "user"]))
    if draw(st.integers(0, 9)) == 0:
        fields["only"] = True
    if fields["op"] == "update":
        if draw(st.booleans()):
            fields["patch"] = _patch(draw(st.lists(_ops, max_size=4)))
        parents = st.sampled_from([None, *(each for each in RECORDS if each != record)])
        fields["links"] = draw(st.dictionaries(st.sampled_from(LABELS), parents, max_size=3))
    return fields


@st.composite
def _produced(draw: st.DrawFn) -> Produce:
    fields = draw(_fields())
    rare = draw(st.integers(0, 30))
    body = b"{}" if rare == 0 else json.dumps(fields, ensure_ascii=rare % 2 == 0).encode()
    return Produce(fields["app"], body, draw(st.sampled_from([0, 0, 0, 1, 3])), rare == 1)


_lives = st.sampled_from([None, None, 0, 1, 4])
_actions: st.SearchStrategy[Action] = st.one_of(
    _produced(),
    _produced(),
    _produced(),
    _produced(),
    st.builds(Plan, st.integers(0, PARTITIONS - 1)),
    st.builds(Land, st.integers(0, PARTITIONS - 1), st.integers(0, LANES - 1)),
    st.builds(Load, st.integers(0, PARTITIONS - 1)),
    st.builds(
        EditSkip,
        st.sampled_from(APPS),
        st.sampled_from(RECORDS),
        st.sampled_from([None, "all", "all", "mirrored"]),
        _lives,
    ),
    st.builds(
        EditLimit,
        st.sampled_from([None, *APPS]),
        st.sampled_from(LABELS),
        st.sampled_from([None, 0, 1, 2, 3]),
        _lives,
    ),
    st.builds(Pass, st.integers(1, 3)),
)


# -- the product, in one process -----------------------------------------------------------------------


@dataclass
class Partition:
    """A log, what of it waits to be planned, and the lanes."""

    stream: int
    window: Window
    log: list[tuple[int, bytes]] = field(default_factory=list)
    fetched: list[Message] = field(default_factory=list)
    end: int = 0


class Product:
    """Planner, windows and workers on an in-memory PostgreSQL; and the log of what it was told."""

    def __init__(self) -> None:
        self.db = fakes.MemoryDatabase(now=0)
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
        planned = plan_chunk(
            partition.fetched,
            first=first,
            end=partition.end,
            links=tick.links(*linking.named(message.content for message in partition.fetched)),
            policy=tick.policy(),
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
        lanes = {number: Lane(lane.last) for number, lane in partition.window.lanes.items()}
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
        task = rows.encode((partition.stream, write) for write in batch.merged)
        for _, write in rows.decode(task):
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


def _replay(product: Product) -> State:
    history = PolicyHistory(product.skips, product.limits)
    must = State()
    for partition in product.partitions:
        chunks = [
            Chunk(first, *rest)
            for (stream, first), rest in sorted(product.db.tables.plan_log.items())
            if stream == partition.stream
        ]
        serial = Serial(
            partition=partition.stream,
            partitions=PARTITIONS,
            rules_at=history.rules_at(chunks),
        )
        for offset, body in partition.log:
            serial.take(offset, body)
        must.add(serial.end())
    return must


@settings(max_examples=300)
@given(st.lists(_actions, min_size=40, max_size=160))
def test_what_is_applied_is_the_serial_meaning_of_the_log(history: list[Action]) -> None:
    product = Product()
    for action in history:
        product.do(action)
    product.drain()

    assert list(differences(_replay(product), product.state())) == []


# -- the format ----------------------------------------------------------------------------------------


def _message(**fields: Any) -> Fields:
    return {
        "v": 1,
        "op": "update",
        "message_id": "m",
        "app": APPS[0],
        "record": RECORDS[0],
        "at": 0,
    } | fields


NUMBERS = [-1, 0, 1, 2, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 7_258_118_400_000, 7_258_118_400_001]
VALUES: list[Any] = [
    *(None, True, False, "", "x", "a" * 128, "a" * 129, "a" * 1024, "a" * 1025, "\0", "\ud800"),
    *(*NUMBERS, -(2**31), -(2**53) - 1, 1.5, 1e300, float("nan"), float("-inf")),
    *([], {}, [1], ["x"], [[]], {"x": 1}),
]
KEYS = [
    *("tags.a", "properties.a", "tags", "tags.", "tag.a", "tags." + "k" * 128, "tags." + "k" * 129),
    *("tags.\0", "tags.\udfff", "properties.", "identifier", "kind", "deleted", "created_at", ""),
    *("session_count", "session_time_s", "purchase_count", "spent_micros", "mirrored_updates"),
]
PATCHES: list[Any] = [
    *VALUES,
    *({op: {key: value}} for op in "=?+*" for key in KEYS for value in VALUES),
    *({"-": [key]} for key in (*KEYS, 1, None, [])),
    *({op: part} for op in "=?+-" for part in VALUES),
    *({"=": {"tags.a": 1}, op: {"tags.a": 1}} for op in "?+"),
    *({"=": {"tags.a": 1}, "-": ["tags.a"]}, {"-": ["tags.a", "tags.a"]}),
    *(
        {"=": {f"{of}.{n}": 1 for n in range(99)}, "-": [f"{of}.x", f"{of}.y"][:more]}
        for of in ("tags", "properties")
        for more in (1, 2)
    ),
]
ODD: dict[str, list[Any]] = {
    "v": VALUES,
    "op": [*VALUES, "update", "delete", "detach"],
    "message_id": VALUES,
    "app": [*VALUES, APPS[0].upper(), APPS[0].replace("-", ""), f"{{{APPS[0]}}}", APPS[0] + "\n"],
    "record": [*VALUES, RECORDS[1], RECORDS[1].replace("-", "")],
    "at": VALUES,
    "kind": [*VALUES, "push", "email", "sms", "user", "web"],
    "only": VALUES,
    "links": [
        *VALUES,
        *({label: parent} for label in (*LABELS, "phone") for parent in (*VALUES, *RECORDS)),
    ],
    "patch": PATCHES,
    "extra": VALUES,
}


@pytest.mark.parametrize("op", ["update", "delete", "detach"])
@pytest.mark.parametrize("name", ODD)
def test_both_readers_take_the_same_messages_for_updates(name: str, op: str) -> None:
    without = _message(op=op)
    without.pop(name, None)
    for fields in (without, *(_message(**{"op": op, name: odd}) for odd in ODD[name])):
        for escaped in (True, False):
            text = json.dumps(fields, ensure_ascii=escaped)
            _assert_read_alike(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("size", [32 * 1024, 32 * 1024 + 1])
def test_both_readers_refuse_the_same_sizes(size: int) -> None:
    body = json.dumps(_message()).encode()
    _assert_read_alike(body + b" " * (size - len(body)))


@given(st.one_of(st.binary(max_size=40), st.none(), st.text(max_size=40).map(str.encode)))
@example(b"[" * 20_000)
@example(b"9" * 5_000)
@example(b'{"v": 1, "v": 2}')
def test_both_readers_refuse_what_is_no_message(body: bytes | None) -> None:
    _assert_read_alike(body)


def _assert_read_alike(body: bytes | None) -> None:
    must, found = wire.read(body), read(body)
    assert (must is None) == isinstance(found, Unreadable), (body, found)
