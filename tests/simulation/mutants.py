"""The protocol's guards, each taken away by a switch of its own.

A mutant patches the product, or names a guard of tests/fakes.py, which stands for the worker's SQL.
`weights` say what its schedules need often, where the seed's own dice would take too long.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest
from msgspec import structs

from ingest import planner
from ingest.assigned_partition import AssignedPartition, PartitionPhase
from ingest.bridge import Bridge
from ingest.bridge_limits import BridgeLimits
from ingest.planner import Message
from ingest.ports import Chunk, LedgerAway, Loaded
from ingest.stream_memory import StreamMemory
from notify.domain.engine import stream as streams
from notify.domain.engine.digest import Expected
from notify.domain.engine.stream import LaneRow, LogFacts, StreamRow
from notify.domain.engine.task import Segment
from notify.domain.engine.window import Batch, Lane, Window
from notify.domain.records import links as linking
from notify.domain.records import patch as patches
from notify.domain.records import plan as plans
from notify.domain.records import task_rows
from notify.domain.records.decide import Decision, Write, writes
from notify.domain.records.idempotency import SeenKey
from notify.domain.records.patch import PUSH_IDENTIFIER, compose
from notify.domain.records.policy import Policy
from notify.domain.records.update import Newer, Unreadable, Update, read
from tests.fakes import MemoryLanes, MemoryLedger, MemoryTick
from tests.simulation.kafka import SimLog
from tests.simulation.workers import SimLanes
from workers.apply import NO_ROWS, StreamLane

Patch = Callable[[pytest.MonkeyPatch], None]
Weights = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard's absence."""

    guard: str
    apply: Patch = lambda patch: None
    without: frozenset[str] = frozenset()
    weights: Weights = field(default_factory=dict)


MUTANTS: Final[dict[str, Mutant]] = {}
#: A dead token does harm only where lost commits came back different: lose many.
LOSING: Final[Weights] = {"lose_commits": 8, "rebalance": 4, "start_bridge": 3}
#: And decide the same offsets differently: policy that ends meanwhile.
CHANGING: Final[Weights] = {**LOSING, "edit_policy": 15, "pass_time": 20}
#: Kafka loses messages, and takes others in their place before a Load looks.
REFILLED: Final[Weights] = {"lose_messages": 3, "produce": 60, "kill_bridge": 2, "start_bridge": 3}


def _mutant(name: str, guard: str, weights: Weights | None = None) -> Callable[[Patch], Patch]:
    def add(apply: Patch) -> Patch:
        MUTANTS[name] = Mutant(guard, apply, weights=weights or {})
        return apply

    return add


for _name, _guard in (
    ("prev", "the worker's lane check: lane.last = prev"),
    ("equality", "equality in the lane check, instead of a high-water mark"),
    ("token", "the worker's check of the stream's token"),
    ("planned", "the worker's check that the batch's last is planned"),
    ("lane", "a row is written only if its own lane was moved"),
):
    MUTANTS[f"worker-without-{_name}"] = Mutant(
        _guard,
        without=frozenset([_name]),
        weights={} if _name in ("prev", "lane") else CHANGING,
    )


@_mutant("rows-apart-from-lane", "rows and lane in one transaction")
def _rows_apart(patch: pytest.MonkeyPatch) -> None:
    whole = MemoryLanes.apply

    def apart(self: SimLanes, segments: Sequence[Segment], rows: str) -> set[StreamLane]:
        moved = whole(self, segments, NO_ROWS)
        if not moved or self._world.chance(0.05):
            return moved  # the worker died between the two
        kept = dict(self._db.tables.lanes)
        self._db.without = frozenset(["prev", "token", "planned"])
        try:
            whole(self, [each for each in segments if (each.stream, each.lane) in moved], rows)
        finally:
            self._db.without = frozenset()
        self._db.tables.lanes.update(kept)
        return moved

    patch.setattr(MemoryLanes, "apply", apart)


@_mutant("rows-without-their-lane", "the rows of a task of several lanes name their lane")
def _rows_do_not_name_their_lane(patch: pytest.MonkeyPatch) -> None:
    row = task_rows.row
    patch.setattr(
        "notify.domain.records.task_rows.row", lambda stream, write, lane=None: row(stream, write)
    )


@_mutant("frontier-is-the-maximum", "the frontier as the minimum over the lanes")
def _frontier_is_the_highest_head(patch: pytest.MonkeyPatch) -> None:
    def frontier(self: Window[Write], planned: int) -> int:
        heads = [head for lane in self.lanes.values() if (head := lane.outstanding()) is not None]
        return max(heads, default=planned)

    patch.setattr(Window, "frontier", frontier)


@_mutant("applied-writes-kept", "a Load drops what lane.last covers")
def _applied_writes_are_not_dropped(patch: pytest.MonkeyPatch) -> None:
    add = Window.add

    def forgetful(self: Window[Write], writes: Iterable[Any]) -> None:
        lasts = {number: lane.last for number, lane in self.lanes.items()}
        for lane in self.lanes.values():
            lane.last = -1
        add(self, writes)
        for number, lane in self.lanes.items():
            lane.last = lasts[number]

    patch.setattr(Window, "add", forgetful)


@_mutant("decisions-not-recorded", "decisions are recorded, not taken again")
def _decisions_are_not_recorded(patch: pytest.MonkeyPatch) -> None:
    make = StreamMemory.of

    def forgetful(loaded: Loaded, **of: Any) -> StreamMemory:
        return make(replace(loaded, plan=[]), **of)

    patch.setattr(StreamMemory, "of", forgetful)


@_mutant("links-outside-the-tick", "link changes in the tick's transaction")
def _links_are_written_apart(patch: pytest.MonkeyPatch) -> None:
    write = MemoryTick.write

    def apart(self: MemoryTick, stream: int, *, chunk: Chunk | None, **progress: Any) -> None:
        write(self, stream, chunk=chunk, **progress)
        tables = self._db.tables
        kept.append((dict(tables.parents), dict(tables.generations), dict(tables.counts)))

    @contextmanager
    def tick(self: MemoryLedger, ids: Sequence[int]) -> Iterator[MemoryTick]:
        kept.clear()
        try:
            with self._transaction():
                yield MemoryTick(self._db, ids)
        except LedgerAway:
            if kept:
                tables = self._db.tables
                tables.parents, tables.generations, tables.counts = kept[-1]
            raise

    kept: list[tuple[Any, Any, Any]] = []
    patch.setattr(MemoryTick, "write", apart)
    patch.setattr(MemoryLedger, "tick", tick)


def _blind(patch: pytest.MonkeyPatch, **seen: Callable[..., Any]) -> None:
    """The tick takes what it remembers for what stands in the row."""
    check = streams.tick_surprise

    def blind(
        stream: StreamRow | None,
        lanes: Mapping[int, LaneRow],
        window: Window[Write],
        *,
        token: int,
        planned: int,
    ) -> str | None:
        mine = {"token": token, "planned": planned}
        as_mine = {name: mine[name] for name in seen}
        row = None if stream is None else replace(stream, **as_mine)  # type: ignore[arg-type]
        return check(row, lanes, window, token=token, planned=planned)

    patch.setattr("ingest.bridge.tick_surprise", blind)


@_mutant("tick-without-token", "the tick's check of the token")
def _no_token_check(patch: pytest.MonkeyPatch) -> None:
    _blind(patch, token=int)


@_mutant("tick-without-planned", "the tick's check of planned", LOSING)
def _no_planned_check(patch: pytest.MonkeyPatch) -> None:
    _blind(patch, planned=int)


@_mutant("tick-without-either", "the tick's checks of token and planned together")
def _no_checks(patch: pytest.MonkeyPatch) -> None:
    _blind(patch, planned=int, token=int)


@_mutant("stray-lane-adopted", "the tick's check of the lanes; a Load instead of adopting a cursor")
def _a_stray_lane_is_adopted(patch: pytest.MonkeyPatch) -> None:
    def landed(self: Window[Write], number: int, last: int) -> bool:
        lane = self.lanes[number]
        lane.last, lane.in_flight = max(last, lane.last), None
        return True

    patch.setattr(Window, "landed", landed)


@_mutant("token-counted", "tokens are random")
def _tokens_are_counted(patch: pytest.MonkeyPatch) -> None:
    load = MemoryLedger.load

    def counting(self: MemoryLedger, stream: int, token: int) -> Loaded | None:
        return load(self, stream, self._db.tables.streams[stream].token + 1)

    patch.setattr(MemoryLedger, "load", counting)


@_mutant("position-from-kafka", "the position is PostgreSQL's, not Kafka's committed offset")
def _position_is_kafkas(patch: pytest.MonkeyPatch) -> None:
    seek = SimLog.seek

    def committed(self: SimLog, partition: int, offset: int) -> None:
        seek(self, partition, self._world.committed_offsets.get(partition, 0))

    patch.setattr(SimLog, "seek", committed)


@_mutant("fetched-before-the-seek", "messages fetched before the seek are dropped")
def _nothing_is_sought(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimLog, "seek", lambda self, partition, offset: None)


@_mutant("cut-inside-an-offset", "a batch is never cut inside an offset", {"edit_policy": 0.1})
def _cut_inside_an_offset(patch: pytest.MonkeyPatch) -> None:
    take = Window.take

    def short(
        self: Window[Write], number: int, *, max_rows: int, max_bytes: int
    ) -> Batch[Write] | None:
        batch = take(self, number, max_rows=max_rows, max_bytes=max_bytes)
        if batch is None or len(batch.merged) < 2:
            return batch
        batch = replace(batch, merged=batch.merged[: max_rows - 1])
        self.lanes[number].in_flight = batch
        return batch

    patch.setattr(Window, "take", short)


@_mutant("nothing-isolated", "isolation of bad data")
def _nothing_is_isolated(patch: pytest.MonkeyPatch) -> None:
    def mixed(last: int, isolate: int = -1, one_at_a_time: bool = False) -> Lane[Write]:
        return Lane(last)

    patch.setattr("ingest.stream_memory.Lane", mixed)


@_mutant("not-one-at-a-time", "isolation narrows to one offset (decision 0011)")
def _never_one_at_a_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("workers.apply.ONE_AT_A_TIME", 0)


@_mutant("tries-not-counted", "tries are counted before a batch that may kill its worker")
def _tries_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimLanes, "count_try", lambda self, segment: 1)


@_mutant("nothing-sent-again", "what has not landed is sent again")
def _nothing_is_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Bridge, "resend", lambda self: None)


@_mutant("replaced-not-noticed", "what is read again is what was planned, else it halts", REFILLED)
def _replaced_messages_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Expected, "replaced", lambda self: None)


@_mutant("missing-not-noticed", "each planned message is there when it is read again", REFILLED)
def _missing_messages_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Expected, "replaced", lambda self: self._other)


@_mutant("last-not-expected", "the last planned message is compared when all is applied", REFILLED)
def _the_last_message_is_not_compared(patch: pytest.MonkeyPatch) -> None:
    make = StreamMemory.of

    def forgetful(loaded: Loaded, **of: Any) -> StreamMemory:
        return make(replace(loaded, stream=replace(loaded.stream, last_message=None)), **of)

    patch.setattr(StreamMemory, "of", forgetful)


@_mutant("deaf-for-ever", "the log is opened again if a partition is not read", {"deafen": 1})
def _deaf_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Bridge, "check_reading", lambda self: None)


@_mutant("later-release-decided", "nothing is decided of a message of a later release")
def _messages_of_a_later_release_are_decided(patch: pytest.MonkeyPatch) -> None:
    def known(value: bytes | None, *, reads: int) -> Update | Unreadable:
        content = read(value, reads=reads)
        return Unreadable(content.error) if isinstance(content, Newer) else content

    patch.setattr("ingest.stream_memory.read", known)


@_mutant("upgrade-not-noticed", "a halt for an upgrade ends at a bridge of the later release")
def _the_upgrade_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Bridge, "_ends_halt", lambda self, reason: False)


@_mutant("later-plan-disagrees", "what a later release planned halts the stream until the upgrade")
def _what_a_later_release_planned_disagrees(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        StreamMemory, "_writes", lambda self, message, decision: writes(message.content, decision)
    )


@_mutant("lanes-change-undrained", "a stream drains before its lane count changes")
def _lanes_change_without_a_drain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StreamRow, "drained", property(lambda self: True))


@_mutant("merged-in-the-wrong-order", "compose is associative and in order")
def _merged_in_the_wrong_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("notify.domain.records.decide.compose", lambda first, then: compose(then, first))


@_mutant("token-outlives-identifier", "an identifier of any kind replaces an earlier push token")
def _token_outlives_identifier(patch: pytest.MonkeyPatch) -> None:
    def kept(first: patches.Patch, then: patches.Patch) -> patches.Patch:
        made = compose(first, then)
        token = first.ops.get(PUSH_IDENTIFIER)
        if token is None or then.reset or PUSH_IDENTIFIER in made.ops:
            return made
        return patches.Patch(made.reset, {**made.ops, PUSH_IDENTIFIER: token})

    patch.setattr("notify.domain.records.decide.compose", kept)


@_mutant("newest-kind-kept", "a record keeps its first kind")
def _newest_kind_is_kept(patch: pytest.MonkeyPatch) -> None:
    def newest(first: patches.Patch, then: patches.Patch) -> patches.Patch:
        made = compose(first, then)
        if "kind" not in then.ops:
            return made
        return patches.Patch(made.reset, {**made.ops, "kind": then.ops["kind"]})

    patch.setattr("notify.domain.records.decide.compose", newest)


@_mutant("token-sent-as-an-identifier", "a row says that its identifier is a push token")
def _token_sent_as_an_identifier(patch: pytest.MonkeyPatch) -> None:
    row = task_rows.row

    def unsaid(stream: int, write: Write, lane: int | None = None) -> dict[str, Any]:
        said = row(stream, write, lane)
        return {key: value for key, value in said.items() if key not in ("ip", "iu")}

    patch.setattr("notify.domain.records.task_rows.row", unsaid)


@_mutant(
    "loading-streams-ticked", "the loading state: no tick before the position has reached planned"
)
def _loading_streams_are_ticked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AssignedPartition, "live", lambda self: self.memory)


@_mutant("live-at-the-last-message", "loading ends at the position, since offsets have holes")
def _live_too_early(patch: pytest.MonkeyPatch) -> None:
    note = Bridge._note_position

    def early(self: Bridge, assigned: AssignedPartition, memory: StreamMemory) -> None:
        note(self, assigned, memory)
        if memory.window.held_bytes:
            assigned.phase = PartitionPhase.LIVE

    patch.setattr(Bridge, "_note_position", early)


@_mutant("window-unbounded", "the window's bound in offsets")
def _window_is_unbounded(patch: pytest.MonkeyPatch) -> None:
    fits = StreamMemory._fits

    def roomy(
        self: StreamMemory,
        message: Message,
        count: int,
        size: int,
        oldest: int,
        limits: BridgeLimits,
    ) -> bool:
        return fits(self, message, count, size, oldest, replace(limits, window_offsets=10**6))

    patch.setattr(StreamMemory, "_fits", roomy)


@_mutant("window-bytes-unbounded", "the window's bound in bytes", {"work": 3, "produce": 60})
def _window_bytes_are_unbounded(patch: pytest.MonkeyPatch) -> None:
    fits = StreamMemory._fits

    def roomy(
        self: StreamMemory,
        message: Message,
        count: int,
        size: int,
        oldest: int,
        limits: BridgeLimits,
    ) -> bool:
        wide = replace(limits, window_bytes=10**9, window_offsets=10**6)
        return fits(self, message, count, size, oldest, wide) and (
            message.offset - oldest < limits.window_offsets
        )

    patch.setattr(StreamMemory, "_fits", roomy)


def _facts(patch: pytest.MonkeyPatch, hide: Callable[[StreamRow, LogFacts], LogFacts]) -> None:
    check = streams.halt_reason

    def blind(stream: StreamRow, facts: LogFacts, *, partitions_stored: int) -> str | None:
        return check(stream, hide(stream, facts), partitions_stored=partitions_stored)

    patch.setattr("ingest.bridge.halt_reason", blind)


@_mutant("topic-id-ignored", "a stream halts if the topic's id differs", {"make_topic_again": 2})
def _topic_id_is_ignored(patch: pytest.MonkeyPatch) -> None:
    _facts(patch, lambda stream, facts: replace(facts, topic_id=stream.topic_id))


@_mutant(
    "log-start-ignored",
    "a stream halts if the log starts after its frontier",
    {"delete_old_messages": 3, "operate": 0.5},
)
def _log_start_is_ignored(patch: pytest.MonkeyPatch) -> None:
    _facts(patch, lambda stream, facts: replace(facts, start=0))


@_mutant(
    "partition-not-checked", "the bridge checks again that a message is in its app's partition"
)
def _misrouted_is_taken(patch: pytest.MonkeyPatch) -> None:
    plan = planner.plan_chunk

    def careless(*messages: Any, **of: Any) -> planner.Planned:
        return plan(*messages, **(of | {"is_routed": lambda app: True}))

    patch.setattr("ingest.bridge.plan_chunk", careless)


@_mutant("generation-kept", "a delete raises the record's generation", {"edit_policy": 0.1})
def _generations_are_kept(patch: pytest.MonkeyPatch) -> None:
    write = MemoryTick.write

    def forgetful(self: MemoryTick, stream: int, *, chunk: Chunk | None, **progress: Any) -> None:
        if chunk is not None:
            chunk.links.new_generations.clear()
        write(self, stream, chunk=chunk, **progress)

    patch.setattr(MemoryTick, "write", forgetful)


@_mutant("halted-ignored", "a halted stream is not ticked", {"lose_messages": 3, "operate": 0.5})
def _halted_is_ignored(patch: pytest.MonkeyPatch) -> None:
    check = streams.tick_surprise

    def blind(stream: StreamRow | None, *rest: Any, **mine: Any) -> str | None:
        return check(stream and replace(stream, halted=None), *rest, **mine)

    patch.setattr("ingest.bridge.tick_surprise", blind)


@_mutant("isolate-unseen", "the tick sees that a lane is to be isolated")
def _isolate_is_not_seen(patch: pytest.MonkeyPatch) -> None:
    check = streams.tick_surprise

    def blind(
        stream: StreamRow | None, lanes: Mapping[int, LaneRow], *rest: Any, **mine: Any
    ) -> str | None:
        return check(stream, {n: LaneRow(row.last) for n, row in lanes.items()}, *rest, **mine)

    patch.setattr("ingest.bridge.tick_surprise", blind)


@_mutant("plan-dropped-early", "plan rows are kept until the frontier is past them")
def _plan_is_dropped_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "tests.fakes._is_behind",
        lambda key, plan, stream, frontier: key[0] == stream and key[1] < frontier,
    )


@_mutant("policy-of-before", "the policy is read in the tick", {"edit_policy": 8})
def _policy_of_before(patch: pytest.MonkeyPatch) -> None:
    policy = MemoryTick.policy

    def before(self: MemoryTick) -> Policy:
        now = policy(self)
        return replace(self._db.policies[max(0, now.version - 1)], version=now.version)

    patch.setattr(MemoryTick, "policy", before)


@_mutant("retries-counted", "the tick looks whether a client's update was counted before")
def _retries_are_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTick, "seen", lambda self, keys: set())


@_mutant("seen-outside-the-tick", "what was counted is remembered in the tick's transaction")
def _seen_outside_the_tick(patch: pytest.MonkeyPatch) -> None:
    write = MemoryTick.write
    kept: dict[int, dict[SeenKey, int]] = {}

    def also_apart(self: MemoryTick, stream: int, *, chunk: Chunk | None, **progress: Any) -> None:
        apart = kept.setdefault(id(self._db), {})
        self._db.tables.seen |= apart
        write(self, stream, chunk=chunk, **progress)
        if chunk is not None:
            apart |= dict.fromkeys(chunk.seen, self.now)

    patch.setattr(MemoryTick, "write", also_apart)


@_mutant("names-not-followed", "the tick reads the links of what aliases lead to")
def _names_are_not_followed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("notify.domain.records.links._led_to", lambda found, seen, owned: set())


@_mutant("users-left-not-read", "the tick reads the links of the users that subscriptions leave")
def _users_that_are_left_are_not_read(patch: pytest.MonkeyPatch) -> None:
    named = linking.named

    def only_owners(updates: Iterable[Update | Unreadable]) -> linking.Named:
        known = list(updates)
        owned = {
            (each.app, each.record) for each in known if isinstance(each, Update) and each.owner
        }
        return named(known)._replace(owned=owned)

    patch.setattr("notify.domain.records.links.named", only_owners)


@_mutant("targets-not-recorded", "what an alias led to is recorded, not looked up again")
def _targets_are_not_recorded(patch: pytest.MonkeyPatch) -> None:
    encode = plans.encode

    def forgetful(first: int, decisions: Mapping[int, Decision]) -> bytes:
        return encode(
            first, {at: structs.replace(each, target=None) for at, each in decisions.items()}
        )

    patch.setattr("ingest.planner.plans.encode", forgetful)
