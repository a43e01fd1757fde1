"""The set-up of `make`: installs a lock into a virtualenv. Uses only the standard library.

Run it as `python -m devstack.install LOCK STAMP` with any supported Python. The stamp is a file in the
virtualenv: a copy of the lock, written last. So an interrupted set-up is repeated, an unchanged lock
costs nothing, and packages that a newer lock no longer has are uninstalled.
"""

import contextlib
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: The lock is complete, so pip resolves nothing. pip would compile every module on one core, which takes
#: longer than all the rest; the demo's processes compile only the modules that they import.
ARGUMENTS: Final = ("--require-hashes", "--no-deps", "--no-compile")
OPTIONS: Final = ("--disable-pip-version-check", "--no-input")
#: How pip's line about one requirement begins.
READ: Final = ("Collecting ", "Requirement already satisfied: ", "Ignoring ")
#: The lock for tests, in which a warning is an error. Compiling a dependency may raise a SyntaxWarning, so
#: all packages are compiled here, before the tests.
TESTED: Final = "dev"
#: The platforms that the locks have wheels for.
SUPPORTED: Final = "Python 3.11 to 3.14 on Linux (glibc 2.28 or newer) and macOS 14 or newer"
#: The width of a step's line before its time, so that the times are aligned.
WIDTH: Final = 60


class SetUpError(Exception):
    """A step failed. The text has its output and says what to do."""


class InstallStep:
    """A line of output: what the step does, in a terminal also its progress, and how long it took."""

    def __init__(self, text: str) -> None:
        self._text = f"set-up: {text}"
        self._began = time.monotonic()
        self._live = sys.stdout.isatty()
        self._write(self._text + " …")

    def show(self, progress: str) -> None:
        """Shows the progress, only in a terminal."""
        if self._live:
            self._write(f"\r\033[K{self._text} … {progress}")

    def end(self) -> None:
        """Completes the line."""
        took = f"{time.monotonic() - self._began:4.0f} s\n"
        if self._live:
            self._write(f"\r\033[K{self._text:<{WIDTH}}{took}")
        else:
            self._write(" " * (WIDTH - len(self._text) - 2) + took)

    def _write(self, text: str) -> None:
        """Writes text. If the reader is gone (`make up | head`), set-up continues without output."""
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(text)
            sys.stdout.flush()


@contextlib.contextmanager
def step(text: str) -> Iterator[InstallStep]:
    """Shows a step's line. Completes it even after an error, so that the error starts on a new line."""
    line = InstallStep(text)
    try:
        yield line
    finally:
        line.end()


def install(lock: Path, stamp: Path) -> None:
    """Installs the lock into the virtualenv of the stamp, and writes the stamp. Raises SetUpError."""
    venv = stamp.parent
    python = make_venv(venv)
    text, before = lock.read_text(), stamp.read_text() if stamp.exists() else ""
    if text != before:
        with step(f"packages of {lock}") as line:
            pip = Pip(python, line, total=len(pinned(text)))
            pip.run("install", *ARGUMENTS, "-r", str(lock))
            if dropped := pinned(before) - pinned(text):
                pip.run("uninstall", "--yes", *sorted(dropped))
            pip.run("check")
        if lock.stem == TESTED:
            with step("bytecode of the packages"):
                # A package may contain a file for another Python, so a failed compilation is not an error.
                _run(
                    [python, "-m", "compileall", "-q", "-j", "0", *venv.glob("lib/*/site-packages")]
                )
    shutil.copyfile(lock, stamp)


def pinned(lock: str) -> set[str]:
    """The names of the lock's distributions, also of those for other platforms."""
    return set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))


def make_venv(venv: Path) -> Path:
    """Returns the virtualenv's Python. Creates the virtualenv if it is missing or its Python does not run."""
    python = venv / "bin" / "python"
    if python.exists() and not _run([python, "-c", ""]).returncode:
        return python
    with step(f"virtualenv {venv} with Python {platform.python_version()}"):
        if venv.is_symlink():
            venv.unlink()
        shutil.rmtree(venv, ignore_errors=True)
        done = _run([sys.executable, "-m", "venv", venv])
    if done.returncode:
        raise SetUpError(
            f"{done.stdout}\nset-up: {sys.executable} cannot create a virtualenv; the error is above. On "
            "Debian and Ubuntu install python3-venv, or use another Python: make PYTHON=/path/to/python"
        )
    return python


@dataclass(frozen=True, slots=True)
class Pip:
    """The virtualenv's pip. `line` shows how many of the `total` requirements it has read."""

    python: Path
    line: InstallStep
    total: int

    def run(self, command: str, *arguments: str) -> None:
        """Runs a command of pip. If it fails, raises SetUpError with the whole output and what to do."""
        output, count = [], 0
        with subprocess.Popen(
            [self.python, "-m", "pip", *OPTIONS, command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout
            for text in process.stdout:
                output.append(text)
                if text.startswith(READ):
                    count += 1
                    self.line.show(f"{count} of {self.total}")
                elif text.startswith("Installing collected packages"):
                    self.line.show("unpacking")
        if process.returncode:
            raise SetUpError(f"{''.join(output)}\n{self._advice(command)}")

    def _advice(self, command: str) -> str:
        if command != "install":
            return (
                f"set-up: `pip {command}` failed; the error is above. A package that is not in the lock was "
                f"installed into {self.python.parent.parent}: delete that directory and try again."
            )
        return (
            "set-up: pip could not install the packages; the error is above.\n"
            "- If a connection or a certificate failed: pip must reach its package index; "
            f"`{self.python} -m pip config list` shows which.\n"
            f"- If there is no matching distribution, or a build failed: there are wheels for {SUPPORTED}. "
            f"This is Python {platform.python_version()} on {platform.platform()}. To use another Python, "
            f"delete {self.python.parent.parent} and run make PYTHON=/path/to/python.\n"
            "- If a hash does not match: the file is not the one in the lock. Please report it.\n"
            "Then run the same make command again: it keeps what is installed."
        )


def _run(argv: list[str | Path]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def main(lock: str, stamp: str) -> int:
    """Returns 0 if all is installed; 1 after an error, which it prints; 130 after Ctrl-C."""
    try:
        install(Path(lock), Path(stamp))
    except SetUpError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: stopped. Run the same make command to start it again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
