"""`make lock`: resolves pyproject.toml into requirements/*.txt, and describes the locked distributions.

The description, requirements/distributions.json, has what a lock does not contain: the dependencies of
each locked distribution, and its file for each target. So tests/unit/devstack/test_locks.py can check the
locks without a network.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename

from devstack import ROOT

REQUIREMENTS: Final = ROOT / "requirements"
NOTES: Final = REQUIREMENTS / "distributions.json"
#: The lock that contains all others. They take their versions from it.
ALL: Final = "dev"
#: The extras of pyproject.toml in each lock. Every lock contains the runtime's dependencies.
LOCKS: Final = {
    ALL: ("devstack", "docs", "librdkafka", "otel", "test"),
    "devstack": ("devstack",),
    "docs": ("docs",),
    "otel": ("otel",),
    "librdkafka": ("librdkafka",),
    "base": (),
}
#: The lock of the tools that `make lock` itself uses, in a separate virtualenv.
TOOLS: Final = "lock"
TOOLS_VENV: Final = ROOT / ".venv" / "lock"

PYTHONS: Final = ((3, 11), (3, 12), (3, 13), (3, 14))
#: The oldest C library and macOS that the locked wheels must run on (Debian 10, RHEL 8; macOS 14).
GLIBC: Final = (2, 28)
MACOS: Final = (14, 0)


@dataclass(frozen=True, slots=True)
class Target:
    """A Python version on a platform that the locks have wheels for."""

    python: tuple[int, int]
    system: str
    machine: str

    def __str__(self) -> str:
        return f"Python {self.python[0]}.{self.python[1]} on {self.system} {self.machine}"

    def best(self, files: Iterable[str]) -> str | None:
        """The name of the wheel that pip would choose from these files; None if it can install none."""
        ranks = _ranks(self)
        found = {
            min(ranks[tag] for tag in fits): name
            for name in files
            if name.endswith(".whl")
            and (fits := [tag for tag in parse_wheel_filename(name)[3] if tag in ranks])
        }
        return found[min(found)] if found else None

    def platforms(self) -> Iterator[str]:
        """The platform tags of wheels that the target can install, the most specific first."""
        if self.system == "macOS":
            yield from mac_platforms(MACOS, self.machine)
            return
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        for minor in range(GLIBC[1], 4, -1):
            yield f"manylinux_{GLIBC[0]}_{minor}_{self.machine}"
            if minor in legacy:
                yield f"{legacy[minor]}_{self.machine}"
        yield f"linux_{self.machine}"


@cache
def _ranks(target: Target) -> dict[Tag, int]:
    """The tags of wheels that the target can install; the most specific has the lowest rank."""
    abi = f"cp{target.python[0]}{target.python[1]}"
    platforms = list(target.platforms())
    tags = [
        *cpython_tags(target.python, abis=[abi], platforms=platforms),
        *compatible_tags(target.python, abi, platforms),
    ]
    return {tag: rank for rank, tag in enumerate(tags)}


TARGETS: Final = tuple(
    Target(python, system, machine)
    for python, (system, machine) in product(
        PYTHONS,
        (("Linux", "x86_64"), ("Linux", "aarch64"), ("macOS", "x86_64"), ("macOS", "arm64")),
    )
)


def main(argv: Sequence[str]) -> int:
    """Writes all locks and their description. Returns 1 if a step fails, after its output was shown."""
    parser = argparse.ArgumentParser(prog="make lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="use the newest releases")
    upgrade = ["--upgrade"] if parser.parse_args(argv).upgrade else []
    try:
        _prepare_tools()
        _compile(TOOLS, "--group", TOOLS, *upgrade)
        _compile(ALL, *_extras(ALL), *upgrade)
        for name in LOCKS:
            if name != ALL:
                _compile(name, *_extras(name), "--constraint", f"requirements/{ALL}.txt")
        _write_notes()
    except subprocess.CalledProcessError as error:
        print(
            f"make lock: {Path(error.cmd[0]).name} failed; the error is above. It needs the package index: "
            "uv reads UV_DEFAULT_INDEX, pip its own configuration. The locks that were written so far are "
            "complete; `git diff requirements` shows them.",
            file=sys.stderr,
        )
        return 1
    return 0


def _prepare_tools() -> None:
    """Creates a separate virtualenv with the locked version of uv."""
    if not (TOOLS_VENV / "bin" / "pip").exists():
        venv.create(TOOLS_VENV, with_pip=True, clear=True)
    lock = REQUIREMENTS / f"{TOOLS}.txt"
    _run("pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", str(lock))


def _extras(name: str) -> list[str]:
    return ["pyproject.toml", *(f"--extra={extra}" for extra in LOCKS[name])]


def _compile(name: str, *arguments: str) -> None:
    """Writes a lock. Without --upgrade, it keeps the present versions if it can."""
    print(f"make lock: requirements/{name}.txt", flush=True)
    _uv("--generate-hashes", "-o", f"requirements/{name}.txt", *arguments)


def _uv(*arguments: str) -> None:
    _run(
        *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
        *("--no-emit-index-url", "--no-header", "--no-annotate", *arguments),
    )


def _run(program: str, *arguments: str) -> None:
    subprocess.run(
        [TOOLS_VENV / "bin" / program, *arguments], cwd=ROOT, check=True, stdout=sys.stderr
    )


def _write_notes() -> None:
    """Describes each distribution of the largest lock. A test checks that it contains the others."""
    print(f"make lock: {NOTES.relative_to(ROOT)}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        files = _files(Path(directory) / "pylock.toml")
        metadata = _metadata(Path(directory))
    if files.keys() != metadata.keys():
        raise AssertionError(f"uv and pip found different distributions: {files.keys() ^ metadata}")
    notes = {
        name: {
            "requires_python": metadata[name].get("requires_python", ""),
            "requires_dist": metadata[name].get("requires_dist", []),
            "files": {file: files[name][file] for file in _chosen(files[name])},
        }
        for name in sorted(files)
    }
    NOTES.write_text(json.dumps(notes, indent=1) + "\n")


def _chosen(files: Iterable[str]) -> list[str]:
    """The wheels that any target would install, and the source archive if a target has no wheel."""
    best = {target.best(files) for target in TARGETS}
    source = [name for name in files if None in best and name.endswith(".tar.gz")]
    return sorted({name for name in best if name} | set(source))


def _files(pylock: Path) -> dict[str, dict[str, str]]:
    """The SHA-256 of each file by its name, by distribution ("name==version")."""
    _uv(
        *_extras(ALL), f"--constraint=requirements/{ALL}.txt", "--format=pylock.toml", f"-o{pylock}"
    )
    return {
        f"{package['name']}=={package['version']}": {
            file["url"].rpartition("/")[2]: file["hashes"]["sha256"]
            for file in (*package.get("wheels", []), *filter(None, [package.get("sdist")]))
        }
        for package in tomllib.loads(pylock.read_text())["packages"]
    }


def _metadata(directory: Path) -> dict[str, dict[str, Any]]:
    """Each locked distribution's core metadata, read by pip from the hashed files.

    It removes the markers, so that pip also reads what other platforms and Pythons install. A
    distribution that is locked in two versions needs two rounds.
    """
    rounds: list[dict[str, str]] = []
    for entry in (REQUIREMENTS / f"{ALL}.txt").read_text().replace("\\\n", " ").splitlines():
        pin, *rest = entry.split()
        name = pin.partition("==")[0]
        hashes = " ".join(word for word in rest if word.startswith("--hash="))
        free = next((each for each in rounds if name not in each), None)
        if free is None:
            rounds.append(free := {})
        free[name] = f"{pin} {hashes}"
    found = {}
    for lines in rounds:
        lock, report = directory / "lock.txt", directory / "report.json"
        lock.write_text("\n".join(lines.values()))
        _run(
            *("pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", str(lock)),
            *("--dry-run", "--ignore-installed", "--ignore-requires-python"),
            *("--only-binary=:all:", "--report", str(report)),
        )
        for item in json.loads(report.read_text())["install"]:
            metadata = item["metadata"]
            found[f"{canonicalize_name(metadata['name'])}=={metadata['version']}"] = metadata
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
