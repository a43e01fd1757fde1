"""Set-up: a lock into a virtualenv by the real pip, from wheels made here, without a network."""

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from devstack import ROOT, install
from devstack.lock import GLIBC, MACOS, PYTHONS

WHEEL: Final = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _pin(wheels: Path, name: str, version: str, *, requires: str = "") -> str:
    """Makes a wheel of one module, and returns its line of a lock."""
    file = wheels / f"{name}-{version}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if requires:
        metadata += f"Requires-Dist: {requires}\n"
    info = f"{name}-{version}.dist-info"
    files = {f"{name}.py": "", f"{info}/METADATA": metadata, f"{info}/WHEEL": WHEEL}
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"


def _set_up(lock: Path, stamp: Path, wheels: Path) -> "subprocess.CompletedProcess[str]":
    """-S: without site-packages, as on a machine that has only Python."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "devstack.install", str(lock), str(stamp)],
        cwd=ROOT,
        env=os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has nothing but pip; made where one stood whose Python an upgrade of the system removed."""
    directory = tmp_path_factory.mktemp("set-up") / ".venv"
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(directory / "removed")
    (directory / "installed").touch()
    assert install.make_venv(directory) == python
    return directory


@pytest.fixture
def stamp(venv: Path) -> Iterator[Path]:
    """Of a set-up that has not happened yet."""
    file = venv / "installed"
    assert not file.exists()
    yield file
    file.unlink(missing_ok=True)


def _modules(venv: Path) -> set[str]:
    return {file.stem for file in venv.glob("lib/*/site-packages/*.py")}


def test_a_lock_is_installed_one_line_a_step_and_what_a_newer_one_dropped_goes(
    tmp_path: Path, stamp: Path
) -> None:
    lock = tmp_path / "dev.txt"
    first, second = _pin(tmp_path, "first", "1.0"), _pin(tmp_path, "second", "1.0")
    lock.write_text(first + second)
    done = _set_up(lock, stamp, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split("…")[0].strip() for line in done.stdout.splitlines()] == [
        f"set-up: packages of {lock}",
        "set-up: bytecode of the packages",
    ]
    assert {"first", "second"} <= _modules(stamp.parent)
    assert list(stamp.parent.glob("lib/*/site-packages/__pycache__/second.*.pyc"))
    assert stamp.read_text() == lock.read_text()

    lock.write_text(first)
    assert _set_up(lock, stamp, tmp_path).returncode == 0
    assert "first" in _modules(stamp.parent)
    assert "second" not in _modules(stamp.parent)


def test_a_smaller_lock_leaves_compiling_to_those_who_import(tmp_path: Path, stamp: Path) -> None:
    lock = tmp_path / "devstack.txt"
    lock.write_text(_pin(tmp_path, "lazy", "1.0"))
    assert _set_up(lock, stamp, tmp_path).returncode == 0
    assert not list(stamp.parent.glob("lib/*/site-packages/__pycache__/lazy.*.pyc"))


def test_the_same_lock_is_not_installed_again(tmp_path: Path, stamp: Path) -> None:
    lock = tmp_path / "dev.txt"
    lock.write_text("nowhere==1.0 --hash=sha256:" + "0" * 64)
    stamp.write_text(lock.read_text())
    done = _set_up(lock, stamp, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_another_file_than_the_locked_one_is_refused(tmp_path: Path, stamp: Path) -> None:
    pin = _pin(tmp_path, "swapped", "1.0")
    lock = tmp_path / "dev.txt"
    lock.write_text(pin[:-65] + "0" * 64 + "\n")
    done = _set_up(lock, stamp, tmp_path)
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert "If a hash does not match: the file is not the one in the lock." in done.stderr
    assert not stamp.exists()
    assert "swapped" not in _modules(stamp.parent)


def test_a_lock_that_lacks_a_dependency_is_refused(tmp_path: Path, stamp: Path) -> None:
    lock = tmp_path / "dev.txt"
    lock.write_text(_pin(tmp_path, "needy", "1.0", requires="absent>=2"))
    done = _set_up(lock, stamp, tmp_path)
    assert done.returncode == 1
    assert "needy 1.0 requires absent, which is not installed." in done.stderr
    assert not stamp.exists()
    lock.write_text(_pin(tmp_path, "needy", "1.1"))
    assert _set_up(lock, stamp, tmp_path).returncode == 0


def test_advice_says_what_the_locks_are_tested_for() -> None:
    (_, first), (_, last) = PYTHONS[0], PYTHONS[-1]
    glibc, macos = ".".join(map(str, GLIBC)), MACOS[0]
    pythons, linux = f"Python 3.{first} to 3.{last}", f"Linux (glibc {glibc} or newer)"
    assert f"{pythons} on {linux} and macOS {macos} or newer" == install.SUPPORTED


def _make(venv: Path, target: str) -> str:
    """What `make TARGET` would run."""
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", f"VENV={venv}", "PYTHON=python3", target],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("target", "lock", "stamp"),
    [
        ("demo", "devstack", "installed-devstack"),
        ("up", "devstack", "installed-devstack"),
        ("test", "dev", "installed"),
        ("check", "dev", "installed"),
    ],
)
def test_make_installs_what_the_target_needs_once(
    tmp_path: Path, target: str, lock: str, stamp: str
) -> None:
    set_up = f"-m devstack.install requirements/{lock}.txt {tmp_path / stamp}"
    assert set_up in _make(tmp_path, target)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (tmp_path / stamp).touch()
    assert "devstack.install" not in _make(tmp_path, target)
    (tmp_path / "bin" / "python").unlink()
    assert set_up in _make(tmp_path, target)


@pytest.mark.parametrize("target", ["demo", "up"])
def test_the_demo_takes_what_the_tests_installed(tmp_path: Path, target: str) -> None:
    """So that nothing of an older dev.txt stays beside a newer devstack.txt."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (tmp_path / "installed").touch()
    assert "devstack.install" not in _make(tmp_path, target)
    os.utime(tmp_path / "installed", (0, 0))
    assert f"requirements/dev.txt {tmp_path / 'installed'}" in _make(tmp_path, target)
