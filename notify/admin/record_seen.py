"""Everything that pages show about one record: its row without values, links, lane and recent updates."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from notify.admin.masking import masked
from notify.admin.record_find import rows
from notify.domain.engine.lanes import lane_of, partition_of, queue_of
from notify.models import Stream, Topic
from notify.monitoring.link_limits import limits_of

#: Rows of each list of the page.
MOST: Final = 10
#: Links of one record: its aliases are links too.
LINKS_MOST: Final = 100
#: How old a lane's sample may be to say anything of now.
SAMPLE_S: Final = 30
_BEARING: Final = "is:"


@dataclass(frozen=True, slots=True)
class SeenRow:
    """The record's row, without the values of identifier, tags and properties."""

    kind: str | None
    identifier: str
    tags: Mapping[str, str]
    properties: Mapping[str, str]
    session_count: int
    session_time_s: int
    purchase_count: int
    spent: str
    mirrored_updates: int
    created_at: datetime
    updated_at: datetime
    deleted: bool


@dataclass(frozen=True, slots=True)
class OwnLink:
    """A link of the record. `counts`: whether its generation is still that of the parent."""

    label: str
    parent: UUID
    counts: bool


@dataclass(frozen=True, slots=True)
class Children:
    """How many records are linked to it by a label, and how many may be."""

    label: str
    n: int
    limit: int

    @property
    def is_full(self) -> bool:
        """Whether new links are refused."""
        return self.n >= self.limit

    @property
    def is_over(self) -> bool:
        """Whether mirroring to the record has stopped too."""
        return self.n > self.limit

    @property
    def share(self) -> float:
        """The share of the limit that is used, from 0 to 1."""
        return min(1.0, self.n / self.limit) if self.limit else 1.0


@dataclass(frozen=True, slots=True)
class LaneSeen:
    """The record's partition and lane, and how far the lane is; None means unknown."""

    partition: int
    lane: int
    queue: str
    planned: int
    frontier: int
    halted: str | None
    last: int | None
    tries: int | None
    writes: int | None
    oldest_s: float | None
    attempt: int | None
    ago_s: float | None

    @property
    def is_sampled(self) -> bool:
        """Whether the sample is recent enough to be shown as current."""
        return self.ago_s is not None and self.ago_s <= SAMPLE_S


def row_of(app: UUID, record: UUID) -> SeenRow | None:
    """The record's row; None before any update was applied."""
    found = rows("row", app=app, record=record)
    if not found:
        return None
    kind, identifier, tags, properties, sessions, session_s, purchases, spent, *rest = found[0]
    mirrored, created_at, updated_at, deleted = rest
    return SeenRow(
        kind,
        masked_identifier(kind, identifier),
        _types(tags),
        _types(properties),
        sessions,
        session_s,
        purchases,
        f"{spent / 1_000_000:,.2f}",
        mirrored,
        created_at,
        updated_at,
        deleted,
    )


def masked_identifier(kind: str | None, identifier: str | None) -> str:
    """An address as a…@e….com; of a number or token only how long it is. Empty if there is none."""
    if not identifier:
        return ""
    local, at, domain = identifier.rpartition("@")
    if kind == "email" and at:
        _, dot, top = domain.rpartition(".")
        return f"{local[:1]}…@{domain[:1]}…{dot}{top if dot else ''}"
    return f"<text of {len(identifier)} characters>"


def _types(values: Any) -> dict[str, str]:
    """The type of each value, by key."""
    held = json.loads(values) if isinstance(values, str) else values
    hidden = json.loads(masked(json.dumps({"all": held}).encode()))["all"]
    return {key: str(hidden[key]) for key in sorted(hidden)}


def links_of(app: UUID, record: UUID) -> list[OwnLink]:
    """The record's own links by label, at most LINKS_MOST."""
    found = rows("own_links", app=app, record=record, most=LINKS_MOST)
    return [OwnLink(_label(label), parent, counts) for label, parent, counts in found]


def _label(label: str) -> str:
    """The label as pages show it: labels of links to aliases contain a generation."""
    if not label.startswith(_BEARING):
        return label
    return f"has the alias {label.split(':', 2)[2]}"


def children_of(app: UUID, record: UUID) -> list[Children]:
    """How many records are linked to it by label, the most first, with the limits in force."""
    limits = limits_of({app})
    return [
        Children(label, n, limits.limit(str(app), label))
        for label, n in rows("children", app=app, record=record)
    ]


def lane_seen(app: UUID, record: UUID) -> LaneSeen | None:
    """The record's lane; None before there is a topic and its partition has a stream."""
    topic = Topic.objects.filter(active=True).first()
    if topic is None:
        return None
    partition = partition_of(str(app), topic.partitions)
    stream = Stream.objects.filter(topic_id=topic.id, partition=partition).first()
    if stream is None:
        return None
    lane = lane_of(str(app), str(record), stream.lanes)
    (found,) = rows("lane", stream=stream.pk, lane=lane)
    return LaneSeen(partition, lane, queue_of(lane), *found)
