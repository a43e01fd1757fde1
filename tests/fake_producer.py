"""In memory for the edges of web: the producer and the reads, and services made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.conf import settings

from notify.domain.engine.lanes import partition_of
from notify.domain.records import patch as patches
from notify.domain.records import update as updates
from notify.domain.records.aliases import holder, resolve
from notify.domain.records.decide import decide, writes
from notify.domain.records.links import Links
from notify.domain.records.patch import COUNTERS, PROPERTIES, TAGS, Value
from notify.domain.records.policy import Policy
from notify.domain.records.update import USER, Update
from notify.kafka.producer import Acked, KafkaUnavailable
from notify.monitoring.partition_state import StreamNow
from notify.web.access.apps_cache import AppsCache, AppsSnapshot, KnownApp
from notify.web.reads import ReadsAway, RecordRow, SubscriptionRow, UserRow
from notify.web.wiring import Services


@dataclass
class FakeProducer:
    """`Producer` in memory: a list for each partition of a topic that has `has` of them.

    `fails` is raised instead of the next sends.
    """

    has: int = 8
    fails: Exception | None = None
    log: dict[int, list[bytes]] = field(default_factory=dict)
    traceparents: list[str] = field(default_factory=list)

    def send(
        self, app: str, values: Sequence[bytes], *, partitions: int, traceparent: str
    ) -> list[Acked]:
        """Producer.send."""
        if self.fails is not None:
            raise self.fails
        partition = partition_of(app, partitions)
        if partition >= self.has:
            raise KafkaUnavailable(f"no partition {partition}")
        held = self.log.setdefault(partition, [])
        first = len(held)
        held.extend(values)
        self.traceparents.append(traceparent)
        return [Acked(partition, offset) for offset in range(first, len(held))]

    def check(self, *, partitions: int) -> None:
        """Producer.check."""
        if self.fails is not None:
            raise self.fails
        if self.has < partitions:
            raise KafkaUnavailable(f"the topic has {self.has} partitions, {partitions} are stored")

    def sent(self) -> list[Update]:
        """All updates, as the bridge would parse them, partition by partition."""
        return [updates.parse(value) for held in self.log.values() for value in held]


@dataclass
class FakeReads:
    """`Reads` in memory: what `producer` was sent, decided and applied one after the other."""

    producer: FakeProducer
    rows: Sequence[StreamNow] = ()
    away: bool = False
    policy: Policy = field(default_factory=Policy)

    def record(self, app: str, record: str) -> RecordRow | None:
        """Reads.record."""
        states, _ = self._applied()
        state = states.get((app, record), {})
        return None if state.get("deleted", True) else _row(state)

    def user(self, app: str, record: str, *, owner: bool) -> UserRow | None:
        """Reads.user."""
        states, links = self._applied()
        if owner:
            user = links.parent(app, record, USER)
            if user is None:
                return None
            record = user
        found = resolve(links, app, record)
        row = self.record(app, found)
        if row is None:
            return None
        children = sorted(child for of, child, label in links.parents if (of, label) == (app, USER))
        owned = [
            SubscriptionRow(child, state.kind, state.identifier, state.properties)
            for child in children
            if (parent := links.parent(app, child, USER)) is not None
            and resolve(links, app, parent) == found
            and (app, child) in states
            and (state := self.record(app, child)) is not None
        ]
        most = settings.NOTIFY_READ_SUBSCRIPTIONS
        return UserRow(found, row, owned[:most], more=len(owned) > most)

    def is_deleted(self, app: str, record: str) -> bool:
        """Reads.is_deleted."""
        states, _ = self._applied()
        return states.get((app, record), {}).get("deleted") is True

    def generation(self, app: str, record: str) -> int:
        """Reads.generation."""
        _, links = self._applied()
        return links.generation(app, record)

    def holder(self, app: str, kind: str, address: str) -> str:
        """Reads.holder."""
        _, links = self._applied()
        return holder(links, app, kind, address)

    def _applied(self) -> tuple[dict[tuple[str, str], dict[str, Value]], Links]:
        if self.away:
            raise ReadsAway("PostgreSQL does not answer")
        states: dict[tuple[str, str], dict[str, Value]] = {}
        links = Links()
        for update in self.producer.sent():
            decision, changes = decide(update, links, self.policy)
            links.put(changes)
            for write in writes(update, decision):
                key = (write.app, write.record)
                states[key] = patches.apply(states.get(key, {}), write.patch)
        return states, links

    def streams(self) -> Sequence[StreamNow]:
        """Reads.streams."""
        if self.away:
            raise ReadsAway("PostgreSQL does not answer")
        return self.rows


def _row(state: Mapping[str, Value]) -> RecordRow:
    def part(prefix: str) -> dict[str, Any]:
        found = {key: value for key, value in state.items() if key.startswith(prefix)}
        return {key.removeprefix(prefix): value for key, value in found.items()}

    counters = {key: int(state.get(key, 0)) for key in COUNTERS}
    kind, identifier = state.get("kind"), state.get("identifier")
    return RecordRow(
        kind=None if kind is None else str(kind),
        identifier=None if identifier is None else str(identifier),
        tags=part(TAGS),
        properties=part(PROPERTIES),
        session_count=counters["session_count"],
        session_time_s=counters["session_time_s"],
        purchase_count=counters["purchase_count"],
        spent_micros=Decimal(counters["spent_micros"]),
        created_at_s=int(state["created_at"]) // 1000,
    )


class AppsInMemory(AppsCache):
    """`AppsCache` without its thread: the first use reads."""

    def _start(self) -> None:
        if self._known is None:
            self._refresh()


def fake_services(*apps: KnownApp, partitions: int = 8) -> tuple[Services, FakeProducer, FakeReads]:
    """Services with these apps known, and the fakes in them."""
    producer = FakeProducer(has=partitions)
    reads = FakeReads(producer)
    known = AppsSnapshot({app.id: app for app in apps}, partitions)
    return (
        Services(AppsInMemory(lambda: known, refresh_ms=3_600_000), producer, reads),
        producer,
        reads,
    )
