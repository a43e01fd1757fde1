"""Checkouts of other releases, whose processes tests run beside those of this one.

They run in this release's virtualenv, as a rollback in place would.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from devstack import ROOT

#: The release before this one. After a release, set it to that release's commit.
BEFORE: Final = "b07a0435bfd9be92910a11f74c0856300467914a"
#: What a product process runs.
CODE: Final = ("ingest", "notify", "workers")


def before(directory: Path) -> Path:
    """The release before this one, out of the history.

    Skips the test where the history is not there, and fails it in CI, which has all of it.
    """
    packed = subprocess.run(
        ["git", "archive", "--format=tar", BEFORE], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        reason = (
            f"the release before, commit {BEFORE[:7]}, is not in this clone "
            f"({packed.stderr.decode().strip()}): run `git fetch --unshallow`, or clone without --depth"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    directory.mkdir(parents=True)
    # Not tarfile: Python 3.11.2 does not know the filter that 3.14 wants to be named.
    subprocess.run(["tar", "-xf", "-", "-C", str(directory)], input=packed.stdout, check=True)
    return directory


def following(directory: Path) -> Path:
    """A release after this one, which reads and writes the next `v` of an update."""
    for name in CODE:
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", directory)
    module = directory / "notify" / "domain" / "records" / "update.py"
    text = module.read_text()
    for name in ("VERSION", "READS"):
        line = f"{name}: Final = 1\n"
        assert text.count(line) == 1, f"{module.name} no longer has the line {line!r}"
        text = text.replace(line, f"{name}: Final = 2\n")
    module.write_text(text)
    return directory
