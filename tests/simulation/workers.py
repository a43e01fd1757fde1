"""Simulated Redis and workers: tasks that are lost, doubled, late; workers that die, stall, go on."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from ingest import task_body
from ingest.ports import DispatcherAway
from ingest.ports import Task as Sent
from notify.domain.engine.task import IsolatedTask, MergedTask, Segment, decode, encode
from tests.fakes import MemoryLanes
from workers.apply import (
    TRY_FROM_ATTEMPT,
    BadData,
    PostgresUnavailable,
    StreamLane,
    apply_isolated,
    apply_merged,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

#: PostgreSQL refuses every row that adds to this counter; every worker that touches a row that adds to
#: that one dies.
POISON = "spent_micros"
KILLER = "purchase_count"
DEAD_LETTERS_MAX = 10_000


class Crash(BaseException):
    """The process died here."""


class Task(NamedTuple):
    """What stands in a lane's queue: a body as Redis has it."""

    lane: int
    body: bytes
    isolates: bool


class SimDispatcher:
    """Redis: queues that may refuse, lose, repeat and reorder."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def send(self, tasks: Sequence[Sent]) -> None:
        """Queues all, or those before an error."""
        for task in tasks:
            self._send(task)

    def _send(self, sent: Sent) -> None:
        world = self._world
        if world.redis_away or world.chance(0.03):
            raise DispatcherAway("refused")
        body = task_body.of(sent, dead_letters_max=DEAD_LETTERS_MAX)
        task = Task(sent.lane, json.dumps(encode(body)).encode(), isinstance(body, IsolatedTask))
        world.queue += [task, task] if world.chance(0.05) else [task]
        if world.chance(0.02):
            raise DispatcherAway("queued, but the answer was lost")

    def queued(self, lane: int) -> int:
        if self._world.redis_away:
            raise DispatcherAway("refused")
        return sum(task.lane == lane for task in self._world.queue)


class SimLanes(MemoryLanes):
    """A worker's session: before and after any commit it may lose its connection or its life, and
    between two of its transactions it may stall."""

    def __init__(self, world: "World", attempt: int, stall: Callable[[], None]) -> None:
        super().__init__(world.db)
        self._world = world
        self._attempt = attempt
        self._stall = stall
        self._depth = 0

    def apply(self, segments: Sequence[Segment], rows: str) -> set[StreamLane]:
        if KILLER in rows:
            raise Crash
        if POISON in rows:
            raise BadData("refused")
        with self._committing():
            return super().apply(segments, rows)

    def count_try(self, segment: Segment) -> int | None:
        with self._committing():
            return super().count_try(segment)

    def survived(self, segment: Segment) -> None:
        with self._committing():
            super().survived(segment)

    def isolate(self, segment: Segment, *, tries: int) -> None:
        with self._committing():
            super().isolate(segment, tries=tries)

    def halt(self, segment: Segment, reason: str) -> None:
        with self._committing():
            super().halt(segment, reason)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._committing(), super().transaction():
            yield

    @contextmanager
    def _committing(self) -> Iterator[None]:
        if self._depth:
            yield
            return
        self._stall()
        self._fail("refused")
        self._depth += 1
        try:
            with self._world.db.transaction():
                yield
                self._fail("broken before COMMIT")
        finally:
            self._depth -= 1
        self._world.committed()
        self._fail("COMMIT with unknown outcome")
        self._stall()

    def _fail(self, how: str) -> None:
        """A batch that was sent often is not let die by chance: it would be taken for a killer."""
        world = self._world
        if world.postgres_away or world.chance(0.02):
            raise PostgresUnavailable(how)
        if self._attempt < TRY_FROM_ATTEMPT and world.chance(0.02):
            raise Crash


def work(world: "World", task: Task, stall: Callable[[], None]) -> None:
    """What a worker does with a task; its death and PostgreSQL's absence end it early."""
    arguments = json.loads(task.body)
    with suppress(Crash, PostgresUnavailable):
        if task.isolates:
            alone = decode(arguments, IsolatedTask)
            (segment,) = alone.segments
            apply_isolated(
                SimLanes(world, alone.attempt, stall),
                segment,
                originals=alone.originals,
                attempt=alone.attempt,
                dead_letters_max=alone.dead_letters_max,
            )
        else:
            merged = decode(arguments, MergedTask)
            apply_merged(
                SimLanes(world, merged.attempt, stall),
                merged.segments,
                rows=merged.rows,
                attempt=merged.attempt,
            )


class Stalled:
    """A worker that stands between two of its transactions, until it is continued or killed.

    It has a thread, since the worker's code is a plain function; only one thread ever runs.
    """

    def __init__(self, world: "World", task: Task, *, pauses: int) -> None:
        self._mine = threading.Semaphore(0)
        self._theirs = threading.Semaphore(0)
        self._pauses = pauses
        self._killed = False
        self.error: BaseException | None = None
        self.done = False
        self._thread = threading.Thread(target=self._run, args=(world, task), daemon=True)
        self._thread.start()
        self.go()

    def go(self) -> None:
        """Continue, until it stalls again or ends. Raises what its code raises."""
        if self.done:
            return
        self._mine.release()
        self._theirs.acquire()
        if self.error is not None:
            raise self.error

    def kill(self) -> None:
        """It dies where it stands."""
        self._killed = True
        self.go()

    def _run(self, world: "World", task: Task) -> None:
        self._mine.acquire()
        try:
            work(world, task, self._stall)
        except BaseException as error:  # noqa: BLE001 - `go` raises it in the schedule's thread
            self.error = error
        self.done = True
        self._theirs.release()

    def _stall(self) -> None:
        if self._pauses and not self._killed:
            self._pauses -= 1
            self._theirs.release()
            self._mine.acquire()
        if self._killed:
            raise Crash
