"""What holds at every moment, judged from the tables and the logs alone, not from any bridge."""

from ingest.assigned_partition import AssignedPartition
from notify.domain.engine.lanes import lane_of
from notify.domain.engine.stream import PlanRow, StreamRow, needed_version
from notify.domain.records import plan as plans
from notify.domain.records.decide import OWN_ONLY, writes
from notify.domain.records.update import read
from tests.simulation.traffic import LATER
from tests.simulation.world import LIMITS, World

Target = tuple[str, str]


class Invariants:
    """Checked after each step. Remembers what was planned, since ticks delete it behind the frontier."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plans: dict[tuple[int, int], PlanRow] = {}
        self._targets: dict[int, dict[int, list[Target]]] = {}
        self._frontiers: dict[int, int] = {}
        self._halted: dict[int, tuple[int, int]] = {}
        self._commits_lost = 0

    def broken(self) -> list[str]:
        """What does not hold now."""
        self._note_plans()
        if self._world.commits_lost != self._commits_lost:
            # A stream may be as it was before its last resume, and halted for the reason that it had then.
            self._commits_lost = self._world.commits_lost
            self._halted.clear()
        found = []
        for stream in self._world.db.tables.streams.values():
            if stream.topic_id == self._world.topic.id:
                found += self._of(stream)
        found += [
            f"a bridge holds {assigned.memory.window.held_bytes} bytes of partition {assigned.partition}"
            for bridge, _ in self._world.bridges
            for assigned in bridge._assigned.values()
            if assigned.memory is not None and _exceeds(assigned)
        ]
        return found

    def _note_plans(self) -> None:
        for key, row in self._world.db.tables.plan.items():
            if self._plans.get(key) != row:
                self._plans[key] = row
                self._note(key[0], row.first, row.next, row.decisions)

    def _note(self, stream: int, first: int, end: int, encoded: bytes) -> None:
        targets = self._targets.setdefault(stream, {})
        decisions = plans.decode(first, encoded)
        row = self._world.db.tables.streams[stream]
        log = self._world.topics[row.topic_id][row.partition]
        cut = self._world.cut_logs.get(row.partition)
        if (
            cut is not None
            and row.topic_id == self._world.topic.id
            and self._world.planned_of(row, cut)
        ):
            log = cut
        for offset in [offset for offset in targets if offset >= first]:
            del targets[offset]
        for offset, value in log.read(first, end - first):
            if offset >= end:
                break
            content = read(value or b"", reads=LATER)
            found = writes(content, decisions.get(offset, OWN_ONLY))
            targets[offset] = [(write.app, write.record) for write in found]

    def _of(self, stream: StreamRow) -> list[str]:
        found = []
        if stream.frontier > stream.planned:
            found.append(f"the frontier passed planned: {stream}")
        if stream.halted is not None and not self._may_halt(stream.halted):
            found.append(f"halted without a cause: {stream}")
        stands = (stream.planned, stream.frontier)
        if stream.halted is None:
            self._halted.pop(stream.id, None)
        elif self._halted.setdefault(stream.id, stands) != stands:
            found.append(f"a halted stream moves: {stream}")
        before = self._frontiers.get(stream.id)
        if before != stream.frontier:
            self._frontiers[stream.id] = stream.frontier
            found += self._unapplied(stream)
        offsets = self._targets.get(stream.id, {})
        held = [at for at in offsets if stream.frontier <= at < stream.planned]
        if held and max(held) - min(held) >= LIMITS.window_offsets:
            found.append(f"the window is exceeded: {stream}")
        return found

    def _may_halt(self, reason: str) -> bool:
        waits = needed_version(reason) == LATER and self._world.later_share > 0
        return waits or self._world.may_halt

    def _unapplied(self, stream: StreamRow) -> list[str]:
        """Offsets behind the frontier whose lane is not past them."""
        lanes = self._world.db.tables.lanes
        given_up = max(
            (each.before for each in self._world.given_up if each.stream == stream.id), default=0
        )
        found = []
        targets = self._targets.get(stream.id, {})
        for offset in [offset for offset in targets if offset < stream.frontier]:
            for app, record in targets[offset]:
                lane = lane_of(app, record, stream.lanes)
                if offset >= given_up and lanes[stream.id, lane].last < offset:
                    found.append(
                        f"the frontier {stream.frontier} of stream {stream.id} passed offset "
                        f"{offset}, which lane {lane} has not applied"
                    )
        return found


def _exceeds(assigned: AssignedPartition) -> bool:
    """One message may exceed the bound alone, and a chunk is measured before its mirrors are known."""
    assert assigned.memory is not None
    return assigned.memory.window.held_bytes > LIMITS.window_bytes + 3 * LIMITS.chunk_bytes
