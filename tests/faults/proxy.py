"""HAProxy in front of web, as docker/haproxy.cfg has it for operators."""

import os
import shutil
import socket
from collections.abc import Sequence
from typing import Final

from devstack import ROOT
from devstack.services import free_port
from tests.faults.scene import Scene

CONFIG: Final = ROOT / "docker" / "haproxy.cfg"
#: Where Debian puts it, which is not on everybody's PATH.
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin"


def needs() -> str:
    """What this machine lacks for it, or nothing."""
    return "" if shutil.which("haproxy", path=_PATH) else "needs haproxy (Debian: apt install it)"


class Proxy:
    """Started on the scene's stack; gone with it. `urls` are those of web-1 and web-2."""

    def __init__(self, scene: Scene, urls: Sequence[str]) -> None:
        self._admin = scene.directory / "haproxy.sock"
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        first, second = (url.removeprefix("http://") for url in urls)
        scene.stack.spawn(
            "haproxy",
            [shutil.which("haproxy", path=_PATH) or "haproxy", "-db", "-f", str(CONFIG)],
            env={"ADMIN": str(self._admin), "BIND": address, "WEB_1": first, "WEB_2": second},
        )
        scene.wait("the proxy serves both", lambda: self._status() == ["UP", "UP"], timeout_s=20)

    def drain(self, scene: Scene, server: str) -> None:
        """Returns when the server works on nothing and will be given nothing."""
        self._command(f"set server web/{server} state drain")
        scene.wait(f"{server} is drained", lambda: self._sessions(server) == 0, timeout_s=30)

    def undrain(self, scene: Scene, server: str) -> None:
        """Returns when the server is up again."""
        self._command(f"set server web/{server} state ready")
        scene.wait(f"{server} is up", lambda: self._stat(server, "status") == "UP", timeout_s=30)

    def _sessions(self, server: str) -> int:
        return int(self._stat(server, "scur")) + int(self._stat(server, "qcur"))

    def _status(self) -> list[str]:
        if not self._admin.exists():
            return []
        return [self._stat(server, "status") for server in ("web-1", "web-2")]

    def _stat(self, server: str, column: str) -> str:
        head, *lines = self._command("show stat").removeprefix("# ").splitlines()
        names = head.split(",")
        for line in lines:
            found = dict(zip(names, line.split(","), strict=False))
            if (found.get("pxname"), found.get("svname")) == ("web", server):
                return found[column]
        raise AssertionError(f"HAProxy knows no {server}")

    def _command(self, text: str) -> str:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(self._admin))
            line.sendall(text.encode() + b"\n")
            parts = []
            while part := line.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()
