"""A Loki of log lines in memory, over HTTP: what it answers to the queries that `trail` asks.

The form of answers is as Loki 3.7.8 gave them for the same lines and queries.
"""

import json
import operator
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

_QUERY: Final = re.compile(r'\{process(=~?)"([^"]+)"\}((?: \|= "[^"]*")*)( \| json)?(.*)')
_COMPARED: Final = re.compile(r" \| (\w+) (=|<|<=|>|>=) (\d+)")
_HOW: Final[dict[str, Callable[[int, int], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass
class FakeLoki:
    """`lines` are texts as processes write them. `answer`, where set, is sent instead, with `status`."""

    url: str
    lines: Sequence[str] = ()
    status: int = 200
    answer: bytes | None = None
    limit_max: int = 5_000
    asked: list[dict[str, str]] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)

    def found(self, asked: dict[str, str]) -> list[dict[str, Any]]:
        """Streams of the newest lines from start to before end; each line is one, as after `json`."""
        matched = _QUERY.fullmatch(asked["query"])
        assert matched is not None, f"no query that this Loki knows: {asked['query']}"
        how, process, contained, is_parsed, compared = matched.groups()
        words = [json.loads(word) for word in re.findall(r'\|= ("[^"]*")', contained)]
        tests = _COMPARED.findall(compared)
        assert _COMPARED.sub("", compared) == ""
        assert is_parsed or not tests
        assert asked["direction"] == "backward"
        found = []
        for text in self.lines:
            fields = json.loads(text)
            ns = _ns(fields["timestamp"])
            is_process = (
                re.fullmatch(process, fields["process"])
                if how == "=~"
                else process == fields["process"]
            )
            if (
                is_process
                and int(asked["start"]) <= ns < int(asked["end"])
                and all(word in text for word in words)
                and all(
                    name in fields and _HOW[by](fields[name], int(number))
                    for name, by, number in tests
                )
            ):
                labels = {"process": fields["process"], "level": fields["level"]}
                found.append((ns, {"stream": labels, "values": [[str(ns), text]]}))
        newest = sorted(found, key=lambda each: -each[0])
        return [each for _, each in newest[: min(int(asked["limit"]), self.limit_max)]]


def _ns(timestamp: str) -> int:
    since = datetime.fromisoformat(timestamp) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1_000


@contextmanager
def fake_loki(*lines: str) -> Iterator[FakeLoki]:
    """One that has these lines, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            assert parts.path == "/loki/api/v1/query_range"
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            loki.asked.append(asked)
            loki.logins.append(self.headers["Authorization"])
            body = loki.answer
            if body is None:
                data = {"resultType": "streams", "result": loki.found(asked), "stats": {}}
                body = json.dumps({"status": "success", "data": data}).encode()
            self.send_response(loki.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        loki = FakeLoki(f"http://127.0.0.1:{server.server_port}", lines)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield loki
        finally:
            server.shutdown()
            thread.join()
