"""The state of a partition in one word, such as `ok` or `stalled`, derived from its recorded times.

The Overview, `manage.py status`, `/healthz/pipeline` and findings all use the words, meanings and cures
of this module, so that they never disagree. docs/operations.md has the same table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from django.conf import settings


class PartitionState(StrEnum):
    """The states of a partition. `state_of` chooses one."""

    HALTED = "halted"
    STARTING = "starting"
    STALLED = "stalled"
    UNHEARD = "unheard"
    UNREAD = "unread"
    STUCK = "stuck"
    UNKNOWN = "unknown"
    DRAINING = "draining"
    OK = "ok"


class StateDescription(NamedTuple):
    """What a state means, what to do, and the section of docs/operations.md that says more."""

    meaning: str
    cure: str = ""
    section: str = ""


ABOUT: Final = {
    PartitionState.HALTED: StateDescription(
        "the bridge stopped it, because going on could apply updates wrongly; an operator must act",
        "Do what the reason says. When the cause is fixed, run `manage.py stream resume`.",
        "A stream is halted",
    ),
    PartitionState.STARTING: StateDescription(
        "no bridge is active on it yet: the topic is new, or the bridges have just started",
        "Wait NOTIFY_START_GRACE_S (30 s). If no bridge is active by then, the state becomes stalled.",
        "A stream is stalled",
    ),
    PartitionState.STALLED: StateDescription(
        "no bridge is active on it",
        "Check that a bridge runs (`manage.py bridge`). If it hangs, kill it (SIGKILL loses nothing) and "
        "start it again. If it runs, its log says what stops it (`load_failed`, `postgres_away`).",
        "A stream is stalled",
    ),
    PartitionState.UNHEARD: StateDescription(
        "Kafka does not answer its bridge, so the number of waiting messages is unknown",
        "Check that the brokers run, that the bridge can reach them, and that its Kafka user may describe "
        "and read the topic. The bridge continues by itself when Kafka answers.",
        "Kafka answers no bridge",
    ),
    PartitionState.UNREAD: StateDescription(
        "messages wait in Kafka, but its bridge receives none of them",
        "The bridge reconnects to Kafka by itself. If this lasts longer than a minute, restart the bridge "
        "and check the partition's leader (`kafka-topics.sh --describe`).",
        "A partition is not read",
    ),
    PartitionState.STUCK: StateDescription(
        "updates are decided, but workers do not apply them",
        "Check that workers run (`celery -A notify worker`), and read their logs (`batch_unavailable`). "
        "`manage.py status` names the lane and the record that block it.",
        "A stream is stuck",
    ),
    PartitionState.UNKNOWN: StateDescription(
        "its bridge is active but writes no samples, so its lag is unknown",
        "The bridge's log says why (`housekeeping_failed`).",
        "A stream is stalled",
    ),
    PartitionState.DRAINING: StateDescription(
        "it makes progress; its number of lanes is being changed"
    ),
    PartitionState.OK: StateDescription("it makes progress"),
}
TROUBLE: Final = frozenset(PartitionState) - {PartitionState.OK, PartitionState.DRAINING}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBounds:
    """The thresholds from which a partition is in trouble; notify/settings.py explains each."""

    stalled_s: float
    lag_s: float
    start_s: float

    @classmethod
    def of_settings(cls) -> "StateBounds":
        """The thresholds of NOTIFY_STALLED_AFTER_MS, NOTIFY_FIND_LAG_S and NOTIFY_START_GRACE_S."""
        return cls(
            stalled_s=settings.NOTIFY_STALLED_AFTER_MS / 1000,
            lag_s=settings.NOTIFY_FIND_LAG_S,
            start_s=settings.NOTIFY_START_GRACE_S,
        )


@dataclass(frozen=True, slots=True)
class StreamNow:
    """A stream of the active topic, as the statement `streams` of sql/queries.sql reads it.

    `ago_s` is the age of its newest sample, None without one in the last hour; `bridge` wrote that
    sample. The last nine fields come from the sample. They are None if it is older than
    NOTIFY_STALLED_AFTER_MS, because old numbers must not be shown as current. All other fields are current.
    """

    stream: int
    partition: int
    planned: int
    frontier: int
    halted: str | None
    is_draining: bool
    ticked_ago_s: float | None
    #: How long ago the current start began: when the topic was created, or when the first bridge
    #: started after the last tick. None if nothing started since the last tick.
    starting_s: float | None
    #: How long decided updates had waited at this frontier when the bridge last ticked. A frozen bridge
    #: does not notice what workers apply, so the time after its last tick does not count.
    waiting_s: float
    ago_s: float | None
    bridge: str | None
    log_end: int | None
    lag_s: float | None
    #: How long fetches have returned nothing although the partition has more messages.
    unread_s: float | None
    #: How long Kafka has not answered the bridge's question for the partition's end offset.
    unheard_s: float | None
    held_bytes: int | None
    held_writes: int | None
    paused: bool | None
    #: `lag_messages` ten to thirty seconds before the sample.
    lag_messages_before: int | None = None

    @property
    def lag_messages(self) -> int | None:
        """Offsets from the frontier to the log's end; None if where the log ends is not known."""
        return None if self.log_end is None else max(0, self.log_end - self.frontier)


def state_of(stream: StreamNow, bounds: StateBounds) -> PartitionState:
    """The partition's state. The worst one wins, since it makes the later ones impossible to judge.

    For example, a partition without an active bridge is `stalled`: whether workers apply its updates is
    then unknown, so it cannot be `stuck`.
    """
    if stream.halted is not None:
        return PartitionState.HALTED
    if stream.ticked_ago_s is None or stream.ticked_ago_s > bounds.stalled_s:
        is_start = stream.starting_s is not None and stream.starting_s <= bounds.start_s
        return PartitionState.STARTING if is_start else PartitionState.STALLED
    if stream.unheard_s is not None and stream.unheard_s >= bounds.lag_s:
        return PartitionState.UNHEARD
    if stream.unread_s is not None and stream.unread_s > bounds.stalled_s:
        return PartitionState.UNREAD
    if stream.waiting_s > bounds.stalled_s:
        return PartitionState.STUCK
    # As of the last tick: of a bridge that freezes, the sample is old a moment before the tick is.
    if stream.ago_s is None or stream.ago_s - stream.ticked_ago_s > bounds.stalled_s:
        return PartitionState.UNKNOWN
    return PartitionState.DRAINING if stream.is_draining else PartitionState.OK


def since(streams: Sequence[StreamNow], state: PartitionState) -> str:
    """Why these partitions are in this state: for how long at least, which bridge, at which offset."""
    first = streams[0]
    names = sorted({each.bridge for each in streams if each.bridge})
    bridge = f"bridge {', '.join(names)}" if names else "the bridge"
    if state is PartitionState.HALTED:
        return str(first.halted)
    if state is PartitionState.STARTING:
        began_s = max(each.starting_s or 0.0 for each in streams)
        return f"no bridge is active yet; the start began {began_s:.0f} s ago"
    if state is PartitionState.STALLED:
        ticked = [each.ticked_ago_s for each in streams if each.ticked_ago_s is not None]
        if not ticked:
            return "no bridge has ever been active"
        last = f"; the last one was {bridge}" if names else ""
        return f"no bridge has been active for {min(ticked):.0f} s{last}"
    if state is PartitionState.UNHEARD:
        unheard_s = min(each.unheard_s or 0.0 for each in streams)
        return f"Kafka has not answered {bridge} for {unheard_s:.0f} s, so the lag is unknown"
    if state is PartitionState.UNREAD:
        unread_s = min(each.unread_s or 0.0 for each in streams)
        what = waiting(sum(each.lag_messages or 0 for each in streams), "message")
        return f"Kafka has sent no messages to {bridge} for {unread_s:.0f} s, although {what}"
    if state is PartitionState.STUCK:
        longest = max(streams, key=lambda each: each.waiting_s)
        return (
            f"decided updates at offset {longest.frontier} of partition {longest.partition} have not been "
            f"applied for {longest.waiting_s:.0f} s"
        )
    return ABOUT[state].meaning


def state_sentence(streams: Sequence[StreamNow], state: PartitionState) -> str:
    """The partitions' state as a sentence, such as "Partitions 0-3 are stalled: ..."."""
    numbers = ranges([each.partition for each in streams])
    subject = f"Partition {numbers} is" if len(streams) == 1 else f"Partitions {numbers} are"
    return f"{subject} {state}: {since(streams, state)}."


def ranges(numbers: Iterable[int]) -> str:
    """Numbers with runs shortened: [0, 1, 2, 3, 7] becomes "0-3, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def waiting(n: int, what: str) -> str:
    """A count as a clause, such as "1 message waits" or "72 writes wait"."""
    return f"1 {what} waits" if n == 1 else f"{n:,} {what}s wait"
