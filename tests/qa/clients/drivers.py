"""The official clients as processes: each is fetched, checked and started, then told what to call.

A driver reads a call a line, `{"host", "key", "operation", "path", "body"}`, and writes what came of
it a line: `{"answer": ...}`, the typed answer as the client gave it, or
`{"raised", "status", "messages"}`, what the client raised.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from devstack import ROOT

VERSION: Final = "5.18.0"
HERE: Final = Path(__file__).parent
_NODE_PACKAGE: Final = f"@onesignal/node-onesignal@{VERSION}"
_NODE_SHA512: Final = (
    "IPVQmFInvz+zQikp06V4SaTvo9/wMnefTn1Uy8ZKBsfac3f1uYFG6zH2aFeR3lzRViOH7Vqxg3NwtqS6MiED9A=="
)
#: In the lock of the repository, for whatever cargo calls the place that crates come from.
_SOURCE: Final = 'source = "registry"'


class Missing(Exception):
    """Why this machine cannot run a client."""


class Lacking(Missing):
    """A program that it needs is not installed."""


class Raised(Exception):
    """The client raised `kind`. `status` is the answer's where the client gives it."""

    def __init__(self, kind: str, status: int | None, messages: list[str]) -> None:
        super().__init__(f"{kind}, status {status}: {messages}")
        self.kind = kind
        self.status = status
        self.messages = messages


class Driver:
    """A running driver. `version` is the client's, `on` what it runs on."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process
        said = self._read()
        self.version: str = said["version"]
        self.on: str = said["on"]

    def call(self, host: str, key: str | None, operation: str, *path: str, body: Any = None) -> Any:
        """The client's typed answer as JSON. Raises Raised where the client raises."""
        assert self._process.stdin is not None
        call = {"host": host, "key": key, "operation": operation, "path": path, "body": body}
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        came = self._read()
        if "raised" in came:
            raise Raised(came["raised"], came["status"], came["messages"])
        return came["answer"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the {self.name} driver ended; run its command by hand to see why"
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def driver(name: str) -> Iterator[Driver]:
    """The client's driver. Raises Missing."""
    environ = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    with subprocess.Popen(
        COMMANDS[name](),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environ | {"PYTHONWARNINGS": "ignore"},
    ) as process:
        try:
            yield Driver(name, process)
        finally:
            process.terminate()


def cache() -> Path:
    """Where clients are kept that were fetched or built: NOTIFY_CLIENTS."""
    default = Path.home() / ".cache" / "notify-clients"
    return Path(os.environ.get("NOTIFY_CLIENTS", default)) / VERSION


def _python() -> list[str]:
    assert version("onesignal-python-api") == VERSION
    return [sys.executable, "-m", "tests.qa.clients.python_driver"]


def _node() -> list[str]:
    """The package alone: it imports nothing but what Node.js has."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Lacking(f"there is no {program}: install Node.js 18 or newer with npm")
    package = cache() / "node" / "package"
    if not package.exists():
        made = _emptied(cache() / "node.partial")
        run("npm", "pack", "--silent", "--pack-destination", str(made), _NODE_PACKAGE, cwd=made)
        (archive,) = made.glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != _NODE_SHA512:
            raise AssertionError(f"{_NODE_PACKAGE} has the SHA-512 {digest}, not {_NODE_SHA512}")
        # Not tarfile: Python 3.11.2 does not know the filter that 3.14 wants to be named.
        run("tar", "-xzf", str(archive), cwd=made)
        made.rename(_gone(cache() / "node"))
    return ["node", str(HERE / "node" / "driver.js"), str(package)]


def _rust() -> list[str]:
    """Built from the lock of the repository, whose hashes cargo checks."""
    if shutil.which("cargo") is None:
        raise Lacking("there is no cargo: install Rust 1.85 or newer")
    crate = cache() / "rust"
    shutil.copytree(HERE / "rust", crate, dirs_exist_ok=True)
    lock = crate / "Cargo.lock"
    wanted = (crate / "Cargo.lock.in").read_text()
    locked = crate / "locked"
    if not locked.exists() or locked.read_text() != wanted:
        lock.unlink(missing_ok=True)
        run("cargo", "generate-lockfile", "--quiet", cwd=crate)
        source = next(line for line in lock.read_text().splitlines() if line.startswith("source"))
        lock.write_text(wanted.replace(_SOURCE, source))
    env = {"BUILT_WITH": " ".join(run("rustc", "--version", cwd=crate).split()[:2])}
    run("cargo", "build", "--quiet", "--locked", "--target-dir=target", cwd=crate, env=env)
    locked.write_text(wanted)
    return [str(crate / "target" / "debug" / "driver")]


def run(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What the command printed. Raises Missing with its words where it failed."""
    environ = os.environ | dict(env or {})
    done = subprocess.run(words, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(words[:2])} failed: {done.stderr[-1500:].strip()}")
    return done.stdout.strip()


def _emptied(directory: Path) -> Path:
    _gone(directory).mkdir(parents=True)
    return directory


def _gone(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    return directory


COMMANDS: Final[dict[str, Callable[[], list[str]]]] = {
    "python": _python,
    "node": _node,
    "rust": _rust,
}
