"""What must hold of every input, whatever it is.

A request is answered with a JSON object, with a status that the document has for the operation, and
never with what we say of our own bugs. What web accepted, the bridge can read; what it refused is not
in Kafka. A message is an update, which is the same after it was written again, or it is unreadable
for a reason that PostgreSQL can store.
"""

import io
import json
from typing import Any

from notify.domain.records.update import Unreadable, Update, encode, parse, read
from notify.web import wiring
from notify.web.access.apps_cache import KnownApp
from notify.web.http.edge import Application
from tests.fake_producer import FakeProducer, fake_services
from tests.fake_web import APP, DISABLED_APP, STRICT_APP
from tests.qa.fuzz.inputs import MESSAGES, Request, key
from tests.streams_now import STREAM

#: Statuses that clients know what to do with.
STATUSES = frozenset((200, 202, 304, 400, 401, 403, 404, 409, 413, 429))
REASON_CHARS_MAX = 2_000


class Broken(AssertionError):
    """What does not hold of an input."""


class Target:
    """The web application on fakes, and the reader of messages. One at a time in a process."""

    def __init__(self) -> None:
        _, digest = key()
        services, self._producer, reads = fake_services(
            KnownApp(APP, digests=(digest,)),
            KnownApp(STRICT_APP, requires_key=True, digests=(digest,)),
            KnownApp(DISABLED_APP, enabled=False, digests=(digest,)),
        )
        self._services = services
        # What is read stays as it is, so that a read costs the same at the end of a long run.
        reads.producer = FakeProducer(log={0: [json.dumps(each).encode() for each in MESSAGES[:3]]})
        reads.rows = [STREAM]
        self._application = Application(_no_pages)  # type: ignore[arg-type]

    def use(self) -> None:
        """Make the views of this process use this target's fakes."""
        services = self._services
        wiring.services = lambda: services

    def look(self, given: Request | bytes) -> str:
        """What became of the input, in a word. Raises Broken, or whatever was let out."""
        if isinstance(given, bytes):
            return self._message(given)
        self._producer.log.clear()
        self._producer.traceparents.clear()
        status, headers, content = self._answer(given)
        self._check_answer(given, status, headers, content)
        for values in self._producer.log.values():
            for value in values:
                _hold(status < 400, f"refused with {status}, and yet in Kafka")
                update = read(value)
                _hold(isinstance(update, Update), f"accepted, but the bridge reads: {update}")
                _check_again(update)
        return str(status)

    def _answer(self, given: Request) -> tuple[int, dict[str, str], bytes]:
        environ = {
            "REQUEST_METHOD": given.method,
            "PATH_INFO": given.path,
            "QUERY_STRING": given.query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_TYPE": "application/json",
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(given.body),
            "wsgi.errors": io.StringIO(),
            **given.environ,
        }
        started: list[Any] = []
        content = b"".join(self._application(environ, lambda *words: started.extend(words)))  # type: ignore[arg-type]
        return int(started[0].split()[0]), dict(started[1]), content

    def _check_answer(
        self, given: Request, status: int, headers: dict[str, str], content: bytes
    ) -> None:
        allowed = STATUSES & given.asked.statuses if given.is_as_asked else STATUSES
        _hold(status in allowed, f"{status}: {content[:300]!r}")
        if status == 304:
            return _hold(content == b"", "a 304 has no body")
        if headers["Content-Type"].startswith("text/plain") and given.path == "/metrics":
            return None
        _hold(headers["Content-Type"] == "application/json", f"it is {headers['Content-Type']}")
        body = json.loads(content)
        _hold(isinstance(body, dict), "the answer is no object")
        if status >= 400:
            errors = body.get("errors")
            _hold(isinstance(errors, list) and errors != [], "an error without a text")
            _hold(all(isinstance(each, str) and each for each in errors), f"errors are {errors}")
            _hold(isinstance(body.get("request_id"), str), "an error without a request_id")
        if status == 429:
            _hold(headers["Retry-After"].isdecimal(), "429 without Retry-After")
        return None

    def _message(self, value: bytes) -> str:
        found = read(value)
        if isinstance(found, Unreadable):
            found.error.encode()
            _hold("\0" not in found.error, "a reason with a NUL")
            _hold(
                len(found.error) <= REASON_CHARS_MAX, f"a reason of {len(found.error)} characters"
            )
            return "unreadable"
        _check_again(found)
        return "readable"


def _check_again(update: Any) -> None:
    """It is the same after it was written and read again."""
    again = parse(encode(update))
    _hold(again == update, f"read again, {update} is {again}")
    for name, (_, value) in update.patch.ops.items():
        _hold(type(again.patch.ops[name][1]) is type(value), f"{name} changes its type")


def _hold(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


def _no_pages(environ: Any, start_response: Any) -> list[bytes]:
    """In the place of Django's own handler: pages are not fuzzed here."""
    start_response("404 Not Found", [("Content-Type", "application/json")])
    return [b'{"errors":["a page"],"request_id":""}']
