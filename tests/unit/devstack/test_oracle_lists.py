"""The oracle has its own copy of each list, so that it shares no mistake. A list that grows grows in both."""

import pytest

from devstack.oracle import serial, wire
from notify.domain.records import decide, patch, update


@pytest.mark.parametrize(
    ("ours", "oracles"),
    [
        (patch.CLIENT_COUNTERS, wire.COUNTERS),
        (patch.COUNTERS, serial.COUNTERS),
        (update.LINK_LABELS, serial.LINK_LABELS),
        (update.MIRROR_LABELS, serial.MIRROR_LABELS),
        (update.LABELS, serial.LABELS),
        (
            {name.removeprefix(patch.PROPERTIES) for name in decide.MIRRORED_PROPERTIES},
            serial.MIRRORED_PROPERTIES,
        ),
    ],
    ids=["client's counters", "counters", "links", "mirrors", "limits", "mirrored properties"],
)
def test_the_oracle_knows_what_the_product_knows(ours: object, oracles: object) -> None:
    assert isinstance(ours, tuple | set | frozenset)
    assert isinstance(oracles, tuple | set | frozenset)
    assert set(ours) == set(oracles)
