"""Alertmanager with docker/alertmanager, on a free port of loopback."""

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.request import Request, urlopen

from devstack import ROOT
from devstack.services import free_port
from devstack.stack import Stack
from tests.waiting import wait_for

FOLDER: Final = ROOT / "docker" / "alertmanager"
START: Final = ("sh", str(FOLDER / "start.sh"), str(FOLDER / "alertmanager.yml"))


def binary() -> str | None:
    """As Debian's package calls it, or as upstream does."""
    return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


def needs() -> str:
    """What this machine lacks for it, or nothing."""
    if binary() and shutil.which("amtool"):
        return ""
    return "needs alertmanager and amtool (Debian: apt install prometheus-alertmanager)"


class Alertmanager:
    """Started on the stack; gone with it. `environ` names the receivers, as docker/env.example."""

    def __init__(self, stack: Stack, environ: Mapping[str, str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        words = [
            f"--config.file={stack.directory / 'alertmanager.yml'}",
            f"--storage.path={stack.directory / 'alertmanager'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]
        target = str(stack.directory / "alertmanager.yml")
        stack.spawn("alertmanager", [*START, target, binary() or "", *words], env=environ)
        wait_for(self._is_ready)

    def fire(self, alerts: Sequence[Mapping[str, str]]) -> None:
        """As Prometheus: alerts by their labels, as of now."""
        body = json.dumps([{"labels": dict(labels)} for labels in alerts]).encode()
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"http://{self.address}/api/v2/alerts", body, headers), timeout=180):
            pass

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"http://{self.address}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def names(bodies: Sequence[bytes]) -> list[str]:
    """The alerts in what it posted, in the order they came."""
    posts: list[dict[str, Any]] = [json.loads(body) for body in bodies]
    return [alert["labels"]["alertname"] for each in posts for alert in each["alerts"]]
