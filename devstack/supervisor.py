"""The process behind `devstack up`: owns every process of the background stack until `down`.

Run as `python -m devstack.supervisor DIRECTORY`; its output is DIRECTORY/logs/devstack.log.
"""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final

from devstack import product
from devstack.process import Identity
from devstack.services import DevstackError
from devstack.stack import Stack
from devstack.state import OWN, State

WORKERS: Final = ("w1", "w2")
#: What the file `env` has, beside the URLs of web, admin and Flower.
EXPORTED: Final = (
    *("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL"),
    *("NOTIFY_SECRET_KEY", "NOTIFY_KEY_PEPPER", "NOTIFY_TLS", "NOTIFY_NAMESPACE"),
)


class _Told(Exception):
    """To stop."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Told


def main(directory: Path) -> int:
    """Runs until told to stop; 1 where the stack did not come up, and its state says why."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    state = State(Identity.of(os.getpid()), "starting")
    state.write(directory)
    stack = Stack(directory, environ=os.environ, say=_say)
    try:
        state = _start(stack, state)
        _watch(stack)
    except _Told:
        _say("told to stop")
    except (DevstackError, OSError) as error:
        _say(f"failed: {error}")
        state = replace(state, phase="failed", error=str(error))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stack.stop()
    if state.phase == "failed":
        state.write(directory)
        return 1
    return 0


def _start(stack: Stack, state: State) -> State:
    """Everything started and ready, and written down as it came."""
    product.configure(stack)
    _say("services")
    stack.start_services()
    state = replace(state, processes=stack.identities())
    state.write(stack.directory)
    if stack.forgets:
        _say("the broker keeps its log in memory: log and database both start empty")
    _say("tables, topic, app and login")
    app = product.prepare(stack)
    _say("workers, bridge, web, watch and Flower")
    for name in WORKERS:
        product.start_worker(stack, name)
    product.start_bridge(stack)
    web_url = product.start_web(stack)
    product.start_watch(stack, env={"NOTIFY_ADMIN_URL": web_url})
    flower_url = product.start_flower(stack)
    urls = {
        "WEB_URL": web_url,
        "ADMIN_URL": f"{web_url}/admin/",
        "FLOWER_URL": flower_url,
        "DEMO_APP_ID": app.app_id,
        "DEMO_APP_KEY": app.key,
    }
    known = {name: stack.env[name] for name in EXPORTED if name in stack.env}
    own = [each.variable for each in stack.services.values() if each.launch]
    urls[OWN] = ",".join((*own, "NOTIFY_SECRET_KEY", "NOTIFY_KEY_PEPPER"))
    state = replace(state, processes=stack.identities(), env=known | urls)
    state.write(stack.directory)
    product.wait_ready(stack, web_url, flower_url=flower_url)
    state = replace(state, phase="ready")
    state.write(stack.directory)
    _say("ready")
    return state


def _watch(stack: Stack) -> None:
    """Tells in the log of each process that ended by itself; restarts none."""
    told: set[str] = set()
    while True:
        for name in set(stack.ended()) - told:
            told.add(name)
            _say(f"{name} ended: see {stack.log(name)}")
        time.sleep(1)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
