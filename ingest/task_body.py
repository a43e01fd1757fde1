"""What the bridge puts into a Celery task."""

from ingest.ports import Part, Task
from notify.domain.engine.task import IsolatedRow, IsolatedTask, MergedTask, Segment
from notify.domain.records import task_rows


def of(task: Task, *, dead_letters_max: int) -> MergedTask | IsolatedTask:
    """The body of the task. `dead_letters_max`: how many dead letters a stream may have in its window."""
    segments = [_segment(part) for part in task.parts]
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
    is_shared = len(task.lanes) > 1
    merged = [
        task_rows.row(part.batch.stream, write, part.batch.lane if is_shared else None)
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


def _segment(part: Part) -> Segment:
    batch = part.batch
    return Segment(batch.stream, part.partition, part.token, batch.prev, batch.last, batch.lane)


def describe(task: Task) -> str:
    """A description of a task for Flower and logs: its lane, offsets and number of rows, but no content.
    If it has more than one lane, the lanes and partitions without the offsets, which would be many."""
    parts = task.parts
    again = "" if task.attempt == 1 else f" send {task.attempt}"
    if len(task.lanes) > 1:
        numbers = ",".join(f"{lane:02d}" for lane in task.lanes)
        partitions = " ".join(f"p{each}" for each in sorted({part.partition for part in parts}))
        return f"lanes {numbers} {partitions} {task.rows} rows{again}"
    ranges = " ".join(f"p{part.partition}({part.batch.prev}..{part.batch.last}]" for part in parts)
    alone = " isolated" if parts[0].batch.isolated else ""
    return f"lane {task.lane:02d} {ranges} {task.rows} rows{alone}{again}"
