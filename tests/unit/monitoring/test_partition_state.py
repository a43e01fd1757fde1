"""The word for a partition's state, what it is decided by, and that all who say it say the same."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from notify.monitoring.partition_state import (
    ABOUT,
    TROUBLE,
    PartitionState,
    StreamNow,
    ranges,
    state_of,
    state_sentence,
)
from tests.streams_now import STATE_BOUNDS, STREAM

OPERATIONS: Final = (Path(__file__).parents[3] / "docs/operations.md").read_text()
OLD: Final = replace(
    STREAM, ago_s=60, log_end=None, lag_s=None, unread_s=None, unheard_s=None, held_bytes=None,
    held_writes=None, paused=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "state"),
    [
        (STREAM, PartitionState.OK),
        (replace(STREAM, is_draining=True), PartitionState.DRAINING),
        (replace(STREAM, halted="why", ticked_ago_s=None, starting_s=1), PartitionState.HALTED),
        (replace(STREAM, ticked_ago_s=10), PartitionState.OK),
        (replace(STREAM, ticked_ago_s=10.1), PartitionState.STALLED),
        (replace(STREAM, ticked_ago_s=None), PartitionState.STALLED),
        (replace(STREAM, ticked_ago_s=None, starting_s=30), PartitionState.STARTING),
        (replace(STREAM, ticked_ago_s=900, starting_s=3), PartitionState.STARTING),
        (replace(STREAM, ticked_ago_s=900, starting_s=30.1), PartitionState.STALLED),
        (replace(STREAM, ticked_ago_s=1, starting_s=900), PartitionState.OK),
        (replace(OLD, ticked_ago_s=60, waiting_s=60), PartitionState.STALLED),
        (replace(STREAM, unheard_s=29.9), PartitionState.OK),
        (replace(STREAM, unheard_s=30, unread_s=99, waiting_s=99), PartitionState.UNHEARD),
        (replace(STREAM, unread_s=10), PartitionState.OK),
        (replace(STREAM, unread_s=10.1, waiting_s=99), PartitionState.UNREAD),
        (replace(STREAM, waiting_s=10), PartitionState.OK),
        (replace(STREAM, waiting_s=10.1), PartitionState.STUCK),
        (replace(OLD, waiting_s=10.1), PartitionState.STUCK),
        (OLD, PartitionState.UNKNOWN),
        (replace(OLD, ago_s=None), PartitionState.UNKNOWN),
        (replace(OLD, ago_s=10.1, ticked_ago_s=9.9), PartitionState.OK),
    ],
)
def test_the_state(stream: StreamNow, state: PartitionState) -> None:
    assert state_of(stream, STATE_BOUNDS) is state


def test_each_state_that_is_trouble_has_a_cure_and_a_section_that_is_there() -> None:
    assert set(ABOUT) == set(PartitionState)
    sections = re.findall(r"^## (.+)$", OPERATIONS, re.MULTILINE)
    for state in TROUBLE:
        assert ABOUT[state].cure
        assert ABOUT[state].section in sections


def test_the_table_of_states_is_that_of_the_code() -> None:
    """N4: one word for one state. The table has each word with what it means, and no other word."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.+?) \|", OPERATIONS.split("## Where to look")[0], re.MULTILINE
    )
    assert rows == [(state.value, ABOUT[state].meaning) for state in PartitionState]


def test_what_is_so_is_said_of_all_of_them_together() -> None:
    stalled = [
        replace(OLD, partition=n, ticked_ago_s=12.0 + n, bridge=f"h:{n % 2}") for n in range(3)
    ]
    assert state_sentence(stalled, PartitionState.STALLED) == (
        "Partitions 0-2 are stalled: no bridge has been active for 12 s; the last one was bridge h:0, h:1."
    )
    gone = [replace(OLD, ticked_ago_s=4_000, bridge=None)]
    assert (
        state_sentence(gone, PartitionState.STALLED)
        == "Partition 0 is stalled: no bridge has been active for 4000 s."
    )


def test_ranges() -> None:
    assert ranges([3, 0, 1, 2, 7, 9, 10]) == "0-3, 7, 9-10"
    assert ranges([]) == ""
