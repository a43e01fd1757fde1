"""Each lock installs as it stands, by `--require-hashes --no-deps`, on every target.

Nothing here asks the network: what a locked distribution needs, and which wheels it has, is in
requirements/distributions.json, which `make lock` writes and which is held here to the metadata of
what is installed.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import product
from typing import Any, Final

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from devstack import ROOT
from devstack.install import ARGUMENTS
from devstack.lock import ALL, LOCKS, NOTES, PYTHONS, REQUIREMENTS, TARGETS, TOOLS, Target

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: The first and a late patch release: markers may tell them apart (`python_full_version < '3.11.3'`).
PATCHES: Final = (0, 99)
#: Windows and PyPy are no targets, but markers of the locks speak of them.
SYSTEMS: Final = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}
MACHINES: Final = ("x86_64", "arm64", "aarch64")
IMPLEMENTATIONS: Final = ("CPython", "PyPy")
#: What has no wheel there: pip builds it, which needs a compiler, and takes newest build dependencies.
FROM_SOURCE: Final = {("cryptography", "macOS", "x86_64")}
Environment = Mapping[str, str]
#: By the name of the distribution.
Versions = dict[str, str]


@dataclass(frozen=True, slots=True)
class Pin:
    """A line of a lock."""

    name: str
    version: str
    marker: Marker | None
    hashes: frozenset[str]

    def applies(self, environment: Environment) -> bool:
        """Whether pip installs it there."""
        return self.marker is None or self.marker.evaluate(dict(environment))


@cache
def _pins(lock: str) -> tuple[Pin, ...]:
    text = (REQUIREMENTS / f"{lock}.txt").read_text().replace("\\\n", " ")
    return tuple(_pin(line) for line in text.splitlines())


def _pin(line: str) -> Pin:
    head, *hashes = re.split(r"\s+--hash=", line)
    match = re.fullmatch(r"([a-z0-9-]+)==(\S+)(?: ; (.+))?", head.strip())
    assert match, f"not a pin: {line}"
    name, version, marker = match.groups()
    return Pin(name, version, Marker(marker) if marker else None, frozenset(hashes))


@cache
def _notes() -> Mapping[str, Any]:
    """By "name==version"."""
    notes: Mapping[str, Any] = json.loads(NOTES.read_text())
    return notes


def _environment(
    python: tuple[int, int], patch: int, system: str, machine: str, implementation: str = "CPython"
) -> Environment:
    version = f"{python[0]}.{python[1]}"
    return {
        "implementation_name": implementation.lower(),
        "implementation_version": f"{version}.{patch}",
        "os_name": "nt" if system == "win32" else "posix",
        "platform_machine": machine,
        "platform_python_implementation": implementation,
        "platform_release": "",
        "platform_system": SYSTEMS[system],
        "platform_version": "",
        "python_full_version": f"{version}.{patch}",
        "python_version": version,
        "sys_platform": system,
        "extra": "",
    }


ENVIRONMENTS: Final = [
    _environment(*each) for each in product(PYTHONS, PATCHES, SYSTEMS, MACHINES, IMPLEMENTATIONS)
]


def _installed(lock: str, environment: Environment) -> Versions:
    """What pip installs from the lock there; it refuses a lock with two versions of one name."""
    pins = [pin for pin in _pins(lock) if pin.applies(environment)]
    versions = {pin.name: pin.version for pin in pins}
    assert len(versions) == len(pins), f"{lock}.txt pins a name twice in {environment}"
    return versions


def _asked(lock: str) -> Iterator[Requirement]:
    """What pyproject.toml asks for."""
    if lock == TOOLS:
        yield from map(Requirement, PROJECT["dependency-groups"][TOOLS])
        return
    yield from map(Requirement, PROJECT["project"]["dependencies"])
    for extra in LOCKS[lock]:
        yield from map(Requirement, PROJECT["project"]["optional-dependencies"][extra])


def _needed(lock: str, environment: Environment) -> set[str]:
    """The names that the lock's distributions need there, each found in the lock, and satisfied."""
    versions = _installed(lock, environment)
    waiting = [("pyproject.toml", requirement) for requirement in _asked(lock)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        origin, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        where = f"{origin} needs {requirement} in {environment}"
        assert name in versions, f"{lock}.txt lacks {name}: {where}. Run `make lock`."
        fits = requirement.specifier.contains(versions[name], prereleases=True)
        assert fits, f"{lock}.txt has {name} {versions[name]}: {where}. Run `make lock`."
        note = _notes()[f"{name}=={versions[name]}"]
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _dependencies(name, note, environment, extra)
    return {name for name, _ in seen}


_parsed = cache(Requirement)


def _dependencies(
    origin: str, note: Mapping[str, Any], environment: Environment, extra: str
) -> Iterator[tuple[str, Requirement]]:
    """Those that the distribution has anyway, for the extra "", else those that the extra adds."""
    for requirement in map(_parsed, note["requires_dist"]):
        marker = requirement.marker
        if marker is None:
            holds = extra == ""
        else:
            holds = marker.evaluate({**environment, "extra": canonicalize_name(extra)})
        if holds:
            yield origin, requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_all_that_is_needed_and_no_more(lock: str) -> None:
    for environment in ENVIRONMENTS:
        superfluous = _installed(lock, environment).keys() - _needed(lock, environment)
        assert not superfluous, f"nothing in {lock}.txt needs {superfluous} in {environment}"


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_lock_has_a_hashed_wheel_for_each_target(lock: str, target: Target) -> None:
    system = {"Linux": "linux", "macOS": "darwin"}[target.system]
    for patch in PATCHES:
        environment = _environment(target.python, patch, system, target.machine)
        for pin in _pins(lock):
            if not pin.applies(environment):
                continue
            note = _notes()[f"{pin.name}=={pin.version}"]
            python = note["requires_python"]
            assert Requirement(f"python{python}").specifier.contains(
                environment["python_full_version"]
            ), f"{pin.name} {pin.version} needs Python {python}"
            file = target.best(note["files"])
            assert (file is None) is ((pin.name, target.system, target.machine) in FROM_SOURCE), (
                f"{pin.name} {pin.version} for {target}: {file or 'no wheel'}"
            )
            file = file or next(name for name in note["files"] if name.endswith(".tar.gz"))
            assert f"sha256:{note['files'][file]}" in pin.hashes, f"{lock}.txt lacks {file}"


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_agree(lock: str) -> None:
    """Going from one to a larger one only adds: each line is a line of the largest."""
    largest = {(pin.name, pin.version): pin.hashes for pin in _pins(ALL)}
    for pin in _pins(lock):
        assert largest[pin.name, pin.version] == pin.hashes, f"{lock}.txt: {pin.name}"


def test_all_locks_are_known_and_hashed() -> None:
    assert {file.stem for file in REQUIREMENTS.glob("*.txt")} == {*LOCKS, TOOLS}
    assert set(LOCKS[ALL]) == PROJECT["project"]["optional-dependencies"].keys()
    for pin in (pin for lock in (*LOCKS, TOOLS) for pin in _pins(lock)):
        assert pin.hashes
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in pin.hashes)


def test_the_tools_of_make_lock_are_as_pyproject_asks() -> None:
    """uv needs nothing, so its lock needs no notes."""
    versions = {pin.name: pin.version for pin in _pins(TOOLS)}
    asked = list(_asked(TOOLS))
    assert versions.keys() == {requirement.name for requirement in asked} == {"uv"}
    assert all(each.specifier.contains(versions[each.name]) for each in asked)


def test_notes_are_of_the_lock() -> None:
    assert _notes().keys() == {f"{pin.name}=={pin.version}" for pin in _pins(ALL)}
    for name, note in _notes().items():
        for file in note["files"]:
            parse = parse_wheel_filename if file.endswith(".whl") else parse_sdist_filename
            distribution, version, *_ = parse(file)
            assert f"{distribution}=={version}" == name


def test_notes_are_what_installed_distributions_say() -> None:
    """What this platform does not install can't be looked at here: its notes are the registry's."""
    here = {key: str(value) for key, value in default_environment().items()}
    for name, version in _installed(ALL, here).items():
        found = metadata.distribution(name)
        note = _notes()[f"{name}=={version}"]
        assert found.version == version, f"{name} is not as locked: run `make .venv/installed`"
        assert _normal(found.requires or []) == _normal(note["requires_dist"]), name
        assert (found.metadata["Requires-Python"] or "") == note["requires_python"], name


def _normal(requirements: list[str]) -> set[str]:
    return {str(Requirement(text)) for text in requirements}


def _texts() -> Iterator[tuple[str, str]]:
    """Every file in which a person or a program finds a command, with continued lines joined."""
    folders = (".ci", "docker", "docs", "devstack", "ingest", "notify", "workers")
    found = (file for folder in folders for file in (ROOT / folder).rglob("*"))
    for file in (ROOT / "Makefile", *ROOT.glob("*.md"), *found):
        if file.is_file() and file.suffix != ".pyc":
            text = file.read_text(errors="replace")
            yield str(file.relative_to(ROOT)), re.sub(r"\\\n\s*", " ", text)


def _install_commands(text: str) -> Iterator[str]:
    """To the end of the line, or of the string, quotation or command that it stands in."""
    yield from re.findall(r"pip3? +(?:-\S+ +)*install\b[^\n`\"&;|]*", text)


def test_every_install_command_takes_hashes_and_no_dependencies() -> None:
    commands = [(name, each) for name, text in _texts() for each in _install_commands(text)]
    assert {"docker/Dockerfile", "docs/logs.md"} <= {name for name, _ in commands}
    for name, command in commands:
        if ".whl" in command:  # our own, built beside the lock: nothing is fetched for it
            assert {"--no-deps", "--no-index"} <= set(command.split()), f"{name}: {command}"
            continue
        assert "--require-hashes" in command, f"{name}: {command}"
        assert "--no-deps" in command, f"{name}: {command}"
        assert re.search(r"-r \S+\.txt", command), f"{name}: {command}"


@pytest.mark.parametrize("flag", ["--require-hashes", "--no-deps"])
def test_set_up_takes_hashes_and_no_dependencies(flag: str) -> None:
    assert flag in ARGUMENTS
