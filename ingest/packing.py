"""Packs batches into tasks. Pure."""

from collections.abc import Iterable, Sequence

from ingest.ports import Part, Task


def pack_parts(parts: Sequence[Part], *, rows: int) -> list[list[Part]]:
    """Groups the parts of one lane into tasks of at most `rows` rows. An isolated part gets its own task."""
    tasks: list[list[Part]] = []
    room = 0
    for part in parts:
        if part.batch.isolated or part.batch.rows > room:
            tasks.append([])
            room = rows
        tasks[-1].append(part)
        room = 0 if part.batch.isolated else room - part.batch.rows
    return tasks


def join_small_tasks(tasks: Iterable[Task], *, rows: int, max_bytes: int) -> list[Task]:
    """The same parts in fewer tasks: small tasks of different lanes become one, of at most `rows` rows and of
    messages of at most `max_bytes`. A larger task stays alone, and an isolated one too.

    Without its rows a task costs a worker as much as a hundred rows, so lanes with few rows are cheaper
    together.
    """
    shared: list[Task] = []
    joined, room, room_bytes = 0, -1, -1
    for task in tasks:
        if task.parts[0].batch.isolated:
            shared.append(task)
        elif task.rows <= room and task.held_bytes <= room_bytes:
            parts = [*shared[joined].parts, *task.parts]
            shared[joined] = shared[joined]._replace(parts=parts)
            room -= task.rows
            room_bytes -= task.held_bytes
        else:
            shared.append(task)
            if rows - task.rows > room or task.held_bytes > room_bytes:
                joined = len(shared) - 1
                room, room_bytes = rows - task.rows, max_bytes - task.held_bytes
    return shared
