"""The time in which updates came, whatever the time in which they are decided."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from ingest.counts import ACCEPTED_GAP_MS, Counts
from ingest.planner import Planned
from ingest.ports import Chunk
from notify.domain.engine.stream import PlanRow
from notify.domain.records.links import Links

NOW: Final = 1_000_000_000
EMPTY: Final = Planned(
    Chunk(PlanRow(0, 0, b""), 0, Links(), [], []), [], Counter(), Counter(), Counter()
)


def counted(*chunks: Sequence[int]) -> int:
    """Milliseconds of arrivals of chunks that are all decided at NOW."""
    counts = Counts(1, records=9, apps=9)
    counts.note(replace(EMPTY, accepted=[NOW - 60_000]), NOW)
    counts.take_tally()
    for accepted in chunks:
        counts.note(replace(EMPTY, accepted=accepted), NOW)
    return counts.take_tally()["accepted_ms"]


def test_a_catch_up_covers_the_time_in_which_its_updates_came() -> None:
    every_100_ms = [NOW - 60_000 + n * 100 for n in range(601)]
    assert counted(every_100_ms[:300], every_100_ms[300:]) == 60_000


@pytest.mark.parametrize(
    ("accepted", "ms"),
    [
        ([], 0),
        ([NOW - 59_900, NOW - 59_920, NOW - 59_880], 120),
        ([NOW - 30_000], ACCEPTED_GAP_MS),
        ([NOW - 10**9, NOW - 59_900], 100),
        ([NOW + 10**9, NOW - 59_900], 100),
    ],
    ids=["none", "two clocks", "a gap", "a clock that was slow", "a clock that was fast"],
)
def test_clocks_and_gaps(accepted: Sequence[int], ms: int) -> None:
    assert counted(accepted) == ms
