"""A server that writes down what it is asked, and answers as a test tells it to."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.qa.clients.operations import operation_of

#: Every field that the clients have types for. WIRE: the documented answers.
IDENTITY: Final = {
    "onesignal_id": "1b3f6c1e-0000-4000-8000-000000000001",
    "external_id": "customer/4711",
}
SUBSCRIPTION: Final = {
    "id": "1b3f6c1e-0000-4000-8000-000000000002",
    "type": "Email",
    "token": "anna@example.com",
    "enabled": True,
    "notification_types": 1,
    "session_time": 75,
    "session_count": 1,
    "sdk": "050909",
    "device_model": "Pixel 8",
    "device_os": "14",
    "rooted": False,
    "test_type": 1,
    "app_version": "7",
    "net_type": 0,
    "carrier": "none",
    "web_auth": "auth",
    "web_p256": "p256",
}
PROPERTIES: Final = {
    "tags": {"plan": "gold", "visits": 3, "nested": {"list": [True, None]}},
    "language": "de",
    "timezone_id": "Europe/Berlin",
    "lat": 52,
    "long": 13.25,
    "country": "DE",
    "first_active": 1_700_000_000,
    "last_active": 1_700_000_060,
    "amount_spent": 4.5,
    "purchases": [{"sku": "coins", "amount": "4.50", "iso": "EUR", "count": 2}],
    "ip": "192.0.2.1",
}
_USER: Final = {"identity": IDENTITY, "properties": PROPERTIES, "subscriptions": [SUBSCRIPTION]}
_SUCCESS: Final[dict[str, tuple[int, dict[str, Any]]]] = {
    "create_user": (201, _USER),
    "get_user": (200, _USER),
    "update_user": (202, {"properties": PROPERTIES}),
    "create_subscription": (202, {"subscription": SUBSCRIPTION}),
    "update_subscription": (200, {}),
    "delete_subscription": (202, {}),
    "update_subscription_by_token": (202, {}),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. `path` is as it came; headers are by the client's own spelling."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer; no Content-Type is sent where `headers` has none."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def success(request: Request) -> Answer:
    """The documented answer of the operation, or a 404 as the API answers what it has not."""
    operation = operation_of(request.method, request.path)
    if operation is None:
        return Answer(404, json.dumps({"errors": ["not found"]}).encode())
    status, body = _SUCCESS.get(operation, (200, {"identity": IDENTITY}))
    return Answer(status, json.dumps(body).encode())


class Stub(ThreadingHTTPServer):
    """On a free loopback port. `requests` are those so far; `answer` decides."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.answer = success
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may hang up as it likes, Node's with an answer unread; all else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        request = Request(
            self.command, self.path, dict(self.headers.items()), self.rfile.read(length)
        )
        self.server.requests.append(request)
        answer = self.server.answer(request)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in {204, 304}:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if answer.status not in {204, 304}:
            self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - names of the library

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name upstream
        """Nothing on standard error."""


@contextmanager
def stub() -> Iterator[Stub]:
    """A running one."""
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
