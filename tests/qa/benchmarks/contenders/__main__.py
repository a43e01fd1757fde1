"""`make bench BENCH=contenders`: compares Notify with other ways to apply the same updates.

It prints a table, and writes docs/benchmarks.md and its plots. Nothing here fails for being slow or wrong.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Final, TypeVar

from devstack import apache_kafka
from tests.qa.benchmarks import handwritten
from tests.qa.benchmarks.contenders import report
from tests.qa.benchmarks.contenders.by_hand import ByHand, PostgresAlone
from tests.qa.benchmarks.contenders.celery_workers import CeleryBatches, PlainCelery
from tests.qa.benchmarks.contenders.cell import prepare
from tests.qa.benchmarks.contenders.contender import Contender, Failed, Unavailable
from tests.qa.benchmarks.contenders.measure import drain, drain_killed
from tests.qa.benchmarks.contenders.open_loop import spike, steady
from tests.qa.benchmarks.contenders.ours import Ours
from tests.qa.benchmarks.contenders.parallel_consumer import ParallelConsumer
from tests.qa.benchmarks.contenders.pyrallel import Pyrallel
from tests.qa.benchmarks.contenders.results import Results
from tests.qa.benchmarks.contenders.shapes import SHAPES, Shape
from tests.qa.benchmarks.drain import machine
from tests.qa.benchmarks.stack import measured
from tests.running import IS_APACHE, PARTITIONS, Running

BATCHES: Final = (200, 500, 2_000, 5_000)
#: Steady loads, as shares of the rate at which a contender drained uniform updates.
SHARES: Final = (0.1, 0.5, 0.8)
_KINDS: Final[tuple[type[Contender], ...]] = (
    *(Ours, PlainCelery, CeleryBatches, ByHand, Pyrallel, ParallelConsumer, PostgresAlone),
)
_NAMES: Final = [kind.name for kind in _KINDS]
_Measured = TypeVar("_Measured")


def main(argv: Sequence[str]) -> int:
    """0 once all is measured."""
    arguments = _parser().parse_args(argv)
    shapes = [shape for shape in SHAPES if shape.name in arguments.shapes]
    results = Results(arguments.updates, arguments.fewer, arguments.rounds, shapes)
    facts: list[str] = []
    # The usual number of partitions first: there the batch of the hand-written consumer is tuned.
    for partitions in sorted({each.partitions for each in shapes}, key=lambda n: n != PARTITIONS):
        with measured({"NOTIFY_PARTITIONS": str(partitions)}) as run:
            run.sql.execute(handwritten.TABLE)
            facts = facts or _facts(run, argv)
            _measure(
                run, [each for each in shapes if each.partitions == partitions], arguments, results
            )
    print(report.terminal(results, facts))
    if arguments.page:
        report.write(results, facts)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.qa.benchmarks.contenders", description=__doc__)
    parser.add_argument("--updates", type=int, default=60_000, help="of each drain")
    parser.add_argument("--fewer", type=int, default=6_000, help="updates for slow contenders")
    parser.add_argument("--rounds", type=int, default=3)
    shapes = [shape.name for shape in SHAPES]
    parser.add_argument("--shapes", nargs="+", choices=shapes, default=shapes)
    parser.add_argument("--only", nargs="+", choices=_NAMES, default=_NAMES, help="contenders")
    parser.add_argument("--batch", type=int, help="of the hand-written consumer, instead of tuning")
    parser.add_argument("--kill", choices=shapes, default="half", help="the shape of the kills")
    parser.add_argument("--kill-updates", type=int, default=20_000)
    parser.add_argument("--no-kill", action="store_true")
    parser.add_argument("--no-lag", action="store_true", help="no steady loads and no spike")
    parser.add_argument("--seconds", type=float, default=8, help="of each steady load")
    parser.add_argument("--limit-s", type=float, default=600, help="of each drain")
    parser.add_argument("--no-page", dest="page", action="store_false", help="only print")
    return parser


def _contenders(run: Running) -> list[Contender]:
    by_hand = ByHand(run)
    return [
        Ours(run),
        PlainCelery(run),
        CeleryBatches(run),
        by_hand,
        Pyrallel(run),
        ParallelConsumer(run),
        ParallelConsumer(run, batch=500),
        PostgresAlone(run, by_hand),
    ]


def _measure(
    run: Running, shapes: Sequence[Shape], arguments: argparse.Namespace, results: Results
) -> None:
    """The shapes, on a stack with their number of partitions. Kills and lags with the usual number only."""
    every = _contenders(run)
    _prepare_all(run, every, arguments, results)
    contenders = _installed([each for each in every if each.name in arguments.only], results)
    for shape in shapes:
        for number in range(arguments.rounds):
            _round(run, shape, number, contenders, arguments, results)
    results.setups |= {each.title: each.setup for each in contenders}
    if run.partitions != PARTITIONS:
        return
    resuming = [each for each in contenders if each.resumes]
    if not arguments.no_kill:
        _kill_all(run, resuming, arguments, results)
    if not arguments.no_lag:
        _lag_all(resuming, arguments, results)


def _round(
    run: Running,
    shape: Shape,
    number: int,
    contenders: Sequence[Contender],
    arguments: argparse.Namespace,
    results: Results,
) -> None:
    """Those that are slow drain a cell of fewer updates. Notify drains that too, so that nothing is left."""
    seed = 100 + 10 * (number * len(SHAPES) + SHAPES.index(shape))
    slow = [each for each in contenders if each.is_slow(shape) and shape.all_contenders]
    fast = [each for each in contenders if not each.is_slow(shape)]
    for group, updates in ((slow, arguments.fewer), (fast, arguments.updates)):
        if not group:
            continue
        cell = prepare(run, shape, updates, seed=seed + (group is slow))
        turn = number % len(group)
        for each in group[turn:] + group[:turn]:
            outcome = _tried(partial(drain, each, cell, limit_s=arguments.limit_s))
            results.drained[each.title, shape.name].append(outcome)
            _say(f"round {number + 1}, {shape.title}, {each.title}: {outcome}")
        ours = next((each for each in fast if isinstance(each, Ours)), None)
        if group is slow and ours is not None:
            _tried(partial(drain, ours, cell, limit_s=arguments.limit_s))


def _prepare_all(
    run: Running, every: Sequence[Contender], arguments: argparse.Namespace, results: Results
) -> None:
    """Tunes the hand-written consumer, once. Notify then drains the same cell, so that nothing is left."""
    ours = next(each for each in every if isinstance(each, Ours))
    by_hand = next(each for each in every if isinstance(each, ByHand))
    if arguments.batch is not None:
        by_hand.batch = arguments.batch
        return
    if results.tuned:
        by_hand.batch = results.best_batch
        return
    if not {ByHand.name, PostgresAlone.name} & set(arguments.only):
        return
    cell = prepare(run, SHAPES[0], arguments.updates, seed=1)
    for size in BATCHES:
        by_hand.batch = size
        results.tuned[size] = drain(by_hand, cell, limit_s=arguments.limit_s).per_s
        _say(f"hand-written consumer, batches of {size:,}: {results.tuned[size]:,.0f}/s")
    by_hand.batch = results.best_batch
    drain(ours, cell, limit_s=arguments.limit_s)


def _installed(contenders: Sequence[Contender], results: Results) -> list[Contender]:
    """Those that can start here."""
    ready = []
    for each in contenders:
        try:
            each.install()
        except Unavailable as why:
            results.unavailable[each.title] = str(why)
            _say(f"{each.title} cannot be measured: {why}")
        else:
            ready.append(each)
    return ready


def _kill_all(
    run: Running,
    contenders: Sequence[Contender],
    arguments: argparse.Namespace,
    results: Results,
) -> None:
    shape: Shape = next(shape for shape in SHAPES if shape.name == arguments.kill)
    results.kill_shape = shape.title
    cell = prepare(run, shape, arguments.kill_updates, seed=2)
    for each in contenders:
        killed = _tried(partial(drain_killed, each, cell, limit_s=arguments.limit_s))
        results.killed[each.title] = killed
        _say(f"killed, {each.title}: {killed}")


def _lag_all(
    contenders: Sequence[Contender], arguments: argparse.Namespace, results: Results
) -> None:
    """Steady loads of uniform updates, by the rate at which the contender drained them; and a spike."""
    uniform = next(shape for shape in SHAPES if shape.name == "uniform")
    half = next(shape for shape in SHAPES if shape.name == "half")
    seeds = count(100_000)
    for each in contenders:
        if drained := results.spread(each.title, uniform):
            for share in SHARES:
                load = partial(
                    steady,
                    each,
                    uniform,
                    share * drained.median,
                    arguments.seconds,
                    seed=next(seeds),
                )
                results.lags.setdefault(each.title, {})[share] = outcome = _tried(load)
                _say(f"{share:.0%} of its rate, {each.title}: {outcome}")
        results.spikes[each.title] = caught = _tried(partial(spike, each, half, seed=next(seeds)))
        _say(f"spike, {each.title}: {caught}")


def _tried(measure: Callable[[], _Measured]) -> _Measured | str:
    """What was measured, or why it failed. One contender's failure must not end the run."""
    try:
        return measure()
    except (Failed, AssertionError) as why:
        return str(why) or "it failed"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _facts(run: Running, argv: Sequence[str]) -> list[str]:
    ((fsync,),) = run.rows("SHOW fsync")
    words = f' ARGS="{shlex.join(argv)}"' if argv else ""
    return [
        f"`make bench BENCH=contenders{words}`, {time.strftime('%Y-%m-%d')}",
        f"Kafka: {f'Apache Kafka {apache_kafka.VERSION}, one broker' if IS_APACHE else 'another broker'}",
        f"PostgreSQL: fsync {fsync}",
        *machine(run),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
