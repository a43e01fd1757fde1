"""Which tests CI may run a second time."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import ROOT

ANY = "tests/unit/security/test_keys.py::test_any_text_can_be_tried[a b]"
OTHER = "tests/browser/test_hot.py::test_x"


def second_try(cache: Path, failed: list[str] | None) -> tuple[int, str]:
    """The exit code, and what is printed, after a run in which these failed."""
    if failed is not None:
        (cache / "v/cache").mkdir(parents=True)
        (cache / "v/cache/lastfailed").write_text(json.dumps(dict.fromkeys(failed, True)))
    argv = [sys.executable, str(ROOT / ".ci/second_try.py"), str(cache)]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True)
    return ran.returncode, ran.stdout.strip()


def test_a_few_run_again(tmp_path: Path) -> None:
    assert second_try(tmp_path, [ANY, OTHER, ANY + "2"]) == (
        0,
        "tests/browser/test_hot.py tests/unit/security/test_keys.py",
    )


@pytest.mark.parametrize(
    "failed",
    [
        None,
        [],
        [ANY, "tests/qa/faults/test_matrix.py::test_nothing_is_lost[storm-1]"],
        ["tests/acceptance/test_equality.py::test_x"],
        ["tests/simulation/test_guards.py::test_x[y]"],
        [f"{ANY}{n}" for n in range(4)],
    ],
)
def test_others_do_not(tmp_path: Path, failed: list[str] | None) -> None:
    """Nothing failed, the protocol is judged, or there are too many."""
    assert second_try(tmp_path, failed) == (1, "")


def test_what_has_no_second_try_is_there() -> None:
    paths = runpy.run_path(str(ROOT / ".ci/second_try.py"))["FINAL"]
    assert len(paths) == 6
    assert all((ROOT / path).exists() for path in paths)
