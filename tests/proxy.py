"""HAProxy in front of web, as docker/haproxy.cfg has it for operators."""

import os
import shutil
import socket
import time
from collections.abc import Sequence
from typing import Final

from devstack import ROOT
from devstack.services import free_port
from devstack.stack import Stack
from tests.waiting import wait_for

CONFIG: Final = ROOT / "docker" / "haproxy.cfg"
#: Longer than HAProxy needs to see that a server was away: three checks, one a second.
CHECKS_S: Final = 5
#: Where Debian puts it, which is not on everybody's PATH.
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin"


def needs() -> str:
    """What this machine lacks for it, or nothing."""
    return "" if shutil.which("haproxy", path=_PATH) else "needs haproxy (Debian: apt install it)"


class Proxy:
    """Started on the stack; gone with it. `urls` are those of web-1 and, if there is one, web-2.

    `url` is the public's, `operators` that of the operators' port, `metrics` what Prometheus scrapes.
    `environ` has limits.
    """

    def __init__(
        self, stack: Stack, urls: Sequence[str], *, name: str = "haproxy", **environ: str
    ) -> None:
        self._admin = stack.directory / f"{name}.sock"
        address, operators, metrics = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.url, self.operators = f"http://{address}", f"http://{operators}"
        self.metrics = f"http://{metrics}/metrics"
        webs = [url.removeprefix("http://") for url in urls]
        first, second = [*webs, f"127.0.0.1:{free_port()}"][:2]
        stack.spawn(
            name,
            [shutil.which("haproxy", path=_PATH) or "haproxy", "-db", "-f", str(CONFIG)],
            env={
                "ADMIN": str(self._admin),
                "BIND": address,
                "OPERATORS": operators,
                "METRICS": metrics,
                "WEB_1": first,
                "WEB_2": second,
                **environ,
            },
        )
        up = ["UP"] * len(urls)
        wait_for(lambda: self._status()[: len(urls)] == up)

    def drain(self, server: str) -> None:
        """Returns when the server works on nothing and will be given nothing."""
        self._command(f"set server web/{server} state drain")
        wait_for(lambda: self._sessions(server) == 0)

    def undrain(self, server: str) -> None:
        """Returns when HAProxy sends requests to the server again, which must be ready."""
        time.sleep(CHECKS_S)
        self._command(f"set server web/{server} state ready")
        wait_for(lambda: self._stat(server, "status") == "UP")

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
            line.settimeout(60)
            line.connect(str(self._admin))
            line.sendall(text.encode() + b"\n")
            parts = []
            while part := line.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()
