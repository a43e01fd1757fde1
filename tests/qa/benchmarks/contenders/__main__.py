"""`make bench BENCH=contenders`: compares Notify with other ways to apply the same updates.

It prints a table, and writes docs/benchmarks.md and its plots. Nothing here fails for being slow or wrong.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from devstack import apache_kafka
from tests.qa.benchmarks import handwritten
from tests.qa.benchmarks.contenders import report
from tests.qa.benchmarks.contenders.by_hand import ByHand, PostgresAlone
from tests.qa.benchmarks.contenders.celery_workers import CeleryBatches, PlainCelery
from tests.qa.benchmarks.contenders.cell import prepare
from tests.qa.benchmarks.contenders.contender import Contender, Failed, Unavailable
from tests.qa.benchmarks.contenders.measure import drain, drain_killed
from tests.qa.benchmarks.contenders.ours import Ours
from tests.qa.benchmarks.contenders.parallel_consumer import ParallelConsumer
from tests.qa.benchmarks.contenders.pyrallel import Pyrallel
from tests.qa.benchmarks.contenders.results import Results
from tests.qa.benchmarks.contenders.shapes import SHAPES, Shape
from tests.qa.benchmarks.drain import machine
from tests.qa.benchmarks.stack import measured
from tests.running import Running

BATCHES: Final = (200, 500, 2_000, 5_000)
_KINDS: Final[tuple[type[Contender], ...]] = (
    *(Ours, PlainCelery, CeleryBatches, ByHand, Pyrallel, ParallelConsumer, PostgresAlone),
)
_NAMES: Final = [kind.name for kind in _KINDS]
_Measured = TypeVar("_Measured")


def main(argv: Sequence[str]) -> int:
    """0 once all is measured."""
    arguments = _parser().parse_args(argv)
    if "DATABASE_URL" not in os.environ:
        print("contenders: run it as `make bench BENCH=contenders`", file=sys.stderr)
        return 2
    with measured() as run:
        run.stack.env.pop("NOTIFY_RESEND_AFTER_MS", None)
        run.sql.execute(handwritten.TABLE)
        results = _measure(run, arguments)
        facts = _facts(run, argv)
    print(report.terminal(results, facts))
    if arguments.page:
        report.write(results, facts)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.qa.benchmarks.contenders", description=__doc__)
    parser.add_argument("--updates", type=int, default=40_000, help="of each drain")
    parser.add_argument("--rounds", type=int, default=3)
    shapes = [shape.name for shape in SHAPES]
    parser.add_argument("--shapes", nargs="+", choices=shapes, default=shapes)
    parser.add_argument("--only", nargs="+", choices=_NAMES, default=_NAMES, help="contenders")
    parser.add_argument("--batch", type=int, help="of the hand-written consumer, instead of tuning")
    parser.add_argument("--kill", choices=shapes, default="half", help="the shape of the kills")
    parser.add_argument("--no-kill", action="store_true")
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


def _measure(run: Running, arguments: argparse.Namespace) -> Results:
    shapes = [shape for shape in SHAPES if shape.name in arguments.shapes]
    results = Results(arguments.updates, arguments.rounds, shapes)
    every = _contenders(run)
    _prepare_all(run, every, arguments, results)
    contenders = _installed([each for each in every if each.name in arguments.only], results)
    if not contenders:
        return results
    for number in range(arguments.rounds):
        for place, shape in enumerate(shapes):
            cell = prepare(run, shape, arguments.updates, seed=100 + number * len(SHAPES) + place)
            turn = (number + place) % len(contenders)
            for each in contenders[turn:] + contenders[:turn]:
                outcome = _tried(partial(drain, each, cell, limit_s=arguments.limit_s))
                results.drained[each.title, shape.name].append(outcome)
                _say(f"round {number + 1}, {shape.title}, {each.title}: {outcome}")
    if not arguments.no_kill:
        _kill_all(run, contenders, arguments, results)
    results.setups = {each.title: each.setup for each in contenders}
    return results


def _prepare_all(
    run: Running, every: Sequence[Contender], arguments: argparse.Namespace, results: Results
) -> None:
    """Tunes the hand-written consumer. Notify then drains the same cell, so that nothing is left for it."""
    ours = next(each for each in every if isinstance(each, Ours))
    by_hand = next(each for each in every if isinstance(each, ByHand))
    if arguments.batch is not None:
        by_hand.batch = arguments.batch
    if arguments.batch is not None or not {ByHand.name, PostgresAlone.name} & set(arguments.only):
        return
    cell = prepare(run, SHAPES[0], arguments.updates, seed=1)
    for size in BATCHES:
        by_hand.batch = size
        results.tuned[size] = drain(by_hand, cell, limit_s=arguments.limit_s).per_s
        _say(f"hand-written consumer, batches of {size:,}: {results.tuned[size]:,.0f}/s")
    by_hand.batch = max(results.tuned, key=lambda size: results.tuned[size])
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
    cell = prepare(run, shape, arguments.updates, seed=2)
    for each in contenders:
        if each.resumes:
            killed = _tried(partial(drain_killed, each, cell, limit_s=arguments.limit_s))
            results.killed[each.title] = killed
            _say(f"killed, {each.title}: {killed}")


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
    apache = os.environ.get("NOTIFY_KAFKA") == "apache"
    words = f' ARGS="{shlex.join(argv)}"' if argv else ""
    return [
        f"`make bench BENCH=contenders{words}`, {time.strftime('%Y-%m-%d')}",
        f"Kafka: {f'Apache Kafka {apache_kafka.VERSION}, one broker' if apache else 'another broker'}",
        f"PostgreSQL: fsync {fsync}",
        *machine(run),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
