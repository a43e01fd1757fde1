"""What a background stack leaves on disk, so that another command can find and end it."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import Final, Literal, Self

from devstack import ROOT
from devstack.process import Identity

#: Where the background stack of this checkout keeps its logs, data and `env`.
HOME: Final = ROOT / ".devstack"
#: In `env`, names the variables there that stand for services of the stack's own.
OWN: Final = "NOTIFY_DEVSTACK_OWN"
Phase = Literal["starting", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class State:
    """The supervisor, and the processes it had when it last wrote."""

    supervisor: Identity
    phase: Phase
    processes: Mapping[str, Identity] = field(default_factory=dict)
    #: URLs and the like, as in the file `env`.
    env: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """None where no stack left a state, or none that can be read."""
        try:
            data = json.loads((home / "state.json").read_text())
            return cls(
                supervisor=Identity(**data["supervisor"]),
                phase=data["phase"],
                processes={name: Identity(**each) for name, each in data["processes"].items()},
                env=data["env"],
                error=data["error"],
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write(self, home: Path) -> None:
        """Replaces what was there at once; readable by its owner only (it holds passwords)."""
        _replace(home / "state.json", json.dumps(asdict(self), indent=1))
        if self.phase == "ready":
            lines = (f"export {name}={quote(value)}\n" for name, value in self.env.items())
            _replace(home / "env", "".join(lines))


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a shell got by sourcing `env`: those services are a stack's."""
    own = environ.get(OWN, "").split(",")
    return {name: value for name, value in environ.items() if name not in {*own, OWN}}


def remove(home: Path) -> None:
    """No stack is up: its state and `env` go, its logs stay."""
    for name in ("state.json", "env"):
        (home / name).unlink(missing_ok=True)


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Waits until no other `up` or `down` is at work in the directory."""
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
