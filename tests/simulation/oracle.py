"""What must be true at the end of every schedule: the database is the serial replay of the logs.

The replay decides every offset again, in log order, one at a time, under the policy that was
recorded for it, and applies every write at once. No chunks, lanes, merging or plans. Where an operator
gave updates up (a topic made again, messages deleted before they were applied), their decisions stand
and those of their writes that no lane had reached are left out.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from ingest.ports import Fetched
from notify.domain.engine.lanes import lane_of, partition_of
from notify.domain.engine.stream import StreamRow
from notify.domain.records.decide import MALFORMED, MISROUTED, decide, writes
from notify.domain.records.idempotency import SeenKey, key_of
from notify.domain.records.links import Links
from notify.domain.records.patch import apply
from notify.domain.records.policy import Policy
from notify.domain.records.update import Update, read
from tests.fakes import State, Tables
from tests.simulation.traffic import LATER
from tests.simulation.workers import KILLER, POISON
from tests.simulation.world import World

Dropped = tuple[str | None, str | None, str, int | None]  # app, record, reason, rule


@dataclass(slots=True)
class Replay:
    """What the serial replay comes to."""

    records: dict[tuple[str, str], State] = field(default_factory=dict)
    links: Links = field(default_factory=Links)
    dead: Counter[tuple[int, int]] = field(default_factory=Counter)
    dropped: Counter[Dropped] = field(default_factory=Counter)
    #: When a client's message id was counted.
    seen: dict[SeenKey, int] = field(default_factory=dict)

    def take(
        self,
        stream: int,
        message: Fetched,
        policy: Policy,
        *,
        now: int,
        seen_ms: int,
        routed: Callable[[str], bool],
        given_up: Callable[[str, str], bool],
    ) -> None:
        """Decide one message, and apply at once those of its writes that were not given up."""
        update = read(message.value, reads=LATER)
        is_routed = not isinstance(update, Update) or routed(update.app)
        counted = key_of(update)
        repeated = counted in self.seen and self.seen[counted] > now - seen_ms
        decision, changes = decide(update, self.links, policy, routed=is_routed, repeated=repeated)
        if counted is not None and decision.own and not decision.repeated:
            self.seen[counted] = now
        self.links.put(changes)
        for reason, record, rule in decision.reasons:
            if reason in (MALFORMED, MISROUTED):
                self.dead[stream, message.offset] += 1
            elif isinstance(update, Update):
                self.dropped[update.app, record, reason, rule] += 1
        for write in writes(update, decision):
            key = (write.app, write.record)
            if given_up(*key):
                continue
            if POISON in write.patch.ops or KILLER in write.patch.ops:
                self.dead[stream, message.offset] += 1
            else:
                self.records[key] = apply(self.records.get(key, {}), write.patch)


def violations(world: World) -> list[str]:
    """Every difference between the tables, after all has drained, and the serial replay."""
    tables = world.db.tables
    if world.db.topic_id != world.topic.id:
        return ["not drained: nobody halted the streams of a topic that is gone"]
    replay = Replay()
    policies = {policy.version: policy for policy in world.db.policies}
    for stream in sorted(tables.streams.values(), key=lambda row: row.id):
        log = world.topics[stream.topic_id][stream.partition]
        is_active = stream.topic_id == world.topic.id
        if is_active and not stream.frontier == stream.planned == log.end:
            return [f"not drained: {stream}, log end {log.end}"]
        found = _chunks(world, stream)
        if isinstance(found, str):
            return [found]
        at = 0
        for message in log.messages:
            while at < len(found) and found[at][1] <= message.offset:
                at += 1
            if at == len(found) or message.offset < found[at][0]:
                continue  # never decided: given up, or after what a retired stream planned
            _, _, version, now = found[at]
            replay.take(
                stream.id,
                message,
                policies[version].at(now),
                now=now,
                seen_ms=world.db.seen_ms,
                routed=lambda app, stream=stream: (  # type: ignore[misc]
                    partition_of(app, len(world.topic.partitions)) == stream.partition
                ),
                given_up=_given_up(world, stream, message.offset, is_active=is_active),
            )
    return _differences(tables, replay)


def _chunks(world: World, stream: StreamRow) -> list[tuple[int, int, int, int]] | str:
    """(first, next, policy version, time) by first, without a gap but those of the undecided."""
    chunks = sorted(
        (first, *rest) for (of, first), rest in world.db.tables.plan_log.items() if of == stream.id
    )
    gaps = {(first, end) for of, first, end in world.undecided if of == stream.id}
    for before, after in pairwise(chunks):
        if before[1] != after[0] and not _covered(before[1], after[0], gaps):
            return f"stream {stream.id}: chunk {before} is followed by {after}"
    return chunks


def _covered(first: int, end: int, gaps: set[tuple[int, int]]) -> bool:
    """Whether gaps, one after the other, fill first..end-1."""
    while first < end:
        following = [after for before, after in gaps if before == first]
        if not following:
            return False
        first = max(following)
    return first == end


def _given_up(
    world: World, stream: StreamRow, offset: int, *, is_active: bool
) -> Callable[[str, str], bool]:
    lasts = world.db.tables.lanes
    ranges = [each for each in world.given_up if each.stream == stream.id and offset < each.before]

    def given_up(app: str, record: str) -> bool:
        if any(
            each.lane == lane_of(app, record, each.lanes) and each.after < offset for each in ranges
        ):
            return True
        lane = lane_of(app, record, stream.lanes)
        return not is_active and lasts[stream.id, lane].last < offset

    return given_up


def _differences(tables: Tables, replay: Replay) -> list[str]:
    found = [
        f"{key}: is {tables.records.get(key)}, must be {replay.records.get(key)}"
        for key in replay.records.keys() | tables.records.keys()
        if replay.records.get(key) != tables.records.get(key)
    ]
    dead = Counter((stream, offset) for stream, offset, _, _ in tables.dead)
    listed: Counter[Dropped] = Counter()
    for _, row in tables.skipped:
        listed[row.app, row.record, row.reason, row.rule] += row.n
    for name, mine, theirs in (
        ("links", replay.links.parents, tables.parents),
        ("generations", replay.links.generations, tables.generations),
        ("counts", +Counter(replay.links.counts), +Counter(tables.counts)),
        ("dead letters", replay.dead, dead),
        ("skipped", replay.dropped, listed),
        ("seen", replay.seen, tables.seen),
    ):
        if mine != theirs:
            found.append(f"{name}: are {theirs}, must be {mine}")
    return found
