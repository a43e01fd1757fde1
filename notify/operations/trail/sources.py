"""Where log lines come from: what is asked of every source, and what is asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

from notify.operations.trail.lines import Accepted, ChunkPlanned, Line, Step

#: Clocks of two machines may differ by so much.
CLOCKS_APART: Final = timedelta(seconds=60)


class SourceAway(Exception):
    """The source does not answer, or cannot be read."""


@dataclass(frozen=True, slots=True)
class TrailQuery:
    """Updates of one trace, or of one record of an app, accepted at `since` or later."""

    since: datetime
    trace_id: str | None = None
    app: str | None = None
    record: str | None = None

    def takes(self, line: Line | None) -> bool:
        """Whether the line is an acceptance of such an update."""
        if not isinstance(line, Accepted) or line.at < self.since:
            return False
        if self.trace_id is not None:
            return line.trace_id == self.trace_id
        return (line.app, line.record) == (self.app, self.record)

    @property
    def words(self) -> tuple[str, ...]:
        """Texts that all stand in such a line."""
        named = (self.trace_id,) if self.trace_id is not None else (self.app, self.record)
        return tuple(word for word in named if word is not None)


class Span(NamedTuple):
    """Offsets low..high of a partition."""

    low: int
    high: int

    def touches(self, step: Step) -> bool:
        """Whether the step's range holds one of them."""
        if isinstance(step, ChunkPlanned):
            return step.first <= self.high and step.next > self.low
        return step.prev < self.high and step.last >= self.low


def spans(accepted: Iterable[Accepted]) -> dict[int, Span]:
    """The offsets of these updates, by partition."""
    found: dict[int, Span] = {}
    for each in accepted:
        low, high = found.get(each.partition, Span(each.offset, each.offset))
        found[each.partition] = Span(min(low, each.offset), max(high, each.offset))
    return found


class LineSource(Protocol):
    """Log lines. May give a line twice, and more than was asked for, in any order."""

    def accepted(self, wanted: TrailQuery, /) -> Iterator[Accepted]:
        """The acceptances. Raises SourceAway."""
        ...

    def steps(self, places: Mapping[int, Span], since: datetime, /) -> Iterator[Step]:
        """What happened to chunks and batches that hold these offsets. Raises SourceAway."""
        ...

    def problems(self) -> Sequence[str]:
        """What could not be read so far, so that lines may be missing."""
        ...
