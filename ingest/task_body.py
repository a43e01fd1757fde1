"""What the bridge puts into a Celery task."""

from ingest.ports import Task
from notify.domain.engine.task import IsolatedRow, IsolatedTask, MergedTask, Segment
from notify.domain.records import task_rows


def of(task: Task, *, dead_letters_max: int) -> MergedTask | IsolatedTask:
    """The body of the task. `dead_letters_max`: how many dead letters a stream may have in its window."""
    segments = [
        Segment(part.batch.stream, part.partition, part.token, part.batch.prev, part.batch.last)
        for part in task.parts
    ]
    isolated = task.parts[0].batch.isolated
    if isolated:
        stream = task.parts[0].batch.stream
        return IsolatedTask(
            lane=task.lane,
            attempt=task.attempt,
            segments=segments,
            originals=[
                IsolatedRow(each.offset, task_rows.row(stream, each.write), each.message.decode())
                for each in isolated
            ],
            dead_letters_max=dead_letters_max,
        )
    merged = [
        task_rows.row(part.batch.stream, write)
        for part in task.parts
        for write in part.batch.merged
    ]
    return MergedTask(
        lane=task.lane,
        attempt=task.attempt,
        segments=segments,
        rows=task_rows.as_text(merged),
        fields=task_rows.fields(merged),
    )


def describe(task: Task) -> str:
    """A description of a task for Flower and logs: its lane, offsets and number of rows, but no content."""
    parts = task.parts
    ranges = " ".join(f"p{part.partition}({part.batch.prev}..{part.batch.last}]" for part in parts)
    count = sum(part.batch.rows for part in parts)
    again = "" if task.attempt == 1 else f" send {task.attempt}"
    alone = " isolated" if parts[0].batch.isolated else ""
    return f"lane {task.lane:02d} {ranges} {count} rows{alone}{again}"
