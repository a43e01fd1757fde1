"""A connection is kept, and opened anew after a pause or an error."""

import threading
from collections.abc import Iterator
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from devstack import keep_alive
from devstack.keep_alive import KeepAlive


class Handler(BaseHTTPRequestHandler):
    """Answers with the client's port; closes the connection without an answer for /broken."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/broken":
            self.close_connection = True
            return
        content = str(self.client_address[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, *_: object) -> None:
        pass


@pytest.fixture
def line() -> Iterator[KeepAlive]:
    """A connection to a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        line = KeepAlive(f"http://127.0.0.1:{server.server_address[1]}", timeout_s=60)
        yield line
        line.close()
        server.shutdown()
        thread.join()


def _port(line: KeepAlive) -> bytes:
    return line.call("GET", "/", None, {})[1]


def test_it_is_kept_between_requests_and_opened_anew_after_a_pause(
    line: KeepAlive, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _port(line)
    assert _port(line) == first
    monkeypatch.setattr(keep_alive, "IDLE_S", -1.0)
    assert _port(line) != first


def test_it_is_opened_anew_after_an_error(line: KeepAlive) -> None:
    first = _port(line)
    with pytest.raises((OSError, HTTPException)):
        line.call("GET", "/broken", None, {})
    assert line.sock is None
    assert _port(line) != first
