"""`make bench`: how fast prepared updates are applied, beside two other ways, on the same services.

* notify: one bridge and two workers, 200,000 updates waiting in Kafka, uniform and half on one row;
* a hand-written batch consumer of the same messages, two processes (tests/qa/benchmarks/handwritten.py);
* plain Celery, two workers, a task an update (devstack/demo/plain.py), with fewer updates: its rate
  does not depend on their number;
* notify's time lag at steady rates: fixed ones, and shares of the rate at which it drained.

Nothing here fails for being slow; the targets are printed beside what was measured.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis

from devstack import product
from devstack.demo import plain
from notify.kafka.topic import Topics
from tests.qa.benchmarks import handwritten, lag
from tests.qa.benchmarks.prepared import preload, targets
from tests.qa.benchmarks.stack import measured
from tests.running import PARTITIONS, Running

PROCESSES: Final = 2
WORKERS: Final = tuple(f"worker-{number}" for number in range(PROCESSES))
SHAPES: Final = {"uniform": 0.0, "half on one row": 0.5}
PACKAGES: Final = ("celery", "kafka-python", "psycopg", "redis")
DRAIN_S: Final = 600
#: Shares of the drained rate at which the lag is measured too.
SHARES: Final = (0.1, 0.5, 0.8)


class Rates(NamedTuple):
    """Updates a second, by shape, and the lag."""

    ours: dict[str, float]
    handwritten: dict[str, float]
    plain: float
    lags: list[lag.Lag]


def main(argv: Sequence[str]) -> int:
    """0 once all is measured."""
    arguments = _parser().parse_args(argv)
    with measured() as run:
        rates = _measure(run, arguments)
        print(_report(run, arguments, rates))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.qa.benchmarks.drain", description=__doc__)
    parser.add_argument("--updates", type=int, default=200_000, help="to drain, of each shape")
    parser.add_argument("--plain", type=int, default=5_000, help="for plain Celery")
    parser.add_argument(
        "--rates", type=int, nargs="*", default=[1_000, 5_000], help="updates a second for the lag"
    )
    parser.add_argument("--seconds", type=int, default=20, help="of each steady rate")
    return parser


def _measure(run: Running, arguments: argparse.Namespace) -> Rates:
    run.sql.execute(plain.TABLE)
    run.sql.execute(handwritten.TABLE)
    ours: dict[str, float] = {}
    others: dict[str, float] = {}
    before = dict.fromkeys(range(PARTITIONS), 0)
    for shape, hot_share in SHAPES.items():
        _say(f"preloading {arguments.updates:,} updates, {shape}")
        preload(kafka(run), run.topic, arguments.updates, hot_share=hot_share)
        ends = log_ends(run)
        ours[shape] = _drain(run, arguments.updates)
        _say(f"notify, {shape}: {ours[shape]:,.0f}/s")
        others[shape] = _drain_by_hand(run, before, ends)
        _say(f"hand-written, {shape}: {others[shape]:,.0f}/s")
        before = ends
    start(run)
    run.wait("the bridge ticks", lambda: _ticks(run))
    uniform, *_ = ours.values()
    lags = []
    _say(f"a load of {lag.BROKER_WARM_UP_S} s, until the broker has compiled its code")
    dsn = run.stack.env["DATABASE_URL"]
    lag.warm_broker_up(dsn, kafka(run), run.topic)
    for rate in sorted({*arguments.rates, *(int(uniform * share) for share in SHARES)}):
        _say(f"{rate:,} updates/s for {arguments.seconds} s")
        lags.append(lag.measure(dsn, kafka(run), run.topic, per_s=rate, seconds=arguments.seconds))
    stop(run)
    _say(f"plain Celery, {arguments.plain:,} updates")
    return Rates(ours, others, _drain_plainly(run, arguments.plain), lags)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def kafka(run: Running) -> str:
    """Where Kafka is."""
    return run.stack.env["KAFKA_BOOTSTRAP_SERVERS"]


def log_ends(run: Running) -> dict[int, int]:
    """The ends of the topic's partitions."""
    with Topics(kafka(run).split(",")) as topics:
        extents = topics.extents(run.topic, range(run.partitions))
    return {number: extent.end for number, extent in extents.items()}


def start(run: Running, bridges: Sequence[str] = ("bridge",)) -> None:
    """Bridges and two workers, which are ready before the bridges start."""
    logs = [run.stack.log(name) for name in WORKERS]
    for name, log in zip(WORKERS, logs, strict=True):
        log.unlink(missing_ok=True)
        product.start_worker(run.stack, name)
    run.wait("the workers", lambda: all(" ready." in log.read_text() for log in logs))
    for name in bridges:
        product.start_bridge(run.stack, name)


def stop(run: Running, bridges: Sequence[str] = ("bridge",)) -> None:
    """Ends what `start` has started."""
    for name in (*bridges, *WORKERS):
        run.stack.kill(name, signal.SIGTERM)
        run.stack.child(name).wait(30)


def _ticks(run: Running) -> bool:
    return not run.rows(
        "SELECT 1 FROM stream WHERE ticked_at IS NULL OR ticked_at < now() - interval '3 seconds'"
    )


def _drain(run: Running, updates: int) -> float:
    """Updates a second. Raises AssertionError if another number of updates was applied."""
    before = _sessions(run)
    found = drain_waiting(run, updates)
    applied = _sessions(run) - before
    assert applied == updates, f"{applied} of {updates} were applied"
    return found


def _sessions(run: Running) -> int:
    ((total,),) = run.rows("SELECT COALESCE(sum(session_count), 0) FROM record")
    return int(total)


def drain_waiting(run: Running, updates: int) -> float:
    """Starts Notify, lets it apply the updates that wait in Kafka, and stops it.

    Updates a second, from the first tick that plans until all is seen applied.
    """
    ends = log_ends(run)
    ((since,),) = run.rows("SELECT clock_timestamp()")
    start(run)
    run.wait("all applied", lambda: frontiers(run) == ends, timeout_s=DRAIN_S)
    ((took,),) = run.rows(
        "SELECT extract(epoch FROM clock_timestamp() - min(at)) FROM plan_log WHERE at > %s", since
    )
    stop(run)
    return updates / float(took)


def frontiers(run: Running) -> dict[int, int]:
    """Up to where each partition is applied."""
    return dict(run.rows("SELECT partition, frontier FROM stream"))


def _drain_by_hand(run: Running, first: dict[int, int], ends: dict[int, int]) -> float:
    """Updates a second, from the first poll to the last statement."""
    names = []
    for process in range(PROCESSES):
        ranges = [
            f"{first[number]}-{ends[number]}" if number % PROCESSES == process else ""
            for number in range(PARTITIONS)
        ]
        name = f"handwritten-{process}"
        argv = [product.PYTHON, "-m", "tests.qa.benchmarks.handwritten", run.topic, *ranges]
        run.stack.spawn(name, argv)
        names.append(name)
    for name in names:
        if run.stack.child(name).wait(DRAIN_S) != 0:
            raise RuntimeError(f"{name} failed:\n{run.stack.tail(name)}")
    results = [json.loads(run.stack.tail(name, 1)) for name in names]
    took = max(each["ended"] for each in results) - min(each["began"] for each in results)
    return float(sum(each["messages"] for each in results) / took)


def _drain_plainly(run: Running, updates: int) -> float:
    """Tasks a second, from the first that is seen done to the last."""
    plain.app.conf.broker_url = run.stack.env["REDIS_URL"]
    queue = f"{plain.QUEUE}-{run.topic}"
    for number, target in enumerate(islice(targets(updates, hot_share=0), updates)):
        args = (target.app, target.record, number)
        plain.app.send_task("plain.apply", args=args, queue=queue)
    names = [f"plain-{number}" for number in range(PROCESSES)]
    for name in names:
        worker = ("-A", "devstack.demo.plain", "worker", "--concurrency=1", "-Q", queue)
        run.stack.spawn(name, [product.PYTHON, "-m", "celery", *worker, "--hostname", f"{name}@%h"])
    run.wait("all plain workers are up", lambda: _plain_done(run) > updates // 10)
    began, already = time.monotonic(), _plain_done(run)
    run.wait("all tasks done", lambda: _plain_done(run) == updates, timeout_s=DRAIN_S)
    took = time.monotonic() - began
    for name in names:
        run.stack.kill(name)
    return (updates - already) / took


def _plain_done(run: Running) -> int:
    ((count,),) = run.rows("SELECT COALESCE(sum(n), 0)::bigint FROM plain_record")
    return int(count)


def _report(run: Running, arguments: argparse.Namespace, rates: Rates) -> str:
    uniform, hot = SHAPES
    worst = min(rates.ours.values())
    by_hand = {shape: rates.ours[shape] / rates.handwritten[shape] for shape in SHAPES}
    lines = [
        "",
        f"{arguments.updates:,} prepared updates drained, updates/s",
        f"{'':38}{uniform:>16}{hot:>18}",
        _row("notify (bridge, 2 workers)", rates.ours),
        _row("hand-written batch consumer (2 processes)", rates.handwritten),
        f"{f'plain Celery (2 workers; {arguments.plain:,} updates)':42}{rates.plain:>12,.0f}",
        "",
        f"{'':42}{'measured':>12}{'target':>18}",
        _ratio("notify / plain Celery", f"{worst / rates.plain:.0f}x", ">= 25x"),
        _ratio("notify / hand-written, uniform", f"{by_hand[uniform]:.2f}x", ">= 0.7x"),
        _ratio("notify / hand-written, half on one row", f"{by_hand[hot]:.2f}x", ">= 1.8x"),
        _ratio(
            "half on one row / uniform", f"{rates.ours[hot] / rates.ours[uniform]:.2f}x", ">= 1.3x"
        ),
        "",
        _lags("lag in ms, from when an update was due", "p50", "p99", "p99.9", "max"),
        *(
            _lags(
                f"  at {each.per_s:,.0f} updates/s",
                *(f"{ms:,.0f}" for ms in (each.p50_ms, each.p99_ms, each.p999_ms, each.max_ms)),
            )
            for each in rates.lags
        ),
        "",
        *machine(run),
    ]
    return "\n".join(lines)


def _row(name: str, rates: dict[str, float]) -> str:
    uniform, hot = rates.values()
    return f"{name:42}{uniform:>12,.0f}{hot:>18,.0f}"


def _lags(name: str, *cells: str) -> str:
    return f"{name:40}" + "".join(f"{cell:>8}" for cell in cells)


def _ratio(name: str, measured: str, target: str) -> str:
    return f"{name:42}{measured:>12}{target:>18}"


def machine(run: Running) -> list[str]:
    """The machine and the versions, in lines."""
    ((postgres,),) = run.rows("SHOW server_version")
    client = redis.Redis.from_url(run.stack.env["REDIS_URL"])
    info: dict[str, Any] = client.info("server")
    server = "Valkey" if "valkey_version" in info else "Redis"
    number = info.get("valkey_version", info["redis_version"])
    client.close()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"{os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, {packages}",
        f"PostgreSQL {postgres}, {server} {number}, {run.partitions} partitions; Kafka: see the first lines",
        "Services, processes and the one that measures share these cores.",
    ]


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
