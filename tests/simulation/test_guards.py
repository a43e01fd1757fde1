"""Guards of the protocol, taken away: the simulation must find a violation, else it proves nothing."""

import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from devstack import ROOT
from tests.simulation.fleet import prepare
from tests.simulation.mutants import MUTANTS
from tests.simulation.schedule import Broken, run
from tests.simulation.shrink import shrink

SEEDS_MAX = 6_000
Found = dict[str, "Future[Broken | None]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def first_broken(name: str) -> Broken | None:
    """The first schedule that a mutant breaks."""
    mutant = MUTANTS[name]
    with pytest.MonkeyPatch.context() as patch:
        mutant.apply(patch)
        for seed in range(SEEDS_MAX):
            broken = run(seed, without=mutant.without, weights=mutant.weights)
            if broken is not None:
                return broken
    return None


@pytest.fixture(scope="module")
def found() -> Iterator[Found]:
    """Of each mutant, looked for on all cores at once."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, prepare) as processes:
        yield {name: processes.submit(first_broken, name) for name in MUTANTS}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_its_guard_the_protocol_breaks(name: str, found: Found) -> None:
    broken = found[name].result()
    assert broken is not None, f"{SEEDS_MAX} schedules without {MUTANTS[name].guard}: none broke"
    print(f"{name}: seed {broken.seed}, {broken.violations[0][:100]}")


def test_the_guards_are_listed() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*?) \|", page, re.MULTILINE))
    assert rows == {name: mutant.guard for name, mutant in MUTANTS.items()}


def test_a_broken_schedule_is_shrunk_to_one_that_breaks_in_the_same_way() -> None:
    mutant = MUTANTS["frontier-is-the-maximum"]
    with pytest.MonkeyPatch.context() as patch:
        mutant.apply(patch)
        broken = next(broken for seed in range(100) if (broken := run(seed)))
        shortest = shrink(broken)
        again = run(broken.seed, steps=shortest.steps, traced=True)
        one_less = [run(broken.seed, steps=_without(shortest.steps, at)) for at in shortest.steps]
    assert again is not None
    assert again.violations == shortest.violations
    assert again.trace
    assert len(shortest.steps) < len(broken.steps) / 10
    assert all(each is None or each.kind != broken.kind for each in one_less)


def _without(steps: Sequence[int], at: int) -> list[int]:
    return [step for step in steps if step != at]
