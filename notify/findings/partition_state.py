"""The state of a partition: one word, decided here alone, from what is recorded of it.

The Overview, `manage.py status`, `/healthz/pipeline` and findings all take the word, what it means and
its cure from here; docs/operations.md has the same table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from django.conf import settings


class State(StrEnum):
    """How a partition stands. See `state_of` for which one holds."""

    HALTED = "halted"
    STARTING = "starting"
    STALLED = "stalled"
    UNHEARD = "unheard"
    UNREAD = "unread"
    STUCK = "stuck"
    UNKNOWN = "unknown"
    DRAINING = "draining"
    OK = "ok"


class About(NamedTuple):
    """What a state means, what to do, and the section of docs/operations.md that says more."""

    meaning: str
    cure: str = ""
    section: str = ""


ABOUT: Final = {
    State.HALTED: About(
        "the bridge stopped it, so that nothing is applied wrongly; an operator must look",
        "Do what the reason says. When the cause is gone: `manage.py stream resume`.",
        "A stream is halted",
    ),
    State.STARTING: About(
        "no bridge has ticked it yet: the topic is new, or bridges were just started",
        "Wait for NOTIFY_START_GRACE_S (30 s); then it is stalled.",
        "A stream is stalled",
    ),
    State.STALLED: About(
        "no bridge ticks it",
        "Does a bridge run (`manage.py bridge`)? One that hangs: kill it (SIGKILL loses nothing) and start "
        "it. One that runs: its log says why it does not tick (`load_failed`, `postgres_away`).",
        "A stream is stalled",
    ),
    State.UNHEARD: About(
        "Kafka does not answer its bridge, so nobody knows what waits",
        "Do the brokers run, does the network reach them, and may the bridge's user describe and read the "
        "topic? The bridge goes on by itself when Kafka answers.",
        "Kafka answers no bridge",
    ),
    State.UNREAD: About(
        "messages wait in Kafka and its bridge gets none of them",
        "The bridge connects to Kafka anew by itself. If this stays for a minute, restart the bridge, and "
        "look at the partition's leader (`kafka-topics.sh --describe`).",
        "A partition is not read",
    ),
    State.STUCK: About(
        "updates are decided and workers do not apply them",
        "Do workers run (`celery -A notify worker`), and what do their logs say (`batch_unavailable`)? "
        "`manage.py status` names the lane and the record that hold it.",
        "A stream is stuck",
    ),
    State.UNKNOWN: About(
        "its bridge ticks and writes no samples, so lag and what waits are not known",
        "The bridge's log says why (`housekeeping_failed`).",
        "A stream is stalled",
    ),
    State.DRAINING: About("it moves; its number of lanes is being changed"),
    State.OK: About("it moves"),
}
TROUBLE: Final = frozenset(State) - {State.OK, State.DRAINING}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBounds:
    """From when on a partition is in trouble; see notify/settings.py for each."""

    stalled_s: float
    lag_s: float
    start_s: float

    @classmethod
    def of_settings(cls) -> "StateBounds":
        """As NOTIFY_STALLED_AFTER_MS, NOTIFY_FIND_LAG_S and NOTIFY_START_GRACE_S say."""
        return cls(
            stalled_s=settings.NOTIFY_STALLED_AFTER_MS / 1000,
            lag_s=settings.NOTIFY_FIND_LAG_S,
            start_s=settings.NOTIFY_START_GRACE_S,
        )


@dataclass(frozen=True, slots=True)
class StreamNow:
    """A stream of the active topic, as `streams` of sql/queries.sql reads it.

    `ago_s` is the age of its newest sample within the hour, None if it has none, and `bridge` who wrote
    it. The last nine fields are that sample's and None if it is older than NOTIFY_STALLED_AFTER_MS:
    what was is not what is. All others are as of now.
    """

    stream: int
    partition: int
    planned: int
    frontier: int
    halted: str | None
    is_draining: bool
    ticked_ago_s: float | None
    #: For how long a start is under way: since the topic was created, or since the first bridge started
    #: after the last tick. None if there was no start since.
    starting_s: float | None
    #: For how long decided updates have waited at this frontier, as of the last tick: a bridge that is
    #: frozen sees no worker land anything.
    waiting_s: float
    ago_s: float | None
    bridge: str | None
    log_end: int | None
    lag_s: float | None
    #: For how long fetches brought nothing although the log goes on.
    unread_s: float | None
    #: For how long Kafka has not told the bridge where the log ends.
    unheard_s: float | None
    held_bytes: int | None
    held_writes: int | None
    paused: bool | None
    #: Messages that waited ten to thirty seconds before the sample.
    lag_messages_before: int | None = None

    @property
    def lag_messages(self) -> int | None:
        """Offsets from the frontier to the log's end; None if where the log ends is not known."""
        return None if self.log_end is None else max(0, self.log_end - self.frontier)


def state_of(stream: StreamNow, bounds: StateBounds) -> State:
    """The state, the worst first: what is not ticked tells nothing of workers, and so on."""
    if stream.halted is not None:
        return State.HALTED
    if stream.ticked_ago_s is None or stream.ticked_ago_s > bounds.stalled_s:
        is_start = stream.starting_s is not None and stream.starting_s <= bounds.start_s
        return State.STARTING if is_start else State.STALLED
    if stream.unheard_s is not None and stream.unheard_s >= bounds.lag_s:
        return State.UNHEARD
    if stream.unread_s is not None and stream.unread_s > bounds.stalled_s:
        return State.UNREAD
    if stream.waiting_s > bounds.stalled_s:
        return State.STUCK
    # As of the last tick: of a bridge that freezes, the sample is old a moment before the tick is.
    if stream.ago_s is None or stream.ago_s - stream.ticked_ago_s > bounds.stalled_s:
        return State.UNKNOWN
    return State.DRAINING if stream.is_draining else State.OK


def since(streams: Sequence[StreamNow], state: State) -> str:
    """What is so of these partitions, with its numbers: for how long at least, of whom, where."""
    first = streams[0]
    names = sorted({each.bridge for each in streams if each.bridge})
    bridge = f"bridge {', '.join(names)}" if names else "the bridge"
    if state is State.HALTED:
        return str(first.halted)
    if state is State.STARTING:
        began_s = max(each.starting_s or 0.0 for each in streams)
        return f"no bridge ticks yet; the start began {began_s:.0f} s ago"
    if state is State.STALLED:
        ticked = [each.ticked_ago_s for each in streams if each.ticked_ago_s is not None]
        if not ticked:
            return "no bridge has ever ticked"
        last = f"; the last to do so was {bridge}" if names else ""
        return f"no bridge has ticked for {min(ticked):.0f} s{last}"
    if state is State.UNHEARD:
        unheard_s = min(each.unheard_s or 0.0 for each in streams)
        return f"Kafka has not answered {bridge} for {unheard_s:.0f} s, so what waits is not known"
    if state is State.UNREAD:
        unread_s = min(each.unread_s or 0.0 for each in streams)
        what = waiting(sum(each.lag_messages or 0 for each in streams), "message")
        return f"Kafka has sent {bridge} nothing for {unread_s:.0f} s although {what}"
    if state is State.STUCK:
        longest = max(streams, key=lambda each: each.waiting_s)
        return (
            f"decided updates have waited at offset {longest.frontier} of partition {longest.partition} "
            f"for {longest.waiting_s:.0f} s"
        )
    return ABOUT[state].meaning


def are(streams: Sequence[StreamNow], state: State) -> str:
    """The partitions' state as a sentence: "Partitions 0-3 are stalled: ..."."""
    numbers = ranges([each.partition for each in streams])
    subject = f"Partition {numbers} is" if len(streams) == 1 else f"Partitions {numbers} are"
    return f"{subject} {state}: {since(streams, state)}."


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as people write them: 0-3, 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def waiting(n: int, what: str) -> str:
    """So many wait: "1 message waits"."""
    return f"1 {what} waits" if n == 1 else f"{n:,} {what}s wait"
