"""The tutorial, read as a newcomer reads it: its commands run as they stand, in a copy of the checkout.

A block of `sh` is run. A block without a language after it is what it prints, but for UUIDs; one of
`text` is an example.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from devstack import ROOT

TUTORIAL: Final = ROOT / "docs" / "tutorial.md"
#: For the whole of it, on a machine that is busy with other tests.
TIMEOUT_S: Final = 1_200
BLOCK: Final = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
UUID: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
#: Runs a block until it succeeds and prints what it should: an update is applied a moment after its
#: answer. Its output is left in the file `printed`.
RUN: Final = f"""
ids() {{ sed -E 's/{UUID}/UUID/g'; }}
until_so() {{
    until eval "$1" > printed && {{ [ -z "$2" ] || [ "$(ids < printed)" = "$(ids <<< "$2")" ]; }}; do
        [ $SECONDS -lt {TIMEOUT_S} ] || {{ echo "not so: $1"; cat printed; exit 1; }}
        sleep 0.2
    done
}}
"""


class Step(NamedTuple):
    """A block of commands, and what it prints; empty where the tutorial does not say it."""

    commands: str
    prints: str


def _steps() -> Iterator[Step]:
    blocks = [(match[2], match[3]) for match in BLOCK.finditer(TUTORIAL.read_text())]
    for (language, text), (after, prints) in zip(blocks, [*blocks[1:], ("sh", "")], strict=True):
        if language == "sh":
            yield Step(text, prints.strip() if after == "" else "")


STEPS: Final = list(_steps())


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy of what is in git and its packages, without anything of this machine's environment."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    yield tmp_path
    _bash(tmp_path, "make down RESET=1")


def _bash(directory: Path, script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "NOTIFY_UP_TIMEOUT_S": str(TIMEOUT_S),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 120)
def test_every_command_of_the_tutorial_works_and_prints_what_it_says(checkout: Path) -> None:
    run = [f"until_so {_quoted(step.commands)} {_quoted(step.prints)}" for step in STEPS]
    done = _bash(checkout, "\n".join([RUN, *run]))
    assert done.returncode == 0, done.stdout


def test_the_tutorial_says_what_its_requests_answer() -> None:
    """Else the test above would compare nothing."""
    for step in STEPS:
        assert bool(step.prints) is ("curl" in step.commands and "-f " not in step.commands)
    assert any("make down" in step.commands for step in STEPS)
