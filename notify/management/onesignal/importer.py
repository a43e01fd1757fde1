"""The loop of an import: some lines, what is here of them, their updates into Kafka, and the note of it.

Kafka or PostgreSQL being away is waited for. A batch whose outcome is not known is sent again: the second
sets the same again, and counts nothing (`updates`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection

from notify.domain.errors import Malformed
from notify.domain.records import nobody
from notify.domain.records.update import Update
from notify.kafka.producer import KafkaUnavailable, Overloaded
from notify.management.onesignal import entry
from notify.management.onesignal.export_file import Line
from notify.management.onesignal.progress import (
    PARTLY,
    REFUSED,
    Checkpoint,
    ImportCounts,
    ImportProgress,
    NotImported,
)
from notify.management.onesignal.stored import StoredState
from notify.management.onesignal.updates import of_entry
from notify.web.http.answers import Refused
from notify.web.resources.draft import encoded

#: Lines that are sent at a time.
BATCH_LINES: Final = 500
#: Seconds between two tries while Kafka or PostgreSQL is away: the first wait, and the longest.
AGAIN_S: Final = 1.0
AGAIN_MAX_S: Final = 30.0
#: Seconds between two lines of progress.
SAY_EVERY_S: Final = 5.0

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What an import works with. `send` puts messages into Kafka, `read_stored` asks PostgreSQL what is here;
    `clock` and `sleep` are in seconds, `now_ms` in milliseconds since 1970."""

    send: Callable[[Sequence[bytes]], None]
    read_stored: Callable[[Sequence[Update]], StoredState]
    say: Callable[[str], None]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    now_ms: Callable[[], int]


class _Read(NamedTuple):
    """A line, and its updates; none where it was refused."""

    line: Line
    updates: Sequence[Update]


class Importer:
    """Imports lines into `app`, `per_second` updates at most; 0 is no bound. `names` are nobody's."""

    def __init__(
        self,
        app: str,
        dependencies: Dependencies,
        progress: ImportProgress,
        *,
        per_second: int,
        names: Collection[str] = nobody.NAMES,
    ) -> None:
        self._app = app
        self._dependencies = dependencies
        self._progress = progress
        self._per_second = per_second
        self._names = names
        self._batch = min(BATCH_LINES, per_second or BATCH_LINES)

    def run(
        self,
        lines: Iterable[Line],
        start: Checkpoint,
        *,
        fraction: Callable[[], float],
        is_csv: bool,
    ) -> Iterator[Checkpoint]:
        """Import the lines from `start` on; yields what is noted after each batch."""
        read = partial(entry.of_row if is_csv else entry.of_user, names=self._names)
        left = (
            (number, line)
            for number, line in enumerate(lines, start=1)
            if number > start.entries and line.number >= start.from_line
        )
        checkpoint, paces = start, _Pace(self._dependencies, self._per_second)
        says = _ProgressReport(self._dependencies, fraction, start.counts)
        self._progress.begin(start)
        while batch := list(islice(left, self._batch)):
            listed: list[NotImported] = []
            made = [
                _read(read, line, self._app, self._dependencies.now_ms(), listed)
                for _, line in batch
            ]
            every = [update for each in made for update in each.updates]
            here = self._waiting(checkpoint, partial(self._dependencies.read_stored, every))
            values = [value for each in made for value in _values(each, here, listed)]
            if values:
                self._waiting(checkpoint, partial(self._dependencies.send, values))
            counts = checkpoint.counts.plus(lines=len(batch), listed=listed, updates=len(values))
            entries, last = batch[-1]
            now = replace(checkpoint, entries=entries, line=last.number, counts=counts)
            listed.sort(key=lambda each: each.line)
            checkpoint = self._progress.note(now, listed)
            yield checkpoint
            says.of(counts)
            paces.sent(len(values))
        self._progress.end()

    def _waiting(self, checkpoint: Checkpoint, do: Callable[[], Done]) -> Done:
        """`do`, again until it is done."""
        wait = AGAIN_S
        while True:
            try:
                return do()
            except (Overloaded, KafkaUnavailable, OperationalError, InterfaceError) as error:
                away = "Kafka"
                if isinstance(error, DatabaseError):
                    away = "PostgreSQL"
                    connection.close()
                self._dependencies.say(
                    f"{away} does not answer, trying again in {wait:.0f} s: {error}\n"
                    "Nothing is lost. If you stop now, the same command continues after line "
                    f"{checkpoint.line:,}."
                )
                self._dependencies.sleep(wait)
                wait = min(wait * 2, AGAIN_MAX_S)


def _read(
    read: Callable[[Any], entry.ImportEntry],
    line: Line,
    app: str,
    at: int,
    listed: list[NotImported],
) -> _Read:
    if line.fields is None:
        listed.append(NotImported(line.number, REFUSED, line.error))
        return _Read(line, ())
    try:
        found = read(line.fields)
        updates = list(of_entry(found, app, at=at))
    except Malformed as error:
        listed.append(NotImported(line.number, REFUSED, str(error)))
        return _Read(line, ())
    listed += [NotImported(line.number, PARTLY, reason) for reason in found.left_out]
    return _Read(line, updates)


def _values(read: _Read, here: StoredState, listed: list[NotImported]) -> list[bytes]:
    """The messages of a line, without what is here already."""
    values: list[bytes] = []
    wrong: list[str] = []
    for update in read.updates:
        try:
            new = here.without(update)
            if new is not None:
                values.append(encoded(new))
        except (Malformed, Refused) as error:
            wrong.append(str(error))
    what = PARTLY if len(wrong) < len(read.updates) else REFUSED
    listed += [NotImported(read.line.number, what, reason) for reason in dict.fromkeys(wrong)]
    return values


class _Pace:
    """Waits so that no more than so many updates are sent a second, on the whole."""

    def __init__(self, dependencies: Dependencies, per_second: int) -> None:
        self._dependencies = dependencies
        self._per_second = per_second
        self._next = dependencies.clock()

    def sent(self, updates: int) -> None:
        """Wait until the next ones may be sent."""
        if not self._per_second:
            return
        # From now, where it was slower than it may be: no burst makes up for a wait.
        now = self._dependencies.clock()
        self._next = max(self._next, now - 1) + updates / self._per_second
        if self._next > now:
            self._dependencies.sleep(self._next - now)


class _ProgressReport:
    """Says how far it is, now and then."""

    def __init__(
        self, dependencies: Dependencies, fraction: Callable[[], float], counts: ImportCounts
    ) -> None:
        self._dependencies = dependencies
        self._fraction = fraction
        self._lines = counts.lines
        self._at = dependencies.clock()

    def of(self, counts: ImportCounts) -> None:
        """Say it if it is time to."""
        now = self._dependencies.clock()
        if now - self._at < SAY_EVERY_S:
            return
        rate = (counts.lines - self._lines) / (now - self._at)
        self._at, self._lines = now, counts.lines
        self._dependencies.say(
            f"{self._fraction():4.0%}  {counts.lines:,} lines, {rate:,.0f} a second, "
            f"{counts.refused:,} refused, {counts.partly:,} imported in part"
        )
