"""The body of a Celery task: what a bridge sends and a worker takes.

A body is the keyword arguments of the task. `encode` makes them, and `decode` checks them. What the rows
mean is not the engine's matter: see notify/domain/records/task_rows.py.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from notify.domain.errors import UnknownTask

#: The version that bridges write, and those that workers accept: of this release, the one before and the
#: next.
VERSION: Final = 1
VERSIONS: Final = range(max(1, VERSION - 1), VERSION + 2)
#: The lane of a segment that does not name it: the one of its task.
LANE_OF_TASK: Final = -1


class Segment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The part of a task for one stream's lane: the offsets prev+1..last. `token` is the stream's when the
    bridge loaded it.

    In the arguments of a task for one lane, its segments do not name the lane.
    """

    stream: int
    partition: int
    token: int
    prev: int
    last: int
    lane: int = LANE_OF_TASK


class IsolatedRow(msgspec.Struct, frozen=True, array_like=True):
    """One write of an isolated task: its row and its message."""

    offset: int
    row: dict[str, Any]
    message: str


class _Task(msgspec.Struct, frozen=True, kw_only=True):
    v: int = VERSION
    #: In whose queue it is. Its segments may be of other lanes too.
    lane: int
    #: How often the bridge has sent it, this time included.
    attempt: int
    segments: list[Segment]


class MergedTask(_Task, frozen=True, kw_only=True):
    """Merged writes of one lane or several, of one stream or several. `fields` are the names of the fields
    that the rows have; a bridge of the release before does not send them."""

    rows: str
    fields: list[str] | None = None


class IsolatedTask(_Task, frozen=True, kw_only=True):
    """Unmerged writes of one lane and one stream, in the order of the log."""

    originals: list[IsolatedRow]
    dead_letters_max: int


Body = TypeVar("Body", MergedTask, IsolatedTask)


def encode(task: MergedTask | IsolatedTask) -> dict[str, Any]:
    """The task's keyword arguments, which are JSON values."""
    arguments: dict[str, Any] = msgspec.to_builtins(task)
    if all(segment.lane == task.lane for segment in task.segments):
        # So that a worker of the release before takes it, which knows five numbers.
        arguments["segments"] = [segment[:5] for segment in arguments["segments"]]
    return arguments


def decode(arguments: Mapping[str, object], kind: type[Body]) -> Body:
    """The task in these keyword arguments; other arguments, of a later release, are ignored. Raises
    UnknownTask."""
    version = arguments.get("v")
    if type(version) is not int or version not in VERSIONS:
        taken = f"{VERSIONS[0]} to {VERSIONS[-1]}"
        raise UnknownTask(f"the task has v {version!r:.20}, this worker takes {taken}")
    try:
        task = msgspec.convert(arguments, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter for lone surrogates
        raise UnknownTask(f"the task is not one that this worker knows: {error}") from None
    segments = [
        replace(segment, lane=task.lane) if segment.lane == LANE_OF_TASK else segment
        for segment in task.segments
    ]
    return replace(task, segments=segments)


def check_fields(fields: Iterable[str], known: Set[str]) -> None:
    """Raises UnknownTask if the rows have a field that this worker would ignore."""
    unknown = set(fields) - known
    if unknown:
        raise UnknownTask(
            f"the task's rows have {min(unknown)!r:.50}, which this worker cannot apply"
        )
