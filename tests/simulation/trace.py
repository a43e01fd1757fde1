"""A step in words: what it changed in the tables, and what stands in queues and logs after it."""

from collections.abc import Iterator

from notify.domain.engine.stream import StreamRow
from tests.fakes import Tables
from tests.simulation.world import World

_FIELDS = ("frontier", "planned", "lanes", "lanes_wanted", "halted")


def told(label: str, name: str, before: Tables, world: World) -> list[str]:
    """One line; none for a step of the drain that changed nothing."""
    changes = list(_changes(before, world.db.tables))
    if label.startswith("drain") and not changes:
        return []
    ends = [log.end for log in world.topic.partitions]
    stands = f"[log ends {ends}, {len(world.queue)} tasks, {len(world.bridges)} bridges]"
    return [f"{label:>10} {name:<24} {'; '.join(changes) or '-'}   {stands}"]


def _changes(before: Tables, after: Tables) -> Iterator[str]:
    for stream in after.streams.values():
        was = before.streams.get(stream.id)
        yield from _stream(was, stream) if was is not None else (f"stream {stream.id} made",)
    for (stream_id, lane), row in after.lanes.items():
        old = before.lanes.get((stream_id, lane))
        if old is not None and old != row:
            yield (
                f"stream {stream_id} lane {lane} at {old.last} -> {row.last} "
                f"(isolate {row.isolate}, tries {row.tries})"
            )
    for (app, record), state in after.records.items():
        if before.records.get((app, record)) is not state:
            yield f"record {app[-4:]}/{record[-4:]} written"


def _stream(was: StreamRow, now: StreamRow) -> Iterator[str]:
    for field in _FIELDS:
        if getattr(was, field) != getattr(now, field):
            yield f"stream {now.id} {field} {getattr(was, field)} -> {getattr(now, field)}"
    if was.token != now.token:
        yield f"stream {now.id} has a new token"
