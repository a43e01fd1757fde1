"""The body of a Celery task: what a bridge sends and a worker takes.

A body is the keyword arguments of the task. `encode` makes them, and `decode` checks them. What the rows
mean is not the engine's matter: see notify/domain/records/task_rows.py.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Any, Final, TypeVar

import msgspec

from notify.domain.errors import UnknownTask

#: The version that bridges write, and those that workers accept: of this release, the one before and the
#: next.
VERSION: Final = 1
VERSIONS: Final = range(max(1, VERSION - 1), VERSION + 2)


class Segment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The part of a task for one stream's lane: the offsets prev+1..last. `token` is the stream's when the
    bridge loaded it."""

    stream: int
    partition: int
    token: int
    prev: int
    last: int


class IsolatedRow(msgspec.Struct, frozen=True, array_like=True):
    """One write of an isolated task: its row and its message."""

    offset: int
    row: dict[str, Any]
    message: str


class _Task(msgspec.Struct, frozen=True, kw_only=True):
    v: int = VERSION
    lane: int
    #: How often the bridge has sent it, this time included.
    attempt: int
    segments: list[Segment]


class MergedTask(_Task, frozen=True, kw_only=True):
    """Merged writes of one lane, of one stream or several. `fields` are the names of the fields that the
    rows have; a bridge of the release before does not send them."""

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
    return arguments


def decode(arguments: Mapping[str, object], kind: type[Body]) -> Body:
    """The task in these keyword arguments; other arguments, of a later release, are ignored. Raises
    UnknownTask."""
    version = arguments.get("v")
    if type(version) is not int or version not in VERSIONS:
        taken = f"{VERSIONS[0]} to {VERSIONS[-1]}"
        raise UnknownTask(f"the task has v {version!r:.20}, this worker takes {taken}")
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise UnknownTask(f"the task is not one that this worker knows: {error}") from None


def check_fields(fields: Iterable[str], known: Set[str]) -> None:
    """Raises UnknownTask if the rows have a field that this worker would ignore."""
    unknown = set(fields) - known
    if unknown:
        raise UnknownTask(
            f"the task's rows have {min(unknown)!r:.50}, which this worker cannot apply"
        )
