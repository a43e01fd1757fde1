"""Disks that are full: the data directory is moved to a small tmpfs, which is then filled."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg

from devstack import postgres
from tests.qa.faults.load import told
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import Scene

SIZE_MB: Final = 256
#: Seconds with nothing left on the disk.
FULL_S: Final = 10


def _needs() -> str:
    """What this machine lacks for mounting a tmpfs, or nothing."""
    if os.geteuid() != 0:
        return "a full disk needs root, to mount a tmpfs"
    probe = Path(tempfile.mkdtemp(prefix="notify-mount-"))
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", probe],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            return f"a full disk needs mount: {done.stderr.decode().strip()}"
        subprocess.run(["umount", probe], check=False)
    finally:
        probe.rmdir()
    return ""


@row("kafka-disk-full", "Kafka's disk full for 10 s", bound_s=20, alone=True, needs=_needs)
def _kafka_disk_full(scene: Scene) -> str:
    return _fill(scene, "kafka", scene.directory / "kafka" / "data", lambda: None)


@row("postgres-disk-full", "PostgreSQL's disk full for 10 s", bound_s=20, alone=True, needs=_needs)
def _postgres_disk_full(scene: Scene) -> str:
    def ask_for_more() -> None:
        """The next piece of its log, which has room left in the last one."""
        with contextlib.suppress(psycopg.Error):
            scene.sql("SELECT pg_switch_wal()")

    return _fill(scene, "postgres", postgres.home_of(scene.directory) / "data", ask_for_more)


def _fill(scene: Scene, name: str, data: Path, ask_for_more: Callable[[], None]) -> str:
    _move(scene, name, data)
    began = time.monotonic()
    with _full(data):
        for _ in range(FULL_S):
            scene.flow(1)
            ask_for_more()
        has_ended = name in scene.stack.ended()
    log = scene.stack.log(name).read_text(errors="replace")
    assert "No space left on device" in log, f"{name} did not notice"
    if has_ended:
        scene.restart(name)
    end = "ended by itself and was started again" if has_ended else "went on by itself"
    calls = told(scene.calls_since(began))
    return f'it logged "No space left on device" and {end}; {calls} until then'


def _move(scene: Scene, name: str, data: Path) -> None:
    """The service's data onto a tmpfs in the same place, for as long as the scene lasts."""
    scene.stack.child(name).stop()
    aside = data.with_name("aside")
    data.rename(aside)
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", data], check=True)
    scene.at_close(lambda: _unmount(data))
    subprocess.run(["cp", "-a", "--sparse=always", f"{aside}/.", data], check=True)
    shutil.rmtree(aside)
    scene.restart(name)
    scene.recovered(time.monotonic(), timeout_s=60)


def _unmount(data: Path) -> None:
    subprocess.run(["umount", "-l", data], check=True)


@contextlib.contextmanager
def _full(data: Path) -> Iterator[None]:
    """Nothing is left on the disk, nor of what the service gives back meanwhile."""
    file = data / "filler"
    ended = threading.Event()

    def fill() -> None:
        with file.open("wb", buffering=0) as filler:
            while not ended.wait(0.05):
                for size in (1 << 20, 4096):
                    with contextlib.suppress(OSError):
                        while not ended.is_set():
                            filler.write(bytes(size))

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        file.unlink()
