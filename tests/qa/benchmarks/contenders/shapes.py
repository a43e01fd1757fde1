"""The shapes of work: which row each update is for, and which parent it is mirrored to."""

import random
import uuid
from collections.abc import Iterator
from hashlib import md5
from itertools import accumulate
from typing import Final, NamedTuple

from tests.qa.benchmarks.prepared import APPS, RECORDS, Target
from tests.running import PARTITIONS

#: Below the default limit of 100 children.
CHILDREN: Final = 50


class Shape(NamedTuple):
    """How updates are spread over the rows of APPS apps.

    * `hot_share`: the share of updates that are for one and the same row;
    * `zipf`: the exponent of a Zipf distribution; 0: every row is as likely;
    * `children`: how many rows share a parent, to which each of their updates is mirrored; 0: no parents;
    * `filled`: all rows exist before the first update, and every round has the same ones;
    * `notes`: how many tags of 80 characters an update sets besides a short one;
    * `all_contenders`: those that are slow have a part in it too.
    """

    name: str
    title: str
    group: str
    hot_share: float = 0.0
    zipf: float = 0.0
    children: int = 0
    records: int = RECORDS
    filled: bool = False
    notes: int = 0
    partitions: int = PARTITIONS
    all_contenders: bool = True


SHAPES: Final = (
    Shape("uniform", "uniform", "spread"),
    Shape("half", "half on one row", "hot", hot_share=0.5),
    Shape("ninety", "90 % on one row", "hot", hot_share=0.9),
    Shape("mirrored", "mirrored", "mirrored", children=CHILDREN),
    Shape("zipf", "Zipf 1.1", "spread", zipf=1.1),
    Shape(
        *("large", "5 million rows", "sizes"), records=5_000_000, filled=True, all_contenders=False
    ),
    Shape("long", "2 KB messages", "sizes", notes=20, all_contenders=False),
    Shape("one", "1 partition", "partitions", partitions=1, all_contenders=False),
    Shape("twelve", "12 partitions", "partitions", partitions=12, all_contenders=False),
)


#: A row's id: the hash of its name as a random UUID. Parameters `names` and the column n.
ROW_ID: Final = (
    "overlay(overlay(md5(%(names)s || '-' || n) PLACING '4' FROM 13) PLACING '8' FROM 17)::uuid"
)


class Aim(NamedTuple):
    """The row that an update is for, and its parent."""

    target: Target
    parent: str | None


def aims(shape: Shape, updates: int, *, seed: int) -> Iterator[Aim]:
    """The same for the same seed. Two seeds share no app and no row, unless the shape is filled."""
    dice = random.Random(seed)
    names = rows_name(shape, seed)
    apps = app_ids(names)
    parents: dict[tuple[str, int], str] = {}
    weights = (
        list(accumulate((number + 1) ** -shape.zipf for number in range(shape.records)))
        if shape.zipf
        else None
    )
    for _ in range(updates):
        if dice.random() < shape.hot_share:
            number = 0
        elif weights:
            number = dice.choices(range(shape.records), cum_weights=weights)[0]
        else:
            number = dice.randrange(shape.records)
        target = Target(apps[number % APPS], row_id(names, number))
        parent = None
        if shape.children:
            family = (target.app, number // APPS // shape.children)
            parent = parents.setdefault(family, row_id(f"{names}-parent", len(parents)))
        yield Aim(target, parent)


def rows_name(shape: Shape, seed: int) -> str:
    """What the ids of the shape's rows are made of."""
    return shape.name if shape.filled else str(seed)


def app_ids(names: str) -> list[str]:
    """The ids of the apps. Row number n is of app n % APPS."""
    return [row_id(f"{names}-app", number) for number in range(APPS)]


def row_id(names: str, number: int) -> str:
    """The same as ROW_ID in PostgreSQL."""
    digest = md5(f"{names}-{number}".encode(), usedforsecurity=False).hexdigest()
    return str(uuid.UUID(f"{digest[:12]}4{digest[13:16]}8{digest[17:]}"))
