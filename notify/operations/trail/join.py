"""From log lines and facts to the whole way of an update. Pure: nothing is read here.

Lines may come in any order, twice, and from sends that came to nothing; any of them may be missing, and
PostgreSQL too. What is not known is told as such, never guessed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from notify.domain.records.decide import (
    LINK_REFUSED,
    MALFORMED,
    MIRROR_STOPPED,
    MISROUTED,
    SKIPPED,
    Decision,
)
from notify.operations.trail.facts import ChunkFacts, Facts
from notify.operations.trail.lines import Accepted, BatchEvent, ChunkPlanned, Step, Writer
from notify.operations.trail.sources import CLOCKS_APART

OWN: Final = "own"
MIRROR: Final = "mirror"
#: How the error of a message begins that could not be decided.
_UNDECIDABLE: Final = (f"{MALFORMED}:", f"{MISROUTED}:")
_SENT: Final = "sent"
_APPLIED: Final = "applied"
_DEAD_LETTERED: Final = "dead_lettered"
#: Outcomes that move the lane to the batch's end.
_MOVES: Final = frozenset((_APPLIED, _DEAD_LETTERED))
#: Reasons for which the record that they name gets no write; an alias that is not given is none.
_NOT_WRITTEN: Final = frozenset((SKIPPED, MIRROR_STOPPED, LINK_REFUSED))


class UpdateState(StrEnum):
    """What became of an update, or of one write of it."""

    APPLIED = "applied"
    SKIPPED = "skipped"
    DEAD_LETTERED = "dead_lettered"
    #: Decided, and its lane has not come so far.
    WAITING = "waiting"
    UNDECIDED = "undecided"
    #: The sources do not say.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Decided:
    """The chunk that the update was decided in, as far as log and plan_log say."""

    at: datetime
    first: int
    next: int
    policy: int | None
    messages: int | None
    by: Writer | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A write that was not made. `is_certain` is False where only the chunk's sum is known, and the
    update may be one of the `n`."""

    record: str
    reason: str
    rule: int | None
    n: int
    is_certain: bool


@dataclass(frozen=True, slots=True)
class Passage:
    """The way of one write through its lane. `tries` are outcomes that did not apply it, in order;
    `done` is the one that did, the last where PostgreSQL lost one before.

    `is_recorded` is False where the decision is not stored any more, so that the record is told by
    its id and the links of now. `error` is the dead letter's.
    """

    record: str
    role: str
    lane: int | None
    state: UpdateState
    is_recorded: bool
    sent: tuple[BatchEvent, ...] = ()
    tries: tuple[BatchEvent, ...] = ()
    done: BatchEvent | None = None
    lane_last: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Trail:
    """The way of one update. `undecided_messages`: decided before it will be."""

    accepted: Accepted
    state: UpdateState
    decided: Decided | None
    dropped: tuple[Dropped, ...]
    passages: tuple[Passage, ...]
    error: str | None = None
    halted: str | None = None
    undecided_messages: int | None = None

    @property
    def ended_at(self) -> datetime | None:
        """When the last of its writes was made, if all are and the log says when."""
        ends = [passage.done.at for passage in self.passages if passage.done is not None]
        if self.state is not UpdateState.APPLIED or len(ends) != len(self.passages):
            return None
        return max(ends, default=None)


def join(accepted: Accepted, steps: Iterable[Step], facts: Facts | None) -> Trail:
    """The way of `accepted`. Steps of other places and of long before are ignored; `facts` is None
    where PostgreSQL is away."""
    mine = _mine(accepted, steps)
    planned = [step for step in mine if isinstance(step, ChunkPlanned)]
    batches = [step for step in mine if isinstance(step, BatchEvent)]
    facts = facts or Facts()
    chunk = facts.chunks.get((accepted.partition, accepted.offset))
    decided = _decided(planned, chunk)
    stream = facts.streams.get(accepted.partition)
    halted = None if stream is None else stream.halted
    if decided is None and stream is not None and accepted.offset >= stream.planned:
        waiting = accepted.offset - stream.planned
        return Trail(accepted, UpdateState.UNDECIDED, None, (), (), None, halted, waiting)
    decision = None if chunk is None else chunk.decision
    dead_here = [
        each
        for each in facts.dead
        if (each.partition, each.offset) == (accepted.partition, accepted.offset)
    ]
    undecidable = next(
        (each.error for each in dead_here if each.error.startswith(_UNDECIDABLE)), None
    )
    if undecidable is not None:
        return Trail(accepted, UpdateState.DEAD_LETTERED, decided, (), (), undecidable, halted)
    dropped = _dropped(accepted, decision, facts)
    passages = tuple(
        _passage(accepted, record, role, batches, facts, is_recorded=decision is not None)
        for record, role in _targets(accepted, decision, dropped, facts)
    )
    return Trail(accepted, _state(passages, dropped), decided, dropped, passages, None, halted)


def _mine(accepted: Accepted, steps: Iterable[Step]) -> list[Step]:
    """The steps that hold the update, each once, in the order of their times. Older ones are of
    another topic that had the same offsets, or lines without their Kafka."""
    found = {
        step
        for step in steps
        if step.partition == accepted.partition
        and step.covers(accepted.offset)
        and step.at >= accepted.at - CLOCKS_APART
    }
    return sorted(found, key=lambda step: step.at)


def _decided(planned: Sequence[ChunkPlanned], chunk: ChunkFacts | None) -> Decided | None:
    """The chunk as PostgreSQL has it, and the time of its line, which is written after the commit;
    without a row the newest line: a chunk whose commit PostgreSQL lost was decided again."""
    if chunk is None:
        if not planned:
            return None
        line = planned[-1]
        return Decided(line.at, line.first, line.next, line.policy, line.messages, line.by)
    same = [line for line in planned if (line.first, line.next) == (chunk.first, chunk.next)]
    if not same:
        return Decided(chunk.at, chunk.first, chunk.next, chunk.policy, None, None)
    line = same[-1]
    return Decided(line.at, chunk.first, chunk.next, chunk.policy, line.messages, line.by)


def _dropped(accepted: Accepted, decision: Decision | None, facts: Facts) -> tuple[Dropped, ...]:
    if decision is not None:
        return tuple(
            Dropped(each.record, each.reason, each.rule, 1, True) for each in decision.reasons
        )
    rows = [row for row in facts.dropped if row.covers(accepted.partition, accepted.offset)]
    return tuple(Dropped(row.record, row.reason, row.rule, row.n, row.is_all) for row in rows)


def _targets(
    accepted: Accepted, decision: Decision | None, dropped: Sequence[Dropped], facts: Facts
) -> list[tuple[str, str]]:
    """The records that the update writes to, its own first."""
    linked = facts.linked.get((accepted.app, accepted.record))
    if decision is not None:
        own = [decision.target or accepted.record] if decision.own else []
        return [(each, OWN) for each in own] + [(each, MIRROR) for each in decision.mirrors]
    own_record = accepted.record if linked is None else linked.target
    gone = {each.record for each in dropped if each.is_certain and each.reason in _NOT_WRITTEN}
    targets = [(own_record, OWN)]
    if linked is not None:
        targets += [(parent, MIRROR) for _, parent in linked.parents]
    if own_record in gone:
        return []
    return [(record, role) for record, role in targets if record not in gone]


def _passage(
    accepted: Accepted,
    record: str,
    role: str,
    batches: Sequence[BatchEvent],
    facts: Facts,
    *,
    is_recorded: bool,
) -> Passage:
    lane = facts.lane(accepted.partition, accepted.app, record)
    mine = [batch for batch in batches if batch.lane == lane]
    sent = tuple(batch for batch in mine if batch.what == _SENT)
    done = next((batch for batch in reversed(mine) if batch.what in _MOVES), None)
    tries = tuple(batch for batch in mine if batch.what != _SENT and batch is not done)
    stream = facts.streams.get(accepted.partition)
    last = None if stream is None or lane is None else stream.lasts.get(lane)
    error = next(
        (
            each.error
            for each in facts.dead
            if (each.partition, each.offset, each.record)
            == (accepted.partition, accepted.offset, record)
        ),
        None,
    )
    is_behind = stream is not None and accepted.offset < stream.frontier
    if error is not None:
        state = UpdateState.DEAD_LETTERED
    elif done is not None or is_behind or (last is not None and last >= accepted.offset):
        state = UpdateState.APPLIED
    else:
        state = UpdateState.UNKNOWN if last is None else UpdateState.WAITING
    return Passage(record, role, lane, state, is_recorded, sent, tries, done, last, error)


def _state(passages: Sequence[Passage], dropped: Sequence[Dropped]) -> UpdateState:
    """The worst of what became of its writes."""
    states = {passage.state for passage in passages}
    for state in (
        UpdateState.DEAD_LETTERED,
        UpdateState.WAITING,
        UpdateState.UNKNOWN,
        UpdateState.APPLIED,
    ):
        if state in states:
            return state
    return UpdateState.SKIPPED if dropped else UpdateState.UNKNOWN
