"""Clocks that are wrong: no clock but web's stamp decides anything."""

import json
import subprocess
from datetime import UTC, datetime
from typing import Final

from devstack import product
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import Scene
from tests.qa.faults.seen import Seen

FLOW_S: Final = 10.0
_HOUR_S: Final = 3_600
_SHIFTS: Final = {"worker-1": "+2h", "worker-2": "-2h"}


def _lacking() -> str:
    return "" if _shifted("+2h") else "faketime is missing: apt-get install faketime"


@row(
    "clocks-of-workers",
    "the clock of one worker 2 h ahead, of the other 2 h behind",
    bound_s=20,
    needs=_lacking,
)
def _clocks_of_workers(scene: Scene) -> Seen:
    seen = Seen(scene)
    scene.later(lambda: _start_workers(scene, dict.fromkeys(_SHIFTS, "")))
    _start_workers(scene, _SHIFTS)
    scene.flow(FLOW_S)
    off = {name: _ahead_s(scene, name) / _HOUR_S for name in _SHIFTS}
    assert all(abs(hours) > 1.9 for hours in off.values()), f"clocks are not off: {off}"
    told = ", ".join(f"{name} {hours:+.1f} h" for name, hours in off.items())
    return seen.saying(f"{told}; both applied batches")


def _start_workers(scene: Scene, shifts: dict[str, str]) -> None:
    for name, shift in shifts.items():
        scene.stack.child(name).stop()
        product.start_worker(
            scene.stack, name, env=scene.env_of("worker") | (_shifted(shift) if shift else {})
        )


def _shifted(shift: str) -> dict[str, str]:
    """The variables with which a process sees a shifted clock; none where faketime is missing."""
    try:
        done = subprocess.run(
            ["faketime", "-f", shift, "printenv", "LD_PRELOAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {
        "LD_PRELOAD": done.stdout.strip(),
        "FAKETIME": shift,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _ahead_s(scene: Scene, name: str) -> float:
    """How far the worker's clock is ahead, by the line of the last batch that it applied."""
    lines = [line for line in scene.stack.tail(name, 500).splitlines() if "batch_applied" in line]
    assert lines, f"{name} applied nothing"
    stamp = datetime.fromisoformat(json.loads(lines[-1])["timestamp"])
    return (stamp - datetime.now(UTC)).total_seconds()
