"""`make bench ARGS=edge`: what one core of web does, beside the same view with another end.

Servers of one process and 24 threads, all on the first core; the client, Kafka and PostgreSQL on the
others. Rounds alternate, so that what else the machine does hits all alike; medians are printed.

* kafka: PUT /players/{id} as it is, answered after Kafka's ack;
* librdkafka: the same with NOTIFY_KAFKA_PRODUCER=librdkafka;
* sync: the same view writing the row to PostgreSQL before it answers (tests/qa/benchmarks/edge_app.py);
* none: the same view answering what it has parsed and checked;
* traced, sampled: kafka with a span for each request (NOTIFY_OTEL), or for one in a hundred;
* batches of 100, by either library, against a bare producer of kafka-python of the same messages;
* kafka and sync while PostgreSQL is stopped.
"""

import argparse
import itertools
import json
import os
import signal
import statistics
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import psutil
import psycopg
from kafka import KafkaProducer

from devstack import product
from devstack.services import free_port
from devstack.stack import Stack
from tests.qa.benchmarks import http_load
from tests.qa.benchmarks.http_load import Load, request
from tests.qa.benchmarks.stack import measured
from tests.running import Running

#: What each server is started with.
ENDS: Final[Mapping[str, Mapping[str, str]]] = {
    "kafka": {},
    "librdkafka": {"NOTIFY_KAFKA_PRODUCER": "librdkafka"},
    "sync": {"NOTIFY_BENCH_END": "sync"},
    "none": {"NOTIFY_BENCH_END": "none"},
    "traced": {"NOTIFY_OTEL": "1"},
    "sampled": {
        "NOTIFY_OTEL": "1",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    },
}
CONNECTIONS: Final = 32
#: So many that a device comes again only after minutes, as in the field.
DEVICES: Final = 200_000
BATCH: Final = 100
#: Time before and after PostgreSQL is stopped, in shares of the time it is.
AROUND: Final = 3


def main(argv: Sequence[str]) -> int:
    """0 once all is measured."""
    arguments = _parser().parse_args(argv)
    with measured() as run:
        run.sql.execute("UPDATE app SET requests_per_s = 0")
        _measure(run, arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--stopped-s", type=float, default=30.0, help="PostgreSQL is stopped; 0: not"
    )
    return parser


def _measure(run: Running, arguments: argparse.Namespace) -> None:
    sink = free_port()
    run.stack.spawn("sink", [product.PYTHON, "-m", "tests.qa.benchmarks.otlp_sink", str(sink)])
    run.stack.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{sink}"
    servers = {end: serve(run.stack, end) for end in ENDS}
    for address in servers.values():
        wait_for(run, address)
    single = itertools.cycle(updates(run.app.app_id))
    found: dict[str, list[Load]] = {end: [] for end in ENDS}
    for number in range(arguments.rounds + 1):
        for end, address in servers.items():
            load = http_load.run(
                address, single, connections=CONNECTIONS, seconds=arguments.seconds
            )
            if not load.per_s:
                raise SystemExit(f"web-{end}: {load.statuses}; {run.stack.tail(f'web-{end}', 3)}")
            if number:  # the first warms up
                found[end].append(load)
    rates = {end: statistics.median(load.per_s for load in loads) for end, loads in found.items()}
    for end, loads in found.items():
        p50, p99 = (statistics.median(load.percentile_ms(p) for load in loads) for p in (0.5, 0.99))
        print(f"{end:10} {rates[end]:8,.0f} requests/s   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms")
    for end in ("kafka", "librdkafka"):
        print(f"{end} / sync {rates[end] / rates['sync']:.2f} (target 3)")
        print(f"{end} / none {rates[end] / rates['none']:.2f}")
    for end in ("traced", "sampled"):
        print(f"{end} / kafka {rates[end] / rates['kafka']:.2f}")
    _batches(run, servers, arguments)
    if arguments.stopped_s:
        _stop_postgres(run, servers, single, arguments)


def serve(stack: Stack, end: str) -> tuple[str, int]:
    """A server on the first core."""
    port = free_port()
    child = stack.spawn(
        f"web-{end}",
        [
            *(product.PYTHON, "-m", "granian", "--interface", "wsgi"),
            *("tests.qa.benchmarks.edge_app:application", "--host", "127.0.0.1"),
            *("--port", str(port)),
            *("--workers", "1", "--blocking-threads", "24"),
        ],
        env=ENDS[end],
    )
    os.sched_setaffinity(child.pid, {0})
    return "127.0.0.1", port


def wait_for(run: Running, address: tuple[str, int]) -> None:
    """Returns when it answers."""
    ask = [request("GET", f"/apps/{run.app.app_id}/android_params.js", b"")]

    def answers() -> bool:
        try:
            return http_load.run(address, ask, connections=1, seconds=0.1).per_s > 0
        except OSError:
            return False

    run.wait(f"web on {address[1]}", answers)


def updates(app: str) -> list[bytes]:
    """What a device says of itself, of many devices."""
    return [
        request(
            "PUT", f"/players/{uuid.UUID(int=number)}", json.dumps(_device(app, number)).encode()
        )
        for number in range(DEVICES)
    ]


def _device(app: str, number: int) -> dict[str, object]:
    return {
        "app_id": app,
        "device_type": 1,
        "identifier": f"token-{number}",
        "language": "en",
        "timezone": 3600,
        "notification_types": 1,
        "tags": {"level": str(number), "plan": "pro", "seen": "yes"},
    }


def _batches(
    run: Running, servers: Mapping[str, tuple[str, int]], arguments: argparse.Namespace
) -> None:
    items = [
        {
            "record": str(uuid.UUID(int=number)),
            "tags": {"level": str(number), "plan": "pro"},
            "properties": {"language": "en", "timezone": 3600},
        }
        for number in range(BATCH)
    ]
    body = json.dumps({"updates": items}).encode()
    key = f"Authorization: Key {run.app.key}\r\n"
    one = [request("POST", f"/apps/{run.app.app_id}/batch", body, key)]
    found: dict[str, list[float]] = {"kafka": [], "librdkafka": [], "bare": []}
    for _ in range(arguments.rounds):
        for end in ("kafka", "librdkafka"):
            load = http_load.run(servers[end], one, connections=8, seconds=arguments.seconds)
            found[end].append(load.per_s * BATCH)
        found["bare"].append(_bare(run, arguments.seconds))
    bare = statistics.median(found.pop("bare"))
    print(f"a bare producer: {bare:,.0f} messages/s")
    for end, rates in found.items():
        rate = statistics.median(rates)
        print(f"{end}, batches of {BATCH}: {rate:,.0f} updates/s")
        print(f"{end}, batches / bare producer {rate / bare:.2f} (target 1)")


def _bare(run: Running, seconds: float) -> float:
    """Messages a second that a producer alone, on the first core, gets acked."""
    message = b'{"v":1,"op":"update","message_id":"%s"}' % (b"x" * 230)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    try:
        client = KafkaProducer(
            bootstrap_servers=run.stack.env["KAFKA_BOOTSTRAP_SERVERS"].split(","),
            acks="all",
            linger_ms=2,
            batch_size=256 * 1024,
            metrics_enabled=False,
        )
        client.partitions_for(run.topic)
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            for _ in range(1_000):
                client.send(run.topic, message, partition=0)
            client.flush()
            sent += 1_000
        took = time.monotonic() - began
        client.close()
    finally:
        os.sched_setaffinity(0, before)
    return sent / took


def _stop_postgres(
    run: Running,
    servers: dict[str, tuple[str, int]],
    single: Iterator[bytes],
    arguments: argparse.Namespace,
) -> None:
    """Each under load, PostgreSQL stopped in the middle: p99 before, meanwhile and after."""
    stopped, around = arguments.stopped_s, arguments.stopped_s / AROUND
    loads: dict[str, Load] = {}
    for end in ("kafka", "sync"):
        began = time.monotonic()
        with _stopping(run, around, stopped):
            loads[end] = http_load.run(
                servers[end], single, connections=CONNECTIONS, seconds=stopped + 2 * around
            )
        edges = (began, began + around, began + around + stopped, 1e18)
        spans = [
            loads[end].percentile_ms(0.99, since=since, until=until)
            for since, until in itertools.pairwise(edges)
        ]
        answered = sum(edges[1] <= at < edges[2] for at, _ in loads[end].answers)
        print(
            f"{end:6} p99 before, while PostgreSQL is stopped {stopped:.0f} s, after: "
            + ", ".join(f"{span:,.0f} ms" for span in spans)
            + f"; answered meanwhile: {answered:,}"
        )


@contextmanager
def _stopping(run: Running, after_s: float, stopped_s: float) -> Iterator[None]:
    """PostgreSQL stops after so long, for so long."""
    with psycopg.connect(run.stack.env["DATABASE_URL"]) as connection:
        backend = psutil.Process(connection.info.backend_pid)
    postmaster = backend.parent()
    assert postmaster is not None
    pid = os.fork()
    if pid == 0:
        time.sleep(after_s)
        family = [postmaster, *postmaster.children(recursive=True)]
        for each in family:
            os.kill(each.pid, signal.SIGSTOP)
        time.sleep(stopped_s)
        for each in family:
            os.kill(each.pid, signal.SIGCONT)
        os._exit(0)
    try:
        yield
    finally:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
