"""What must be true at the end of every schedule: the database is the serial replay of the log.

The replay decides every offset again, in log order, one at a time, under the policy that was
recorded for it, and applies every write at once. No chunks, lanes, merging or plans.
"""

from collections import Counter

from notify.domain.decide import decide, writes
from notify.domain.lanes import partition_of
from notify.domain.links import Links
from notify.domain.patch import apply
from notify.domain.policy import Policy
from notify.domain.update import Update, read
from tests.fakes import State, Tables
from tests.simulation.world import KILLER, POISON, Partition


def violations(
    tables: Tables, log: list[Partition], policies: list[Policy]
) -> list[str]:
    """Every difference between `tables`, after all has drained, and the serial replay."""
    found: list[str] = []
    records: dict[tuple[str, str], State] = {}
    dead: Counter[tuple[int, int]] = Counter()
    dropped: Counter[tuple[str | None, str | None, str, int | None]] = Counter()
    links = Links()
    by_version = {policy.version: policy for policy in policies}
    for stream in tables.streams.values():
        partition = log[stream.partition]
        if stream.frontier != stream.planned or stream.planned != partition.end:
            return [f"not drained: {stream}, log end {partition.end}"]
        chunks = sorted(
            (first, *rest) for (of, first), rest in tables.plan_log.items() if of == stream.id
        )
        edges = [first for first, *_ in chunks] + [chunks[-1][1]] if chunks else []
        if any(chunks[n][1] != chunks[n + 1][0] for n in range(len(chunks) - 1)):
            found.append(f"the plan log has gaps or overlaps: {edges}")
        for offset, value in partition.messages:
            version, at = next(
                (version, at) for first, end, version, at in chunks if first <= offset < end
            )
            update = read(value)
            routed = not isinstance(update, Update) or (
                partition_of(update.app, len(log)) == stream.partition
            )
            decision, changes = decide(update, links, by_version[version].at(at), routed=routed)
            links.put(changes)
            for reason, record, rule in decision.reasons:
                if reason in ("malformed", "misrouted"):
                    dead[stream.id, offset] += 1
                elif isinstance(update, Update):
                    dropped[update.app, record, reason, rule] += 1
            for write in writes(update, decision):
                key = (write.app, write.record)
                if POISON in write.patch.ops or KILLER in write.patch.ops:
                    dead[stream.id, offset] += 1
                else:
                    records[key] = apply(records.get(key, {}), write.patch)
    if records != tables.records:
        for key in records.keys() | tables.records.keys():
            if records.get(key) != tables.records.get(key):
                found.append(f"{key}: is {tables.records.get(key)}, must be {records.get(key)}")
    if links.parents != tables.parents:
        found.append("links differ")
    if links.generations != tables.generations:
        found.append("generations differ")
    if {k: n for k, n in links.counts.items() if n} != {k: n for k, n in tables.counts.items() if n}:
        found.append("counts differ")
    if dead != Counter((stream, offset) for stream, offset, _, _ in tables.dead):
        found.append(f"dead letters: {tables.dead}, must be {dict(dead)}")
    listed: Counter[tuple[str | None, str | None, str, int | None]] = Counter()
    for _, row in tables.skipped:
        listed[row.app, row.record, row.reason, row.rule] += row.n
    if dropped != listed:
        found.append(f"skipped: {listed}, must be {dropped}")
    return found
