"""The state of a background stack on disk, so that later commands can find and stop it."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import Final, Self

from devstack import ROOT
from devstack.process import ProcessIdentity

#: The directory of this checkout's background stack: logs, data and the file `env`.
HOME: Final = ROOT / ".devstack"
#: A variable in `env` that lists those variables there that belong to the stack's own services.
OWN: Final = "NOTIFY_DEVSTACK_OWN"


@dataclass(frozen=True, slots=True)
class StackState:
    """A background stack. It is up if it has processes, even if they have exited."""

    #: The started processes by name, each from its last start.
    processes: Mapping[str, ProcessIdentity] = field(default_factory=dict)
    #: The ports by name. They are kept while the stack is down.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: The environment of the command that started it; empty while it is down.
    environ: Mapping[str, str] = field(default_factory=dict)
    #: The contents of the file `env`, from the last time that the stack was ready.
    env: Mapping[str, str] = field(default_factory=dict)
    #: Whether the broker keeps its log in memory only.
    forgets: bool = False

    @classmethod
    def read(cls, home: Path) -> Self:
        """Reads the state. It is empty if there is no file, or the file cannot be read."""
        try:
            data = json.loads((home / "state.json").read_text())
            processes = {
                name: ProcessIdentity(**each) for name, each in data.pop("processes").items()
            }
            return cls(processes=processes, **data)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, home: Path) -> None:
        """Replaces the file atomically. Only its owner may read it, because it contains passwords."""
        _replace(home / "state.json", json.dumps(asdict(self), indent=1))

    def running(self) -> dict[str, ProcessIdentity]:
        """The processes that run now, in the order of their first start."""
        return {name: each for name, each in self.processes.items() if each.running()}

    @property
    def log_is_lost(self) -> bool:
        """Whether an in-memory broker has exited unexpectedly, so that its log is lost."""
        return self.forgets and "kafka" in self.processes and "kafka" not in self.running()


def write_env(home: Path, env: Mapping[str, str]) -> None:
    """Writes the file `env`, which a shell can source."""
    _replace(
        home / "env", "".join(f"export {name}={quote(value)}\n" for name, value in env.items())
    )


def inherited_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a shell got by sourcing `env`: those services belong to a stack."""
    own = environ.get(OWN, "").split(",")
    return {name: value for name, value in environ.items() if name not in {*own, OWN}}


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Waits until no other `up`, `down` or `restart` works in the directory."""
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600, exist_ok=False)
    partial.write_text(text)
    partial.replace(path)
