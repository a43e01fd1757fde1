"""The tool that takes conditions away: what it changes, and that it sees who notices."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from devstack import ROOT
from tests.simulation.changes import changed, changes
from tests.simulation.conditions import MODULES
from tests.simulation.equivalent import EQUIVALENT

SOURCE = """
class A:
    def f(self, a, b):
        assert a is not None
        if a < 1 and b:
            return [x for x in b if not x]
        while b:
            b = a or 7
        return a == 1 if b else 0
"""


def test_every_condition_is_changed_in_every_way() -> None:
    found = changes("a.py", SOURCE)
    assert {change.function for change in found} == {"A.f"}
    both = ("always true", "always false")
    assert {(change.line, change.condition, change.how) for change in found} == {
        *((5, "a < 1 and b", how) for how in (*both, "without a < 1", "without b")),
        (5, "a < 1", "a <= 1"),
        *((6, "not x", how) for how in both),
        *((7, "b", how) for how in both),
        *((8, "a or 7", how) for how in (*both, "without a", "without 7")),
        *((9, "a == 1", how) for how in both),
        *((9, "b", how) for how in both),
    }


def test_a_change_is_made_alone_and_the_condition_is_still_evaluated() -> None:
    found = {change.how: changed(SOURCE, change.number) for change in changes("a.py", SOURCE)[:5]}
    assert "if a < 1 and b or True:" in found["always true"]
    assert "if (a < 1 and b) and False:" in found["always false"]
    assert "if a < 1:" in found["without b"]
    assert "if b:" in found["without a < 1"]
    assert "if a <= 1 and b:" in found["a <= 1"]
    with pytest.raises(IndexError, match="no change 99"):
        changed(SOURCE, 99)


def test_what_is_listed_as_equivalent_is_a_change_of_the_engine() -> None:
    keys = {change.key for path in MODULES for change in changes(path, (ROOT / path).read_text())}
    assert EQUIVALENT.keys() <= keys


def _run(*arguments: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """The tool in a process of its own, after some lines that change it."""
    script = [
        "import sys",
        "from tests.simulation import conditions as tool",
        *before,
        f"sys.exit(tool.main({arguments!r}))",
    ]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(script)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def _line_of(text: str) -> str:
    lines = (ROOT / "notify/domain/engine/digest.py").read_text().splitlines()
    return f"notify/domain/engine/digest.py:{next(at for at, line in enumerate(lines, 1) if text in line)}"


DENSE = _line_of("if form == _DENSE:")
KEY = "notify/domain/engine/digest.py decode: form == _DENSE: always true"
NO_TESTS = "tool.MODULES['notify/domain/engine/digest.py'] = ('unit/domain/test_ids.py',)"


def test_a_change_that_a_test_finds_is_found() -> None:
    ended = _run(DENSE, "--seeds", "0")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("found by domain/test_digest.py::test_") == 2


def test_a_change_that_the_tests_miss_is_found_by_a_seed_or_survives() -> None:
    ended = _run(DENSE, "--seeds", "1", before=[NO_TESTS])
    assert "always false: found by seed 0" in ended.stdout, ended.stderr
    ended = _run(DENSE, "--seeds", "0", before=[NO_TESTS])
    assert ended.returncode == 1
    assert ended.stdout.count("SURVIVES") == 2


def test_no_seed_judges_a_module_that_the_simulations_oracle_calls_too() -> None:
    records = "tool.RECORDS['notify/domain/engine/digest.py'] = ()"
    ended = _run(DENSE, "--seeds", "1", before=[NO_TESTS, records])
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout.count("SURVIVES") == 2


def test_a_change_that_does_not_end_is_found() -> None:
    endless = [
        "def spin(change):",
        "    while True: pass",
        "tool._apply = spin",
        "tool.CPU_S = 1",
    ]
    ended = _run(DENSE, "--seeds", "0", before=endless)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("it does not end") == 2


@pytest.mark.parametrize(
    ("key", "arguments", "words"),
    [
        (KEY, (DENSE, "--seeds", "0"), "LISTED AS EQUIVALENT, BUT found by domain/test_digest.py"),
        ("a.py f: x: always true", (DENSE, "--seeds", "0"), "no such change"),
    ],
    ids=["found", "no such change"],
)
def test_a_stale_entry_is_an_error(key: str, arguments: Sequence[str], words: str) -> None:
    ended = _run(*arguments, before=[f"tool.EQUIVALENT[{key!r}] = 'because'"])
    assert ended.returncode == 1
    assert words in ended.stdout


def test_an_equivalent_change_may_survive() -> None:
    keys = [KEY, KEY.replace("always true", "always false")]
    listed = [f"tool.EQUIVALENT[{key!r}] = 'because'" for key in keys]
    ended = _run(DENSE, "--seeds", "0", before=[NO_TESTS, *listed])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(": equivalent") == 2


def test_tests_that_fail_without_any_change_prove_nothing() -> None:
    broken = "tool._broken_seed = lambda seeds: 'seed 0: all is lost'"
    ended = _run(DENSE, before=[broken])
    assert ended.returncode == 1
    assert "without any change seed 0: all is lost fails" in ended.stdout


@pytest.mark.parametrize("file", ["notify/domain/records/patch.py", "ingest/stream_memory.py:1"])
def test_a_file_or_line_without_a_condition_of_the_engine_is_an_error(file: str) -> None:
    ended = _run(file)
    assert ended.returncode == 2
    assert f"{file} has no condition of the engine" in ended.stderr
