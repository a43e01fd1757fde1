"""Partitions and lanes are the same for ever, in every process and under every Python."""

import json
import os
import random
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.engine.lanes import LANES_MAX, is_uuid, lane_of, partition_of, queue_of

ROOT = Path(__file__).parents[2]
NIL, ONES = str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))
DNS = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
RECORD = "123e4567-e89b-12d3-a456-426614174000"
EXAMPLE = "886313e1-3b8a-5372-9b90-0c9aee199e5d"

#: Written down once. Another number here would send an app's updates into two partitions.
PARTITIONS = {
    (NIL, 3): 1,
    (NIL, 8): 5,
    (NIL, 64): 21,
    (ONES, 3): 1,
    (ONES, 8): 2,
    (ONES, 64): 26,
    (DNS, 3): 2,
    (DNS, 8): 7,
    (DNS, 64): 63,
}
#: The same for lanes: two lanes of a record would write it out of order.
LANES = {
    (NIL, NIL, 3): 2,
    (NIL, NIL, 8): 5,
    (NIL, NIL, 64): 45,
    (NIL, RECORD, 8): 0,
    (NIL, RECORD, 64): 8,
    (ONES, EXAMPLE, 8): 7,
    (ONES, EXAMPLE, 64): 47,
    (DNS, RECORD, 3): 0,
    (DNS, RECORD, 8): 6,
    (DNS, RECORD, 64): 30,
    (DNS, EXAMPLE, 8): 0,
    (DNS, EXAMPLE, 64): 16,
}
SCRIPT = f"""
import json
from notify.domain.engine.lanes import lane_of, partition_of
partitions = [partition_of(*key) for key in {list(PARTITIONS)!r}]
print(json.dumps([partitions, [lane_of(*key) for key in {list(LANES)!r}]]))
"""
UUIDS = st.uuids().map(str)


def _placed_by(python: str, hash_seed: str) -> Any:
    """What a fresh interpreter computes."""
    ran = subprocess.run(
        [python, "-B", "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return json.loads(ran.stdout)


EXPECTED = [list(PARTITIONS.values()), list(LANES.values())]


def test_partitions_are_those_written_down() -> None:
    assert {key: partition_of(*key) for key in PARTITIONS} == PARTITIONS


def test_lanes_are_those_written_down() -> None:
    assert {key: lane_of(*key) for key in LANES} == LANES


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_the_salt_of_a_process_changes_nothing(hash_seed: str) -> None:
    assert _placed_by(sys.executable, hash_seed) == EXPECTED


def _pythons(name: str) -> Iterator[str]:
    """Interpreters of this name: on the path, and installed beside the one that runs."""
    on_path = shutil.which(name)
    if on_path is not None:
        yield on_path
    yield from map(str, Path(sys.base_prefix).parent.glob(f"*/bin/{name}"))


def _runs(python: str) -> bool:
    """Whether it starts: a launcher may stand in the path without its Python."""
    try:
        return not subprocess.call([python, "-c", ""], stderr=subprocess.DEVNULL, timeout=30)
    except OSError:
        return False


@pytest.mark.parametrize(
    "minor", [minor for minor in range(11, 15) if minor != sys.version_info[1]]
)
def test_another_python_places_everything_the_same(minor: int) -> None:
    found = next(filter(_runs, _pythons(f"python3.{minor}")), None)
    if found is None:
        pytest.skip(f"no Python 3.{minor} here that runs")
    assert _placed_by(found, "random") == EXPECTED


@given(UUIDS, UUIDS, st.integers(1, LANES_MAX))
def test_every_place_exists(app: str, record: str, of: int) -> None:
    assert 0 <= partition_of(app, of) < of
    assert 0 <= lane_of(app, record, of) < of


def test_lanes_of_a_partition_are_evenly_full() -> None:
    """Lanes that followed the partition would leave workers idle."""
    rng = random.Random(7)
    places: Counter[tuple[int, int]] = Counter()
    for _ in range(6_400):
        app, record = (str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(2))
        places[partition_of(app, 8), lane_of(app, record, 8)] += 1
    assert len(places) == 64
    assert all(60 < n < 140 for n in places.values())


def test_records_of_one_app_are_spread_over_its_lanes() -> None:
    lanes = Counter(
        lane_of(DNS, str(uuid.uuid5(uuid.NAMESPACE_DNS, str(n))), 8) for n in range(800)
    )
    assert len(lanes) == 8
    assert all(60 < n < 140 for n in lanes.values())


def test_queues_sort_in_lane_order() -> None:
    assert queue_of(7) == "lane.07"
    queues = [queue_of(lane) for lane in range(LANES_MAX)]
    assert queues == sorted(set(queues))


@pytest.mark.parametrize(
    "text", [RECORD.upper(), RECORD.replace("-", ""), RECORD + "\n", "", None, 7, f"{{{RECORD}}}"]
)
def test_a_uuid_has_one_spelling(text: object) -> None:
    assert is_uuid(RECORD)
    assert not is_uuid(text)
