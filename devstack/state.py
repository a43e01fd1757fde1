"""What a background stack leaves on disk, so that another command can find and end it."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import Final, Self

from devstack import ROOT
from devstack.process import Identity

#: Where the background stack of this checkout keeps its logs, data and `env`.
HOME: Final = ROOT / ".devstack"
#: In `env`, names the variables there that stand for services of the stack's own.
OWN: Final = "NOTIFY_DEVSTACK_OWN"


@dataclass(frozen=True, slots=True)
class State:
    """A background stack: up if it has processes, whether they run or not; else down."""

    #: What was started, by name, each as it was last started.
    processes: Mapping[str, Identity] = field(default_factory=dict)
    #: Kept while the stack is down too.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: The environment of whoever started it, empty while it is down.
    environ: Mapping[str, str] = field(default_factory=dict)
    #: URLs and the like, as in the file `env`; from the last time that it was ready.
    env: Mapping[str, str] = field(default_factory=dict)
    #: Whether the broker's log is in its memory alone.
    forgets: bool = False

    @classmethod
    def read(cls, home: Path) -> Self:
        """An empty one where no stack left a state, or none that can be read."""
        try:
            data = json.loads((home / "state.json").read_text())
            processes = {name: Identity(**each) for name, each in data.pop("processes").items()}
            return cls(processes=processes, **data)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, home: Path) -> None:
        """Replaces what was there at once; readable by its owner only (it holds passwords)."""
        _replace(home / "state.json", json.dumps(asdict(self), indent=1))

    def running(self) -> dict[str, Identity]:
        """Its processes that run now, in the order in which they were first started."""
        return {name: each for name, each in self.processes.items() if each.running()}

    @property
    def log_is_lost(self) -> bool:
        """Whether the broker ended, unasked, and took its log along."""
        return self.forgets and "kafka" in self.processes and "kafka" not in self.running()


def write_env(home: Path, env: Mapping[str, str]) -> None:
    """The file `env`, for a shell to source."""
    _replace(
        home / "env", "".join(f"export {name}={quote(value)}\n" for name, value in env.items())
    )


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a shell got by sourcing `env`: those services are a stack's."""
    own = environ.get(OWN, "").split(",")
    return {name: value for name, value in environ.items() if name not in {*own, OWN}}


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Waits until no other `up`, `down` or `restart` is at work in the directory."""
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
