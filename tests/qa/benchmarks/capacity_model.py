"""A model of the pipeline in time steps, with the costs that `manage.py capacity` reads.

In each step, web accepts what its cores can and refuses the rest. The log keeps what bridges have not
decided, per partition. A bridge has one thread, and a partition's window is bounded. Workers and PostgreSQL
apply what is in the windows. It is a fluid model: it has no batches, so it cannot show delays below a step.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from notify.domain.engine.window import WINDOW_OFFSETS
from notify.management.capacity import Costs

DAY_S: Final = 86_400
#: A spike falls to a third in this time.
SPIKE_S: Final = 90
PIPELINE: Final = ("bridge", "worker", "postgres", "kafka", "redis")


@dataclass(frozen=True, slots=True)
class Machines:
    """The cores of each part. `shared`: all parts behind web share so many cores."""

    web: float
    worker: float
    postgres: float
    partitions: Sequence[float]  # the share of the updates in each; each has a bridge
    bridges: int
    shared: float = math.inf


class Step(NamedTuple):
    """The state at the end of a step. Rates are a second."""

    arrived: float
    refused: float
    applied: float
    backlog: float
    held: float
    lag_s: float


def play(
    rates: Sequence[float],
    machines: Machines,
    costs: Costs,
    *,
    waiting: float = 0,
    step_s: float = 1,
) -> list[Step]:
    """The steps for these arrivals a second; `waiting` updates are in the log at the start."""
    shares = machines.partitions
    log = [waiting * share for share in shares]
    window = [0.0] * len(shares)
    accepted, applied = waiting, 0.0
    entered: list[float] = []
    done: list[Step] = []
    seen = 0
    cpu_us = costs.cpu_us
    in_web = machines.web * 1e6 * step_s / cpu_us["web"]
    second = 1e6 * step_s * costs.busy
    in_bridge = machines.bridges * second / cpu_us["bridge"] / len(shares)
    in_workers = min(
        machines.worker * second / cpu_us["worker"],
        machines.postgres * second / cpu_us["postgres"],
        machines.shared * second / sum(cpu_us[part] for part in PIPELINE),
    )
    for rate in rates:
        taken = min(rate * step_s, in_web)
        for number, share in enumerate(shares):
            log[number] += taken * share
        now_applied = 0.0
        # What is decided in this step can be applied in it: a window is much shorter than a step.
        decided = [min(each, in_bridge) for each in log]
        ready = [held + new for held, new in zip(window, decided, strict=True)]
        part = min(1.0, in_workers / sum(ready)) if sum(ready) else 0.0
        for number, each in enumerate(ready):
            out = each * part
            kept = min(each - out, WINDOW_OFFSETS)
            log[number] += window[number] - kept - out
            window[number] = kept
            now_applied += out
        accepted += taken
        applied += now_applied
        entered.append(accepted)
        while seen < len(entered) and entered[seen] <= applied + 1e-6 * accepted:
            seen += 1
        done.append(
            Step(
                rate,
                rate - taken / step_s,
                now_applied / step_s,
                sum(log),
                sum(window),
                (len(entered) - seen) * step_s,
            )
        )
    return done


def day(mean: float, peak: float, *, step_s: int = 5) -> list[float]:
    """The rates of a day with this mean, whose highest is `peak` times the mean: a wave, and spikes at every
    hour, half as high at every half hour. Raises ValueError for a peak that such spikes cannot have."""

    def shape(height: float) -> list[float]:
        return [_wave(at) * (1 + height * _spike(at)) for at in range(0, DAY_S, step_s)]

    def ratio(height: float) -> float:
        rates = shape(height)
        return max(rates) * len(rates) / sum(rates)

    height = _solve(ratio, peak)
    rates = shape(height)
    return [rate * mean * len(rates) / sum(rates) for rate in rates]


def _solve(grows: Callable[[float], float], wanted: float) -> float:
    low, high = 0.0, 1_000.0
    if not grows(low) <= wanted <= grows(high):
        raise ValueError(f"peak: give a number from {grows(low):.2g} to {grows(high):.0f}")
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if grows(middle) < wanted else (low, middle)
    return high


def _wave(at: float) -> float:
    return 1 - 0.4 * math.cos(2 * math.pi * (at - 5 * 3_600) / DAY_S)


def _spike(at: float) -> float:
    return math.exp(-(at % 3_600) / SPIKE_S) + math.exp(-((at + 1_800) % 3_600) / SPIKE_S) / 2


def drain_rate(waiting: float, machines: Machines, costs: Costs) -> float:
    """Updates a second in a drain without arrivals."""
    steps = play([0.0] * 100_000, machines, costs, waiting=waiting, step_s=0.1)
    total = list(accumulate(step.applied * 0.1 for step in steps))
    ended = next(n for n, each in enumerate(total) if each >= waiting * (1 - 1e-6))
    return waiting / ((ended + 1) * 0.1)
