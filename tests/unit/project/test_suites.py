"""What `make test` and `make test-all` run: together every test, and each suite in one place."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from devstack import ROOT
from tests import parallel

TESTS: Final = ROOT / "tests"
FAULTS: Final = parallel.QA / "faults"


@pytest.mark.parametrize(
    ("arguments", "left_out"),
    [
        (["tests"], True),
        (["tests/unit"], True),
        (["tests/qa/clients"], True),
        (["tests/qa/faults"], False),
        (["tests/qa/faults/"], False),
        ([str(FAULTS)], False),
        (["tests/unit", "tests/qa/faults/test_matrix.py::test_nothing_is_lost"], False),
    ],
)
def test_a_long_suite_runs_where_it_is_named(
    arguments: Sequence[str], left_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert parallel.is_left_out(FAULTS, arguments) is left_out
    assert not parallel.is_left_out(TESTS / "unit", arguments)


def test_what_needs_an_official_client_is_long_and_what_replays_it_is_not() -> None:
    """A client is fetched or built first, which takes minutes and is done by one process only."""
    needs = {
        file
        for file in parallel.QA.glob("clients/test_*.py")
        if "client: Driver" in file.read_text()
    }
    assert needs == {path for path in parallel.LONG if path.parent.name == "clients"}
    for file in needs:
        assert parallel.is_left_out(file, [str(TESTS)])
        assert not parallel.is_left_out(file, [str(parallel.QA / "clients")])
    assert not parallel.is_left_out(parallel.QA / "clients", [str(TESTS)])


def test_every_long_suite_is_one_of_make_test_all() -> None:
    makefile = (ROOT / "Makefile").read_text()
    found = re.search(r"^SUITES := (.*)$", makefile, re.MULTILINE)
    assert found
    assert {path.relative_to(parallel.QA).parts[0] for path in parallel.LONG} < set(
        found[1].split()
    )
    assert all(path.exists() for path in parallel.LONG)


def test_files_that_are_split_are_there() -> None:
    for path in parallel.SHARE_NOTHING:
        assert (ROOT / path).exists(), path


def test_the_tests_of_a_file_stay_together_unless_they_share_nothing() -> None:
    scope = parallel.SlowFirst._split_scope
    apart = "tests/simulation/test_guards.py::test_it[x]"
    assert scope(None, apart) == apart  # type: ignore[arg-type]
    assert scope(None, "tests/unit/test_a.py::test_it[x::y]") == "tests/unit/test_a.py"  # type: ignore[arg-type]


def test_files_that_are_split_have_no_fixture_of_the_module() -> None:
    """Each worker would make its own."""
    for path in parallel.SHARE_NOTHING:
        files = (ROOT / path).glob("test_*.py") if path.endswith("/") else [Path(ROOT / path)]
        assert [file.name for file in files if 'scope="module"' in file.read_text()] == []
