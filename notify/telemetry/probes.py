"""The small HTTP server of bridge, worker and watch: /metrics and two questions about their health.

Live: does the process answer at all. Progress: does its work go on. A process may live for hours
without progress: its thread answers here while its loop hangs. Whether accepted updates become rows
is a third question, about all processes together: web's /healthz/pipeline.
"""

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Final

#: What is wrong, in a sentence; None while the work goes on.
Problem = Callable[[], str | None]

#: Seconds that a client may take to send its request.
REQUEST_S: Final = 5


class CannotListen(Exception):
    """The port cannot be bound. The text names the settings to change."""


class _Server(ThreadingTCPServer):
    """Unlike `HTTPServer`, it does not look up its address in DNS, which may take long to answer."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        if ipaddress.ip_address(host).version == 6:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), handler)


class Progress:
    """When a loop last got round. `note` costs nothing to speak of; any thread may ask."""

    def __init__(
        self, loop: str, *, after_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop = loop
        self._after_s = after_s
        self._clock = clock
        self._at_s = clock()

    def note(self) -> None:
        """Notes that the loop has finished another round."""
        self._at_s = self._clock()

    def problem(self) -> str | None:
        """Why the loop counts as stuck: no round for longer than `after_s`. None if it is not stuck."""
        waited_s = self._clock() - self._at_s
        if waited_s <= self._after_s:
            return None
        return f"{self._loop} has been stuck for {waited_s:.0f} s, although the process runs"


def serve(
    port: int,
    *,
    host: str = "127.0.0.1",
    scrape: Callable[[], bytes],
    content_type: str,
    problem: Problem,
) -> int:
    """Answer on `port` of the IP address `host`, 0 being any free port, from daemon threads; the port.
    Raises CannotListen.

    An error in `scrape` or `problem` is answered 500 and ends nothing.
    """

    def metrics() -> tuple[HTTPStatus, str, bytes]:
        return HTTPStatus.OK, content_type, scrape()

    def live() -> tuple[HTTPStatus, str, bytes]:
        return _status(None)

    def progress() -> tuple[HTTPStatus, str, bytes]:
        return _status(problem())

    pages = {"/metrics": metrics, "/healthz/live": live, "/healthz/progress": progress}

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            if page is None:
                self._answer(HTTPStatus.NOT_FOUND, *_json({"errors": [f"try {', '.join(pages)}"]}))
                return
            try:
                self._answer(*page())
            except Exception as error:  # noqa: BLE001 - a page that fails must not end the others
                text = f"{type(error).__name__}: {error}"
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, *_json({"errors": [text]}))

        def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nothing: probes come every few seconds."""

    try:
        server = _Server(host, port, Handler)
    except (OSError, OverflowError) as error:
        raise CannotListen(
            f"/metrics and /healthz cannot listen on {host} port {port}: {error}. Set "
            "NOTIFY_METRICS_HOST to an address of this host, and NOTIFY_METRICS_PORT to a port that is free"
        ) from error
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return int(server.server_address[1])


def _status(problem: str | None) -> tuple[HTTPStatus, str, bytes]:
    if problem is None:
        return HTTPStatus.OK, *_json({"status": "ok"})
    return HTTPStatus.SERVICE_UNAVAILABLE, *_json({"errors": [problem]})


def _json(body: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(body).encode()
