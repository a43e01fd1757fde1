"""`make`'s set-up: installs a lock into a virtualenv, one line a step. Standard library only.

Run as `python -m devstack.install LOCK STAMP` by any Python that the project supports. The stamp is
a file in the virtualenv, a copy of the lock, written last. So an interrupted set-up is repeated, a
lock with a new time but the same text costs nothing, and what a newer lock dropped is uninstalled.
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

#: The lock is complete, so pip resolves nothing. Left to pip, every module is compiled on one core,
#: which takes longer than all the rest; the demo's processes compile the modules that they import.
ARGUMENTS: Final = ("--require-hashes", "--no-deps", "--no-compile")
OPTIONS: Final = ("--disable-pip-version-check", "--no-input")
#: What pip's line about one requirement begins with.
READ: Final = ("Collecting ", "Requirement already satisfied: ", "Ignoring ")
#: The lock of those who run tests, in which a warning is an error: a SyntaxWarning of a dependency
#: comes when it is compiled, so all of it is compiled here.
TESTED: Final = "dev"
#: What the locks have wheels for.
SUPPORTED: Final = "Python 3.11 to 3.14 on Linux (glibc 2.28 or newer) and macOS 14 or newer"
#: All of a step's line before its time, so that times stand below each other.
WIDTH: Final = 60


class SetUpError(Exception):
    """A step failed; the text has its output, and what to do."""


class Step:
    """One line: what is done, on a terminal also how far it is, and how long it took."""

    def __init__(self, text: str) -> None:
        self._text = f"set-up: {text}"
        self._began = time.monotonic()
        self._live = sys.stdout.isatty()
        self._write(self._text + " …")

    def show(self, progress: str) -> None:
        """Says how far it is, on a terminal only."""
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
        """Nobody may be reading any more (`make up | head`): set-up goes on all the same."""
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(text)
            sys.stdout.flush()


@contextlib.contextmanager
def step(text: str) -> Iterator[Step]:
    """The line is completed in any case, so that an error begins on one of its own."""
    line = Step(text)
    try:
        yield line
    finally:
        line.end()


def install(lock: Path, stamp: Path) -> None:
    """Returns with the virtualenv having all of the lock, and the stamp. Raises SetUpError."""
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
                # A package may hold a file for another Python: one that can't be compiled is no error.
                _run(
                    [python, "-m", "compileall", "-q", "-j", "0", *venv.glob("lib/*/site-packages")]
                )
    shutil.copyfile(lock, stamp)


def pinned(lock: str) -> set[str]:
    """The names of the lock's distributions, those for other platforms too."""
    return set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))


def make_venv(venv: Path) -> Path:
    """The virtualenv's Python. Makes a new one where there is none, or its Python does not run."""
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
            f"{done.stdout}\nset-up: {sys.executable} cannot make a virtualenv, see above. On Debian "
            "and Ubuntu install python3-venv, or name another Python: make PYTHON=/path/to/python"
        )
    return python


@dataclass(frozen=True, slots=True)
class Pip:
    """The virtualenv's pip; a line shows how much of the lock it has read."""

    python: Path
    line: Step
    total: int

    def run(self, command: str, *arguments: str) -> None:
        """Raises SetUpError with the whole output, and what to do, where pip fails."""
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
                f"set-up: `pip {command}` failed, see above. Something that is not in the lock was "
                f"installed into {self.python.parent.parent}: remove that directory and try again."
            )
        return (
            "set-up: pip could not install the packages, see above.\n"
            "- A connection or a certificate failed: pip must reach its package index; "
            f"`{self.python} -m pip config list` shows which.\n"
            f"- No matching distribution, or a build failed: there are wheels for {SUPPORTED}. This "
            f"is Python {platform.python_version()} on {platform.platform()}. For another Python "
            f"remove {self.python.parent.parent} and run make PYTHON=/path/to/python.\n"
            "- A hash does not match: the file is not the one that was locked. Please report it.\n"
            "Then run the same make again: it keeps what is installed."
        )


def _run(argv: list[str | Path]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def main(lock: str, stamp: str) -> int:
    """0 with all of it installed; else 1, and what to do is on standard error; 130 on Ctrl-C."""
    try:
        install(Path(lock), Path(stamp))
    except SetUpError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: stopped; the same make starts it again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
