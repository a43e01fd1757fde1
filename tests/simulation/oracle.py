"""What must be true at the end of every schedule: the database is the serial replay of the log.

The replay decides every offset again, in log order, one at a time, under the policy that was
recorded for it, and applies every write at once. No chunks, lanes, merging or plans.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from ingest.ports import Fetched
from notify.domain.decide import MALFORMED, MISROUTED, decide, writes
from notify.domain.lanes import partition_of
from notify.domain.links import Links
from notify.domain.patch import apply
from notify.domain.policy import Policy
from notify.domain.update import Update, read
from tests.fakes import State, Tables
from tests.simulation.world import KILLER, POISON, Partition

Dropped = tuple[str | None, str | None, str, int | None]  # app, record, reason, rule


@dataclass(slots=True)
class Replay:
    """What the serial replay comes to."""

    records: dict[tuple[str, str], State] = field(default_factory=dict)
    links: Links = field(default_factory=Links)
    dead: Counter[tuple[int, int]] = field(default_factory=Counter)
    dropped: Counter[Dropped] = field(default_factory=Counter)

    def take(
        self, stream: int, message: Fetched, policy: Policy, *, partition: int, of: int
    ) -> None:
        """Decide one message, and apply its writes at once."""
        update = read(message.value)
        routed = not isinstance(update, Update) or partition_of(update.app, of) == partition
        decision, changes = decide(update, self.links, policy, routed=routed)
        self.links.put(changes)
        for reason, record, rule in decision.reasons:
            if reason in (MALFORMED, MISROUTED):
                self.dead[stream, message.offset] += 1
            elif isinstance(update, Update):
                self.dropped[update.app, record, reason, rule] += 1
        for write in writes(update, decision):
            key = (write.app, write.record)
            if POISON in write.patch.ops or KILLER in write.patch.ops:
                self.dead[stream, message.offset] += 1
            else:
                self.records[key] = apply(self.records.get(key, {}), write.patch)


def violations(tables: Tables, log: list[Partition], policies: list[Policy]) -> list[str]:
    """Every difference between `tables`, after all has drained, and the serial replay."""
    replay = Replay()
    by_version = {policy.version: policy for policy in policies}
    for stream in tables.streams.values():
        partition = log[stream.partition]
        if not stream.frontier == stream.planned == partition.end:
            return [f"not drained: {stream}, log end {partition.end}"]
        chunks = sorted(
            (first, *rest) for (of, first), rest in tables.plan_log.items() if of == stream.id
        )
        for before, after in pairwise(chunks):
            if before[1] != after[0]:
                return [f"stream {stream.id}: chunk {before} is followed by {after}"]
        for message in partition.messages:
            version, at = next(
                (version, at) for first, end, version, at in chunks if first <= message.offset < end
            )
            policy = by_version[version].at(at)
            replay.take(stream.id, message, policy, partition=stream.partition, of=len(log))
    return _differences(tables, replay)


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
    ):
        if mine != theirs:
            found.append(f"{name}: are {theirs}, must be {mine}")
    return found
