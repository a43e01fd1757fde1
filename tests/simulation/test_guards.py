"""Guards of the protocol, taken away: the simulation must find a violation, else it proves nothing.

The tick's check of the token is not among them: alone, it was not found in 6,000 schedules, since the
checks of `planned` and of the lanes stand beside it. tests/unit/test_domain_stream.py has it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from ingest.held import Memory
from ingest.ports import Loaded
from notify.domain import stream as streams
from notify.domain.stream import LaneRow, StreamRow
from notify.domain.window import Lane, Window
from tests.simulation.schedule import run

SEEDS_MAX = 6_000
DEFAULT: Mapping[str, int] = {}
#: A dead token does harm only where lost commits came back different: lose many.
LOSING = {"lose_commits": 8}
Patch = Callable[[pytest.MonkeyPatch], None]


def _finds_a_violation(
    without: frozenset[str] = frozenset(), weights: Mapping[str, int] = DEFAULT
) -> bool:
    for seed in range(SEEDS_MAX):
        try:
            if run(seed, without=without, weights=weights):
                return True
        except (AssertionError, KeyError, IndexError, StopIteration):
            return True  # the mutant broke the bridge itself
    return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("guard", ["prev", "equality", "token", "planned"])
def test_a_worker_statement_without_its_guard_is_found(guard: str) -> None:
    assert _finds_a_violation(frozenset([guard]), LOSING)


def _no_planned_check(patch: pytest.MonkeyPatch) -> None:
    check = streams.tick_surprise

    def blind(
        stream: StreamRow | None,
        lanes: dict[int, LaneRow],
        window: Window,
        *,
        token: int,
        planned: int,
    ) -> str | None:
        seen = None if stream is None else replace(stream, planned=planned, token=token)
        return check(seen, lanes, window, token=token, planned=planned)

    patch.setattr("ingest.bridge.tick_surprise", blind)


def _frontier_is_the_highest_head(patch: pytest.MonkeyPatch) -> None:
    def frontier(self: Window, planned: int) -> int:
        heads = [head for lane in self.lanes.values() if (head := lane.outstanding()) is not None]
        return max(heads, default=planned)

    patch.setattr(Window, "frontier", frontier)


def _applied_writes_are_not_dropped(patch: pytest.MonkeyPatch) -> None:
    add = Window.add

    def forgetful(self: Window, writes: list[tuple[int, bytes, list[object]]]) -> None:
        lasts = {number: lane.last for number, lane in self.lanes.items()}
        for lane in self.lanes.values():
            lane.last = -1
        add(self, writes)  # type: ignore[arg-type]
        for number, lane in self.lanes.items():
            lane.last = lasts[number]

    patch.setattr(Window, "add", forgetful)


def _decisions_are_not_recorded(patch: pytest.MonkeyPatch) -> None:
    make = Memory.of

    def forgetful(loaded: Loaded, *, partitions: int, hot_records: int) -> Memory:
        return make(replace(loaded, plan=[]), partitions=partitions, hot_records=hot_records)

    patch.setattr(Memory, "of", forgetful)


def _a_stray_lane_is_adopted(patch: pytest.MonkeyPatch) -> None:
    def landed(self: Window, number: int, last: int) -> bool:
        lane = self.lanes[number]
        lane.last, lane.flying = max(last, lane.last), None
        return True

    patch.setattr(Window, "landed", landed)


def _nothing_is_isolated(patch: pytest.MonkeyPatch) -> None:
    def mixed(last: int, isolate: int = -1, one_at_a_time: bool = False) -> Lane:
        return Lane(last)

    patch.setattr("ingest.held.Lane", mixed)


def _nothing_is_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ingest.bridge.Bridge.resend", lambda self: None)


def _lanes_change_without_a_drain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StreamRow, "drained", property(lambda self: True))


def _loading_streams_are_ticked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ingest.held.Held.live", lambda self: self.memory)


def _patches_are_merged_in_the_wrong_order(patch: pytest.MonkeyPatch) -> None:
    from notify.domain.patch import compose

    patch.setattr("notify.domain.window.compose", lambda first, then: compose(then, first))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "mutant",
    [
        _no_planned_check,
        _frontier_is_the_highest_head,
        _applied_writes_are_not_dropped,
        _decisions_are_not_recorded,
        _a_stray_lane_is_adopted,
        _nothing_is_isolated,
        _nothing_is_sent_again,
        _lanes_change_without_a_drain,
        _loading_streams_are_ticked,
        _patches_are_merged_in_the_wrong_order,
    ],
)
def test_a_bridge_without_its_guard_is_found(
    mutant: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert _finds_a_violation()
