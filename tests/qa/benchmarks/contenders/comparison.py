"""Compares a contender's rows with serial replay: devstack/oracle applies the messages one by one."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from devstack.oracle.serial import Rules, Serial
from devstack.oracle.state import same

Key = tuple[str, str]  # app, row
Row = Mapping[str, Any]
#: Times in milliseconds since 1970.
COLUMNS: Final = ("tags", "session_count", "mirrored_updates", "created_at", "updated_at")
#: Each update counts one of these, its own or a parent's.
COUNTED: Final = ("session_count", "mirrored_updates")


class Message(NamedTuple):
    """A message of the topic."""

    partition: int
    offset: int
    value: bytes


class Comparison(NamedTuple):
    """How many rows there are, how many are wrong, and how many writes count twice or not at all."""

    rows: int
    wrong: int
    twice: int
    lost: int

    def __str__(self) -> str:
        if not self.wrong:
            return "right"
        return f"WRONG: {self.wrong:,} of {self.rows:,} rows"


def replay(messages: Iterable[Message], *, partitions: int) -> dict[Key, Row]:
    """The rows after all messages, without limits or skip rules."""
    parted: defaultdict[int, list[Message]] = defaultdict(list)
    for message in messages:
        parted[message.partition].append(message)
    rows: dict[Key, Row] = {}
    for partition, found in parted.items():
        serial = Serial(
            partition=partition, partitions=partitions, rules_at=lambda _: Rules({}, {})
        )
        for message in sorted(found, key=lambda each: each.offset):
            serial.take(message.offset, message.value)
        state = serial.end()
        if state.dead or state.dropped:
            raise ValueError("prepared updates must be valid and below every limit")
        rows |= {
            key: {column: row[column] for column in COLUMNS} for key, row in state.records.items()
        }
    return rows


def compare(expected: Mapping[Key, Row], found: Mapping[Key, Row]) -> Comparison:
    """Rows that exist in only one of the two are wrong."""
    wrong = twice = lost = 0
    none: Row = dict.fromkeys(COUNTED, 0)
    for key in expected.keys() | found.keys():
        must, has = expected.get(key), found.get(key)
        wrong += must is None or has is None or not same(dict(must), dict(has))
        for column in COUNTED:
            more = (has or none)[column] - (must or none)[column]
            twice += max(0, more)
            lost += max(0, -more)
    return Comparison(len(expected), wrong, twice, lost)
