"""A payload that kills the process that applies it, as a crash in C code would."""

import contextlib
from pathlib import Path
from typing import Final

from devstack import ROOT, product
from tests.qa.faults.load import send_once
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import Scene

MARKER: Final = "kills-its-worker"
#: Bridges send again sooner than by default (2 s, at most 8 s), or the row would take a minute.
RESEND: Final = {"NOTIFY_RESEND_AFTER_MS": "400", "NOTIFY_RESEND_AFTER_MAX_MS": "1000"}
#: Python runs it at its start, before Celery does.
SITECUSTOMIZE: Final = f"""\
import os, signal
from workers.lanes import PostgresLanes

apply = PostgresLanes.apply

def deadly(self, segments, rows):
    if {MARKER!r} in rows:
        with open(os.environ["KILLS"], "a") as kills:
            kills.write(f"{{len(rows)}}\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return apply(self, segments, rows)

PostgresLanes.apply = deadly
"""


@row(
    "poison-kills-child",
    "a write that kills the worker's child that applies it (SIGKILL), every time",
    bound_s=30,
)
def _poison_kills_child(scene: Scene) -> str:
    code = scene.directory / "deadly"
    code.mkdir(exist_ok=True)
    (code / "sitecustomize.py").write_text(SITECUSTOMIZE)
    kills = code / "kills"
    kills.write_text("")
    _start(scene, workers=_deadly(code, kills), bridges=RESEND)
    scene.later(lambda: _start(scene, workers={}, bridges={}))
    before = _letters(scene)
    app = scene.apps[0]
    record = scene.poison(app.app_id)
    update = {"record": record, "kind": "push", "tags": {MARKER: "1"}}
    assert send_once(scene.web_urls[0], app, [update]) == 202
    took_s = scene.wait("a dead letter", lambda: _letters(scene) > before, timeout_s=120)
    letters = scene.sql("SELECT record::text, error FROM dead_letter ORDER BY id OFFSET %s", before)
    assert letters == [(record, "its worker died 3 times")], letters
    died = len(kills.read_text().splitlines())
    assert send_once(scene.web_urls[0], app, [{"record": record, "tags": {"after": "1"}}]) == 202
    scene.wait(
        "the lane goes on",
        lambda: scene.sql("SELECT tags ? 'after' FROM record WHERE id = %s", record) == [(True,)],
        timeout_s=30,
    )
    assert _letters(scene) == before + 1
    return f"{died} children died of it; 1 dead letter after {took_s:.0f} s; its lane goes on"


def _deadly(code: Path, kills: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{code}:{ROOT}", "KILLS": str(kills)}


def _start(scene: Scene, *, workers: dict[str, str], bridges: dict[str, str]) -> None:
    """Starts bridges and workers anew with these variables on top of their own."""
    for name in (*scene.bridges, *scene.workers):
        with contextlib.suppress(KeyError):
            scene.stack.child(name).stop()
    for name in scene.workers:
        product.start_worker(scene.stack, name, env=scene.env_of("worker") | workers)
    for name in scene.bridges:
        product.start_bridge(scene.stack, name, env=scene.env_of("bridge") | bridges)


def _letters(scene: Scene) -> int:
    ((count,),) = scene.sql("SELECT count(*) FROM dead_letter")
    return int(count)
