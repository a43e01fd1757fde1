"""An HTTP client that costs little: one thread, prepared requests, connections that stay open.

A closed loop: each connection sends its next request when it has the answer to the last.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Load:
    """What came back: statuses, and (when, seconds) of each answer."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    answers: list[tuple[float, float]] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Answers 200 or 202 a second."""
        return (self.statuses[200] + self.statuses[202]) / self.seconds

    def percentile_ms(self, share: float, *, since: float = 0.0, until: float = 1e18) -> float:
        """Of the time to answer, of requests answered in that time."""
        found = sorted(took for at, took in self.answers if since <= at < until)
        return found[min(len(found) - 1, int(len(found) * share))] * 1000 if found else float("nan")


def request(method: str, path: str, body: bytes, headers: str = "") -> bytes:
    """The bytes of one request."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], load: Load, ends_s: float) -> None:
        self._requests, self._load, self._ends_s = requests, load, ends_s
        self._buffer = b""
        self._sent_s = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        self._sent_s = time.monotonic()
        if self._sent_s >= self._ends_s:
            self._transport.close()
            return
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        now = time.monotonic()
        self._load.statuses[int(head[9:12])] += 1
        self._load.answers.append((now, now - self._sent_s))
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _run(
    address: tuple[str, int],
    requests: Sequence[bytes] | Iterator[bytes],
    *,
    connections: int,
    seconds: float,
) -> Load:
    load = Load(seconds)
    turn = requests if isinstance(requests, Iterator) else itertools.cycle(requests)
    loop = asyncio.get_running_loop()
    ends_s = time.monotonic() + seconds
    made = [
        (await loop.create_connection(lambda: _Connection(turn, load, ends_s), *address))[1]
        for _ in range(connections)
    ]
    await asyncio.wait([each.done for each in made], timeout=seconds + 45)
    return load


def run(
    address: tuple[str, int],
    requests: Sequence[bytes] | Iterator[bytes],
    *,
    connections: int,
    seconds: float,
) -> Load:
    """Send them in turn, on so many connections, for so long. An iterator goes on where it was."""
    return asyncio.run(_run(address, requests, connections=connections, seconds=seconds))
