"""Receivers of alerts: a webhook and a mail server, on free ports of loopback, in threads."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Hook:
    """What was posted, and what is answered: each of `statuses` once, then 200."""

    def __init__(self, url: str, statuses: list[int]) -> None:
        self.url = url
        self.statuses = statuses
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.refused = 0

    def events(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """Of that kind, in the order they came."""
        told = [json.loads(body) for body in self.bodies]
        return [(each["event"], each) for each in told if each["kind"] == kind]


@contextmanager
def webhook(*statuses: int) -> Iterator[Hook]:
    """A receiver of POSTs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = hook.statuses.pop(0) if hook.statuses else 200
            if status == 200:
                # Bodies last: whoever waits for a body finds its headers at the same place.
                hook.headers.append({key.lower(): value for key, value in self.headers.items()})
                hook.bodies.append(body)
            else:
                hook.refused += 1
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", hook.url)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Hook(f"http://127.0.0.1:{server.server_port}/alerts", list(statuses))
        with _served(server):
            yield hook


class Post:
    """Mails that came, as they are on the wire, and to whom."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mails: list[str] = []
        self.receivers: list[str] = []


@contextmanager
def mail_server() -> Iterator[Post]:
    """As much of SMTP as a client without TLS and login needs."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 sink\r\n")
            for line in self.rfile:
                word = line[:4].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = list(iter(self.rfile.readline, b".\r\n"))
                    post.mails.append(b"".join(lines).decode())
                if word == b"RCPT":
                    post.receivers.append(line.decode().strip())
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 well\r\n")
                if word == b"QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        post = Post(server.server_address[1])
        with _served(server):
            yield post


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
