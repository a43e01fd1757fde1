"""`make bench BENCH=spike`: ten times the normal load, over three times what one core of web can take.

Web on the first core behind HAProxy as docker/haproxy.cfg has it; Kafka, HAProxy and the client on the
others. Requests are offered at a rate, whatever comes back (an open loop), each on a free connection.
Then every update that was acked is looked for in the topic.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from kafka import KafkaConsumer, TopicPartition

from notify.domain.records.update import Update, read
from tests import proxy
from tests.proxy import Proxy
from tests.qa.benchmarks import edge, http_load
from tests.qa.benchmarks.http_load import Load, request
from tests.qa.benchmarks.stack import measured
from tests.running import PARTITIONS, Running

OVER: Final = 3.3
NORMAL: Final = 10
CONNECTIONS_MAX: Final = 1_500
GIVEN_UP_S: Final = 10.0


@dataclass(slots=True)
class Spike:
    """What came back; `acked` are the numbers of accepted updates, `unsent` found no connection."""

    load: Load = field(default_factory=Load)
    acked: set[int] = field(default_factory=set)
    unsent: int = 0
    broken: int = 0
    given_up: int = 0


def main(argv: Sequence[str]) -> int:
    """0 if nothing that was acked is missing; it fails for nothing else."""
    parser = argparse.ArgumentParser(prog="spike", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args(argv)
    if "DATABASE_URL" not in os.environ or proxy.needs():
        print("spike: run it as `make bench`; it needs haproxy, too", file=sys.stderr)
        return 2
    with measured() as run:
        run.sql.execute("UPDATE app SET requests_per_s = 0")
        return _measure(run, _proxied(run), arguments.seconds)


def _proxied(run: Running) -> tuple[str, int]:
    web = edge.serve(run.stack, "kafka")
    edge.wait_for(run, web)
    # All of the load comes from one address.
    bounds = dict.fromkeys(
        ("ADDRESS_CONNECTIONS", "ADDRESS_REQUESTS_10S", "ADDRESS_KEYLESS_10S"), "10000000"
    )
    front = Proxy(run.stack, [f"http://{web[0]}:{web[1]}"], **bounds)
    url = urlsplit(front.url)
    return str(url.hostname), int(url.port or 0)


def _measure(run: Running, address: tuple[str, int], seconds: float) -> int:
    requests = edge.updates(run.app.app_id)
    http_load.run(address, requests, connections=48, seconds=3)
    capacity = http_load.run(address, requests, connections=48, seconds=5).per_s
    offered = capacity * OVER
    print(f"capacity {capacity:,.0f} requests/s; normal load {offered / NORMAL:,.0f}")
    _say("normal", asyncio.run(_spike(run, address, offered / NORMAL, 5.0)), 5.0)
    spike = asyncio.run(_spike(run, address, offered, seconds, first=1_000_000))
    _say(f"spike to {offered:,.0f}", spike, seconds)
    _say("after", asyncio.run(_spike(run, address, offered / NORMAL, 5.0, first=9_000_000)), 5.0)
    missing = spike.acked - _in_topic(run)
    print(f"acked in the spike: {len(spike.acked):,}; not in the topic: {len(missing)}")
    return 1 if missing else 0


def _say(what: str, spike: Spike, seconds: float) -> None:
    statuses = spike.load.statuses
    accepted = statuses[200]
    print(
        f"{what:18} accepted {accepted / seconds:7,.0f}/s, p99 {spike.load.percentile_ms(0.99):5.0f} ms; "
        f"503 {statuses[503]:,}, 429 {statuses[429]:,}, other {_others(statuses)}, "
        f"no answer in {GIVEN_UP_S:.0f} s {spike.given_up}, cut {spike.broken}, unsent {spike.unsent}"
    )


def _others(statuses: Counter[int]) -> int:
    return sum(n for status, n in statuses.items() if status not in (200, 429, 503))


class _Client(asyncio.Protocol):
    """One connection: free, or waiting for an answer."""

    def __init__(self, spike: Spike, free: list["_Client"]) -> None:
        self._spike, self._free = spike, free
        self._buffer = b""
        self._number = -1
        self.sent_s = 0.0
        self.waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, number: int, message: bytes) -> None:
        """Send a request; the connection is taken until it is answered."""
        self._number, self.waits, self.sent_s = number, True, time.monotonic()
        self.transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        if not found or len(rest) < int(head[at + 15 :].split(b"\r\n", 1)[0]):
            return
        self._buffer, self.waits = b"", False
        status, now = int(head[9:12]), time.monotonic()
        self._spike.load.statuses[status] += 1
        if status == 200:
            self._spike.acked.add(self._number)
            self._spike.load.answers.append((now, now - self.sent_s))
        self._free.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self.waits:
            self._spike.broken += 1
            self.waits = False
        if self in self._free:
            self._free.remove(self)


async def _spike(
    run: Running, address: tuple[str, int], per_s: float, seconds: float, *, first: int = 0
) -> Spike:
    spike = Spike()
    free: list[_Client] = []
    clients: list[_Client] = []
    loop = asyncio.get_running_loop()

    async def connect() -> None:
        _, client = await loop.create_connection(lambda: _Client(spike, free), *address)
        clients.append(client)
        free.append(client)

    for _ in range(200):
        await connect()
    opening: set[asyncio.Task[None]] = set()
    began, sent = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        due = int(now * per_s)
        while sent < due:
            if free:
                free.pop().send(first + sent, _request(run.app.app_id, first + sent))
            else:
                spike.unsent += 1
                if len(clients) + len(opening) < CONNECTIONS_MAX:
                    task = loop.create_task(connect())
                    opening.add(task)
                    task.add_done_callback(opening.discard)
            sent += 1
        await asyncio.sleep(0.002)
    ends = time.monotonic() + GIVEN_UP_S
    while any(client.waits for client in clients) and time.monotonic() < ends:
        await asyncio.sleep(0.05)
    spike.given_up = sum(client.waits for client in clients)
    for client in clients:
        client.waits = False
        client.transport.close()
    await asyncio.sleep(0.1)
    spike.load.seconds = seconds
    return spike


def _request(app: str, number: int) -> bytes:
    body = json.dumps({"app_id": app, "tags": {"number": str(number)}}).encode()
    return request("PUT", f"/players/{uuid.UUID(int=number % 5_000)}", body)


def _in_topic(run: Running) -> set[int]:
    """The numbers of all updates in the topic."""
    consumer = KafkaConsumer(
        bootstrap_servers=run.stack.env["KAFKA_BOOTSTRAP_SERVERS"].split(","),
        group_id=None,
        enable_auto_commit=False,
    )
    places = [TopicPartition(run.topic, number) for number in range(PARTITIONS)]
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    consumer.seek_to_beginning(*places)
    found: set[int] = set()
    while any(consumer.position(place) < ends[place] for place in places):
        for messages in consumer.poll(timeout_ms=200, max_records=5_000).values():
            for message in messages:
                update = read(message.value)
                if isinstance(update, Update) and "tags.number" in update.patch.ops:
                    found.add(int(str(update.patch.ops["tags.number"][1])))
    consumer.close()
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
