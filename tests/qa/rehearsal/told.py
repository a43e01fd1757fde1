"""Who is told: a receiver of webhooks and one of e-mail, on loopback."""

import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Told:
    """What came, and when; usable as a context."""

    def __init__(self) -> None:
        self.posts: list[tuple[float, dict[str, Any]]] = []
        self.mails: list[tuple[float, str]] = []
        told = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.posts.append((time.monotonic(), json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Nothing on the terminal."""

        class Mail(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                told.receive(self)

        self._hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self._mail = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
        self._mail.daemon_threads = True

    @property
    def webhook(self) -> str:
        """Where to post to."""
        return f"http://127.0.0.1:{self._hook.server_port}/alerts"

    @property
    def smtp(self) -> int:
        """The port of SMTP."""
        return int(self._mail.server_address[1])

    def receive(self, session: socketserver.StreamRequestHandler) -> None:
        """One SMTP session (RFC 5321, as much as a client needs that sends a mail)."""

        def say(line: str) -> None:
            session.wfile.write(f"{line}\r\n".encode())

        say("220 sink")
        for raw in session.rfile:
            word = raw[:4].upper()
            if word == b"DATA":
                say("354 go on")
                lines = []
                for line in session.rfile:
                    if line.rstrip(b"\r\n") == b".":
                        break
                    lines.append(line.decode(errors="replace"))
                self.mails.append((time.monotonic(), "".join(lines)))
            say("221 bye" if word == b"QUIT" else "250 ok")
            if word == b"QUIT":
                return

    def __enter__(self) -> Self:
        for server in (self._hook, self._mail):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        for server in (self._hook, self._mail):
            server.shutdown()
            server.server_close()
