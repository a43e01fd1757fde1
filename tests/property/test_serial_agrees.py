"""The planner, the windows and the patches come to what the serial interpreter comes to.

Two independent readings of docs/protocol.md meet here: `notify.domain` with chunks, plans, lanes and merging,
and `devstack.oracle`, one message after the other on plain dicts.
"""

import random
import uuid
from collections.abc import Sequence

import pytest

from devstack.oracle.serial import Rules, Serial
from devstack.oracle.state import differences
from notify.domain.engine.lanes import partition_of
from notify.domain.records.update import Update, encode
from tests.property.histories import Action, draw
from tests.property.product import Product, replay

GROUPS = 10
HISTORIES = 200
SIZE = 250


@pytest.mark.parametrize("group", range(GROUPS))
def test_what_is_applied_is_the_serial_meaning_of_the_log(group: int) -> None:
    for seed in range(group, HISTORIES, GROUPS):
        history = draw(random.Random(seed), SIZE)
        if _differences(history):
            least = _shrunk(history)
            lines = "\n".join((*map(str, least), *_differences(least)))
            pytest.fail(f"seed {seed} comes down to\n{lines}")


def test_both_expect_an_app_in_the_same_partition() -> None:
    dice = random.Random(1)
    for partitions in range(1, 65):
        app = str(uuid.UUID(int=dice.getrandbits(128)))
        serial = Serial(
            partition=partition_of(app, partitions),
            partitions=partitions,
            rules_at=lambda _: Rules({}, {}),
        )
        serial.take(0, encode(Update(app, app, 0, "m")))
        assert not serial.end().dead


def _differences(history: Sequence[Action]) -> list[str]:
    product = Product()
    for action in history:
        product.do(action)
    product.drain()
    return list(differences(replay(product), product.state()))


def _shrunk(history: Sequence[Action]) -> list[Action]:
    """A history that still goes wrong, and none of whose actions can be left out."""
    least = list(history)
    for number in reversed(range(len(least))):
        fewer = least[:number] + least[number + 1 :]
        if _differences(fewer):
            least = fewer
    return least
