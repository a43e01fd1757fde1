"""Kafka's topic as operators see it: the only user of kafka-python's admin client.

Works alike on Apache Kafka and on Tansu: it asks for metadata and offsets only, and reads messages.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import (
    BrokerResponseError,
    InvalidTopicError,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from notify.kafka import kafka_client

#: Milliseconds in which Kafka must answer, and at least one message of a partition must come.
TIMEOUT_MS: Final = 5_000
#: One poll; below 20 kafka-python does not get to its positions.
_POLL_MS: Final = 100
#: Enough for one message of the largest size that web accepts; Kafka sends the first batch anyway.
_FETCH_BYTES: Final = 64 * 1024
#: A fetch of many messages.
_RANGE_BYTES: Final = 1024 * 1024


class TopicError(Exception):
    """The topic cannot be used in this way."""


class KafkaAway(TopicError):
    """Kafka cannot be reached, or does not answer."""


class TopicMissing(TopicError):
    """Kafka has no topic of this name."""


class TopicExists(TopicError):
    """Kafka has a topic of this name already."""


class TopicRefused(TopicError):
    """Kafka refuses to create such a topic."""


@dataclass(frozen=True, slots=True)
class Described:
    """An existing topic. `id` changes if it is deleted and created again."""

    id: UUID
    name: str
    partitions: int


class Extent(NamedTuple):
    """The offsets in a partition's log: start..end-1, including holes."""

    start: int
    end: int


class Head(NamedTuple):
    """The first message at or after a position; `timestamp_ms` is Kafka's."""

    offset: int
    timestamp_ms: int
    value: bytes | None


class Topics:
    """A connection to Kafka's admin side, closed at the end of its `with` block.

    Every method raises KafkaAway. `security` is by default the settings'.
    """

    def __init__(
        self,
        servers: Collection[str],
        *,
        timeout_ms: int = TIMEOUT_MS,
        security: Mapping[str, Any] | None = None,
    ) -> None:
        self._servers = list(servers)
        self._timeout_ms = timeout_ms
        self._security = security
        with self._away():
            self._admin = kafka_client.connected(
                KafkaAdminClient,
                security=security,
                bootstrap_servers=self._servers,
                bootstrap_timeout_ms=timeout_ms,
                request_timeout_ms=timeout_ms,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections and threads."""
        self._admin.close()

    def create(
        self,
        name: str,
        *,
        partitions: int,
        replication: int,
        min_insync: int = 0,
        retention_hours: int | None = None,
    ) -> Described:
        """Make the topic; returns once every partition has a leader.

        `min_insync` 0 is one less than `replication`, and at least 1; without `retention_hours` the
        broker's default holds. Raises TopicExists, or TopicRefused with the reason.
        """
        if partitions < 1 or replication < 1:
            raise TopicRefused(f"{name} needs at least 1 partition, on at least 1 broker")
        if retention_hours is not None and retention_hours < 1:
            raise TopicRefused(f"{name} must keep messages for at least 1 hour")
        if not 0 <= min_insync <= replication:
            raise TopicRefused(
                f"{name} could take no update: it has {replication} replica(s) and would wait for "
                f"{min_insync}. Lower NOTIFY_MIN_INSYNC, or raise NOTIFY_REPLICATION"
            )
        configs = {"min.insync.replicas": str(min_insync or max(1, replication - 1))}
        if retention_hours is not None:
            configs["retention.ms"] = str(retention_hours * 3_600_000)
        asked = {
            name: {
                "num_partitions": partitions,
                "replication_factor": replication,
                "configs": configs,
            }
        }
        with self._away():
            try:
                self._admin.create_topics(asked)
            except TopicAlreadyExistsError:
                raise TopicExists(
                    f"the topic {name} exists: run `manage.py topic adopt` to use it"
                ) from None
            except BrokerResponseError as error:
                if error.retriable:
                    raise
                raise TopicRefused(
                    f"Kafka refused {name} with {partitions} partitions, each on {replication} "
                    f"broker(s): {_kind(error)}"
                ) from error
            self._admin.wait_for_topics([name], timeout_ms=self._timeout_ms)
        return self.describe(name)

    def describe(self, name: str) -> Described:
        """Describes the topic. Raises TopicMissing."""
        with self._away():
            found = self._admin.describe_topics([name])[0]
            code = found["error_code"]
            if code in (UnknownTopicOrPartitionError.errno, InvalidTopicError.errno):
                raise TopicMissing(f"Kafka has no topic {name}: run `manage.py topic create`")
            if code:
                raise for_code(code)(name)
        return Described(UUID(found["topic_id"]), name, len(found["partitions"]))

    def extents(self, name: str, partitions: Iterable[int]) -> dict[int, Extent]:
        """The extents of the logs of these partitions. Raises TopicMissing."""
        asked = list(partitions)
        starts = self._offsets(name, asked, OffsetSpec.EARLIEST)
        ends = self._offsets(name, asked, OffsetSpec.LATEST)
        return self._confirmed(name, {n: Extent(starts[n], ends[n]) for n in asked})

    def ends(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        """The ends of these partitions, by one request a broker. Raises TopicMissing.

        Tansu's may be short by the length of its last batch: see `_confirmed`.
        """
        return self._offsets(name, list(partitions), OffsetSpec.LATEST)

    def _offsets(self, name: str, partitions: Collection[int], which: OffsetSpec) -> dict[int, int]:
        asked = dict.fromkeys((TopicPartition(name, n) for n in partitions), which)
        if not asked:
            return {}
        with self._away():
            try:
                found = self._admin.list_partition_offsets(asked)
            except UnknownTopicOrPartitionError as error:
                raise TopicMissing(f"Kafka has no such partition of {name}: {error}") from None
        return {at.partition: found[at].offset for at in asked}

    def _confirmed(self, name: str, listed: Mapping[int, Extent]) -> dict[int, Extent]:
        """The extents with ends as a fetch sees them.

        Tansu lists the end as the first offset of the last batch plus one (seen with 0.6.0), so with
        batches of n messages it is short by n - 1; a fetch there tells the true one, as everywhere.
        """
        extents = dict(listed)
        wanted = {
            TopicPartition(name, n): each for n, each in listed.items() if each.end > each.start
        }
        if not wanted:
            return extents
        with self._away():
            consumer = self._reader()
            try:
                consumer.assign(list(wanted))
                for at, extent in wanted.items():
                    consumer.seek(at, extent.end - 1)
                for _ in range(max(1, self._timeout_ms // _POLL_MS)):
                    for at in consumer.poll(timeout_ms=_POLL_MS):
                        end = max(listed[at.partition].end, consumer.highwater(at) or 0)
                        extents[at.partition] = Extent(listed[at.partition].start, end)
                        wanted.pop(at, None)
                        consumer.pause(at)
                    if not wanted:
                        break
            finally:
                consumer.close(autocommit=False)
        return extents

    def heads(self, name: str, positions: Mapping[int, int]) -> dict[int, Head]:
        """The first message of each partition at or after its position.

        A partition is absent if it has none, or if none came within the time limit. No consumer
        group is joined and nothing is committed.
        """
        if not positions:
            return {}
        heads: dict[int, Head] = {}
        with self._away():
            consumer = self._reader()
            try:
                consumer.assign([TopicPartition(name, partition) for partition in positions])
                for partition, offset in positions.items():
                    consumer.seek(TopicPartition(name, partition), offset)
                for _ in range(max(1, self._timeout_ms // _POLL_MS)):
                    for at, messages in consumer.poll(timeout_ms=_POLL_MS).items():
                        first = messages[0]
                        heads[at.partition] = Head(first.offset, first.timestamp, first.value)
                        consumer.pause(at)
                    if heads.keys() == positions.keys():
                        break
            finally:
                consumer.close(autocommit=False)
        return heads

    def ranges(
        self, name: str, wanted: Iterable[tuple[int, int, int]]
    ) -> Iterator[tuple[tuple[int, int, int], list[Head]]]:
        """Each (partition, first, last) with the messages that the log still has of it.

        A range in which no message came within the time limit raises KafkaAway: that it is empty is
        known only once the position is past it. Raises TopicMissing. No group, nothing committed.
        """
        asked = [each for each in wanted if each[2] >= each[1]]
        held = self.extents(name, {partition for partition, _, _ in asked})
        with self._away():
            consumer = self._reader(_RANGE_BYTES)
            try:
                for each in asked:
                    yield each, self._messages(consumer, name, each, held[each[0]])
            finally:
                consumer.close(autocommit=False)

    def _messages(
        self, consumer: KafkaConsumer, name: str, wanted: tuple[int, int, int], held: Extent
    ) -> list[Head]:
        partition, first, last = wanted
        end = min(last + 1, held.end)
        position = max(first, held.start)
        if position >= end:
            return []
        at = TopicPartition(name, partition)
        consumer.assign([at])
        consumer.seek(at, position)
        found: list[Head] = []
        silent_after = time.monotonic() + self._timeout_ms / 1000
        while position < end:
            found += [
                Head(each.offset, each.timestamp, each.value)
                for each in consumer.poll(timeout_ms=_POLL_MS).get(at, ())
                if each.offset < end
            ]
            reached = consumer.position(at)
            if reached > position:
                position, silent_after = reached, time.monotonic() + self._timeout_ms / 1000
            elif time.monotonic() > silent_after:
                raise KafkaAway(
                    f"{name} partition {partition}: no message came from offset {position} within "
                    f"{self._timeout_ms} ms"
                )
        return found

    def _reader(self, fetch_bytes: int = _FETCH_BYTES) -> KafkaConsumer:
        """A consumer that joins no group and commits nothing."""
        reader: KafkaConsumer = kafka_client.connected(
            KafkaConsumer,
            security=self._security,
            bootstrap_servers=self._servers,
            bootstrap_timeout_ms=self._timeout_ms,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            max_partition_fetch_bytes=fetch_bytes,
            metrics_enabled=False,
        )
        return reader

    @contextmanager
    def _away(self) -> Iterator[None]:
        try:
            yield
        except (kafka_client.KafkaRefuses, ImproperlyConfigured) as error:
            raise KafkaAway(f"{', '.join(self._servers)}: {error}") from error
        except (KafkaError, OSError) as error:
            servers = ", ".join(self._servers)
            raise KafkaAway(f"Kafka at {servers} does not answer: {_kind(error)}") from error


def _kind(error: BaseException) -> str:
    return type(error).__name__.removesuffix("Error")
