"""The state after a topic, as the replay gives it and as PostgreSQL has it, and their differences."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Key = tuple[str, str]  # app, record
#: A row of `record` by column, without app and id; times in milliseconds since 1970.
Row = dict[str, Any]


class Dropped(NamedTuple):
    """A dropped write or link of a record, and the reason. `rule` is the id of the skip rule, if any."""

    app: str
    record: str
    reason: str
    rule: int | None


class Dead(NamedTuple):
    """A dead letter. `why` is the first word of its error. A malformed message has no known record."""

    partition: int
    offset: int
    why: str
    app: str | None
    record: str | None
    message: bytes


@dataclass(slots=True)
class State:
    """Everything that updates change. `links` has only the links that are valid. A count or generation of 0
    may be absent."""

    records: dict[Key, Row] = field(default_factory=dict)
    links: dict[tuple[str, str, str], str] = field(default_factory=dict)  # app, child, label
    generations: dict[Key, int] = field(default_factory=dict)
    counts: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    dropped: Counter[Dropped] = field(default_factory=Counter)
    hits: Counter[int] = field(default_factory=Counter)  # by skip rule
    dead: Counter[Dead] = field(default_factory=Counter)

    def add(self, other: "State") -> None:
        """Adds the state of another partition. No app is in two partitions."""
        self.records |= other.records
        self.links |= other.links
        self.generations |= other.generations
        self.counts |= other.counts
        self.dropped += other.dropped
        self.hits += other.hits
        self.dead += other.dead


def differences(must: State, found: State) -> Iterator[str]:
    """Yields a line for each difference between the expected state, `must`, and `found`."""
    for key in sorted(must.records.keys() | found.records.keys()):
        yield from _row_differences(key, must.records.get(key), found.records.get(key))
    yield from _map_differences("link", must.links, found.links, absent=None)
    yield from _map_differences("generation", must.generations, found.generations, absent=0)
    yield from _map_differences("link count", must.counts, found.counts, absent=0)
    yield from _map_differences("skipped", must.dropped, found.dropped, absent=0)
    yield from _map_differences("hits of skip rule", must.hits, found.hits, absent=0)
    yield from _map_differences("dead letter", must.dead, found.dead, absent=0)


def _row_differences(key: Key, must: Row | None, found: Row | None) -> Iterator[str]:
    name = f"record {key[1]} of app {key[0]}"
    if must is None or found is None:
        yield f"{name}: {'exists, but must not' if must is None else 'is missing'}"
        return
    for column in must:
        if not same(must[column], found[column]):
            yield f"{name}: {column} is {_short(found[column], must[column])}, must be " + (
                _short(must[column], found[column])
            )


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 equals 1.0, true does not equal 1. (PostgreSQL stores 1e23 as an
    integer.)"""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and float(one) == float(other)
    return bool(one == other)


def _short(value: Any, other: Any) -> str:
    """The value as text; of a map only the keys in which it differs from the other."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {
            key: it for key, it in value.items() if key not in other or not same(it, other[key])
        }
    return f"{value!r:.200}"


def _map_differences(
    what: str, must: Mapping[Any, Any], found: Mapping[Any, Any], *, absent: object
) -> Iterator[str]:
    for key in must.keys() | found.keys():
        if must.get(key, absent) != found.get(key, absent):
            yield (
                f"{what} {_name(key)}: is {found.get(key, absent)}, must be {must.get(key, absent)}"
            )


def _name(key: object) -> str:
    return " ".join(f"{part!s:.60}" for part in key) if isinstance(key, tuple) else str(key)
