"""Virtual environments and jars of contenders, below ~/.cache/notify-contenders."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.qa.benchmarks.contenders.contender import Unavailable

HOME: Final = Path.home() / ".cache" / "notify-contenders"


def environment(name: str, packages: Sequence[str], python: str = sys.executable) -> Path:
    """The Python of a virtual environment with the packages. Raises Unavailable if pip fails."""
    digest = hashlib.sha256("\n".join((python, *packages)).encode()).hexdigest()[:8]
    home = HOME / f"{name}-{digest}"
    executable = home / "bin" / "python"
    if (home / "installed").exists() and executable.exists():
        return executable
    shutil.rmtree(home, ignore_errors=True)
    command([python, "-m", "venv", home])
    command([executable, "-m", "pip", "install", "--quiet", *packages])
    (home / "installed").touch()
    return executable


def command(argv: Sequence[str | Path]) -> None:
    """Runs it. Raises Unavailable with the last lines of its output if it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unavailable(f"{argv[0]} does not run: {error}") from error
    if done.returncode:
        lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
        raise Unavailable(" / ".join(lines[-3:])[:400])


def python(version: str) -> str:
    """A Python of this version that runs. Raises Unavailable if there is none."""
    for candidate in _candidates(version):
        words = [str(candidate), "-c", "import ensurepip, venv"]
        try:
            if not subprocess.run(words, capture_output=True, check=False).returncode:
                return str(candidate)
        except OSError:
            continue
    raise Unavailable(f"there is no Python {version} with venv: install it")


def _candidates(version: str) -> Iterator[Path]:
    """On PATH, where a shim of pyenv may not run; then what pyenv has installed."""
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
