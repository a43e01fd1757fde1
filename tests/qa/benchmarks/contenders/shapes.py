"""The shapes of work: which row each update is for, and which parent it is mirrored to."""

import random
import uuid
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from tests.qa.benchmarks.prepared import APPS, RECORDS, Target

#: Below the default limit of 100 children.
CHILDREN: Final = 50


class Shape(NamedTuple):
    """How updates are spread over RECORDS rows of APPS apps.

    * `hot_share`: the share of updates that are for one and the same row;
    * `zipf`: the exponent of a Zipf distribution; 0: every row is as likely;
    * `children`: how many rows share a parent, to which each of their updates is mirrored; 0: no parents.
    """

    name: str
    title: str
    group: str
    hot_share: float = 0.0
    zipf: float = 0.0
    children: int = 0


SHAPES: Final = (
    Shape("uniform", "uniform", "spread"),
    Shape("half", "half on one row", "hot", hot_share=0.5),
    Shape("ninety", "90 % on one row", "hot", hot_share=0.9),
    Shape("mirrored", "mirrored", "mirrored", children=CHILDREN),
    Shape("zipf", "Zipf 1.1", "spread", zipf=1.1),
)


class Aim(NamedTuple):
    """The row that an update is for, and its parent."""

    target: Target
    parent: str | None


def aims(shape: Shape, updates: int, *, seed: int) -> Iterator[Aim]:
    """The same for the same seed. Two seeds share no app and no row."""
    dice = random.Random(seed)
    apps = [_uuid(dice) for _ in range(APPS)]
    records = [Target(apps[number % APPS], _uuid(dice)) for number in range(RECORDS)]
    parents: dict[tuple[str, int], str] = {}
    weights = list(accumulate((number + 1) ** -shape.zipf for number in range(RECORDS)))
    for _ in range(updates):
        number = (
            0
            if dice.random() < shape.hot_share
            else dice.choices(range(RECORDS), cum_weights=weights)[0]
        )
        target = records[number]
        parent = None
        if shape.children:
            family = (target.app, number // APPS // shape.children)
            parent = parents.setdefault(family, _uuid(dice))
        yield Aim(target, parent)


def _uuid(dice: random.Random) -> str:
    return str(uuid.UUID(int=dice.getrandbits(128), version=4))
