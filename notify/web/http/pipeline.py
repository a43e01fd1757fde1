"""Whether updates move from Kafka to rows, judged by recorded times, so that all processes agree."""

from collections.abc import Sequence

from notify.monitoring.partition_state import (
    TROUBLE,
    PartitionState,
    StateBounds,
    StreamNow,
    since,
    state_of,
)


def problems(streams: Sequence[StreamNow], bounds: StateBounds) -> list[str]:
    """A sentence for each partition in trouble."""
    if not streams:
        return ["no topic is active: run `manage.py topic create`"]
    states = [(stream, state_of(stream, bounds)) for stream in streams]
    return [_problem(stream, state) for stream, state in states if state in TROUBLE]


def _problem(stream: StreamNow, state: PartitionState) -> str:
    return f"partition {stream.partition} is {state}: {since([stream], state)}"
