"""The bridge's `Log` on kafka-python's consumer. No other module uses that consumer.

What we measured with kafka-python 3.0.12: `poll` with 5 ms or less never gets its positions after a join.
The rebalance listener runs on the IO thread, so ours only queues events. With `auto_offset_reset='none'`
the first poll after an assignment raises until `seek` is called for the partition.

If a partition is paused while kafka-python has returned only some messages of a fetch, it is never read
again after `resume` (tests/contract/test_consumer.py shows this). So each poll takes all messages that were
fetched, and a poll is limited by the size of a fetch (NOTIFY_FETCH_BYTES) instead of a number of messages.
This also treats partitions equally: no poll returns more than one fetch of each.
"""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    IllegalStateError,
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from ingest.log_ends import LogEnds
from ingest.ports import Fetched, LogAway, LogEnd, Polled
from ingest.record_parser import use_compiled_parser
from ingest.topic_connection import TopicConnection
from ingest.tracing import Ticks
from notify.domain.engine.stream import LogFacts
from notify.kafka import kafka_client

POLL_MIN_MS: Final = 10
#: A poll takes all messages that were fetched; see above.
_ALL: Final = sys.maxsize
FACTS_TIMEOUT_MS: Final = 5_000
#: A fetch has room for this many partitions with a backlog. Tansu 0.6.0 applies only the total limit.
PARTITIONS_A_FETCH: Final = 4
#: How long leaving the group may take before a reconnect, since the old connection may be dead.
CLOSE_TIMEOUT_MS: Final = 1_000
#: How long Kafka may take to answer, except to a join; after that the connection is closed.
REQUEST_TIMEOUT_MS: Final = 10_000
#: The longest wait between two tries to connect. kafka-python's 30 s would delay the recovery.
RECONNECT_MAX_MS: Final = 1_000
#: How old the group leader's metadata may get. A leader that does not know the topic's partitions yet
#: assigns them to nobody until it refreshes; with Kafka's default that takes five minutes.
METADATA_MAX_AGE_MS: Final = 5_000

Partitions = Collection[TopicPartition]


class TopicFacts(TopicConnection):
    """Asks Kafka for facts about partitions of the topic."""

    def __call__(self, partitions: Collection[int]) -> dict[int, LogFacts]:
        """The facts of these partitions. Raises LogAway, also if the topic does not exist."""
        with self._asking() as topics:
            found = topics.describe(self._topic)
            extents = topics.extents(self._topic, partitions)
        return {
            partition: LogFacts(str(found.id), found.partitions, extent.start, extent.end)
            for partition, extent in extents.items()
        }


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # kafka-python has no types
    """Queues assignments and revocations of the group. It does nothing else; deque.append is atomic."""

    def __init__(self) -> None:
        self.events: deque[tuple[bool, list[int]]] = deque()

    def on_partitions_revoked(self, revoked: Partitions) -> None:
        """Called when the group takes these partitions, or when they are lost."""
        self.events.append((False, [partition.partition for partition in revoked]))

    def on_partitions_assigned(self, assigned: Partitions) -> None:
        """Called when the group gives these partitions."""
        self.events.append((True, [partition.partition for partition in assigned]))


class KafkaLog:
    """One member of the consumer group, which reads one topic. The constructor raises LogAway too.

    `facts` asks Kafka about the topic's partitions, `ends` for the ends of their logs. `fetch_bytes`
    limits what one poll returns from one broker; a larger message comes alone.
    """

    def __init__(
        self,
        *,
        servers: Collection[str],
        topic: str,
        group: str,
        facts: Callable[[Collection[int]], Mapping[int, LogFacts]],
        ends: LogEnds,
        session_timeout_ms: int,
        heartbeat_ms: int,
        fetch_bytes: int,
        ticks: Ticks | None = None,
    ) -> None:
        self._topic = topic
        self._ticks = ticks
        self._topic_facts = facts
        self._ends = ends
        self._listener = _Listener()
        self._open_consumer: KafkaConsumer | None = None
        self._options: dict[str, Any] = {
            "bootstrap_servers": list(servers),
            "group_id": group,
            "session_timeout_ms": session_timeout_ms,
            "heartbeat_interval_ms": heartbeat_ms,
            "fetch_max_bytes": fetch_bytes,
            "max_partition_fetch_bytes": max(1, fetch_bytes // PARTITIONS_A_FETCH),
        }
        self._open()

    def _open(self) -> None:
        with _away():
            consumer = kafka_client.connected(
                KafkaConsumer,
                **self._options,
                enable_auto_commit=False,
                auto_offset_reset="none",
                partition_assignment_strategy=(CooperativeStickyAssignor,),
                max_poll_records=_ALL,
                fetch_max_wait_ms=100,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                reconnect_backoff_max_ms=RECONNECT_MAX_MS,
                metadata_max_age_ms=METADATA_MAX_AGE_MS,
                allow_auto_create_topics=False,
                metrics_enabled=False,
                bootstrap_timeout_ms=FACTS_TIMEOUT_MS,
            )
            _let_polls_wait(consumer)
            use_compiled_parser(consumer)
            self._listener = _Listener()
            consumer.subscribe([self._topic], listener=self._listener)
            # Load the metadata before joining the group: a leader without it assigns the partitions to
            # nobody and joins again when it has it.
            consumer.partitions_for_topic(self._topic)
        self._open_consumer = consumer

    @property
    def _consumer(self) -> KafkaConsumer:
        if self._open_consumer is None:
            raise LogAway("the consumer is being opened again")
        return self._open_consumer

    def poll(self, timeout_ms: int) -> Polled:
        if self._open_consumer is None:
            self._open()
        polled = Polled()
        _go_on_joining(self._consumer)
        try:
            records = self._consumer.poll(timeout_ms=max(timeout_ms, POLL_MIN_MS))
        except NoOffsetForPartitionError:
            records = {}
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            records = {}
            polled.lost_position = _partitions_in(error)
        except (KafkaError, OSError) as error:
            time.sleep(POLL_MIN_MS / 1000)
            raise LogAway(f"{type(error).__name__}: {error}") from error
        self._take_events(polled)
        if self._ticks is not None:
            for revoked in polled.revoked:
                self._ticks.forget(revoked)
            for partition, found in records.items():
                for record in found:
                    self._ticks.polled(partition.partition, record.offset, record.headers)
        for partition, found in records.items():
            polled.messages[partition.partition] = [
                Fetched(record.offset, record.value) for record in found
            ]
        return polled

    def reopen(self) -> None:
        """Drops the connections; the next poll opens new ones."""
        consumer, self._open_consumer = self._open_consumer, None
        if consumer is not None:
            with suppress(LogAway), _away():
                consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _take_events(self, polled: Polled) -> None:
        while self._listener.events:
            is_assigned, partitions = self._listener.events.popleft()
            for partition in partitions:
                for listed in (polled.assigned, polled.revoked):
                    if partition in listed:
                        listed.remove(partition)
                (polled.assigned if is_assigned else polled.revoked).append(partition)
        current = {assigned.partition for assigned in self._consumer.assignment()}
        self._ends.watch(current)
        polled.assigned = [
            partition
            for partition in polled.assigned
            if partition in current and self._pause_new(partition)
        ]

    def _pause_new(self, partition: int) -> bool:
        """Pauses a new partition until its Load; its position is meaningless until then. False if the
        group has taken it meanwhile."""
        try:
            self.pause(partition)
            self.seek(partition, 0)
        except LogAway:
            return False
        return True

    def facts(self, partitions: Collection[int]) -> Mapping[int, LogFacts]:
        return self._topic_facts(partitions)

    def seek(self, partition: int, offset: int) -> None:
        with _away():
            self._consumer.seek(self._topic_partition(partition), offset)

    def position(self, partition: int) -> int:
        with _away():
            position = self._consumer.position(
                self._topic_partition(partition), timeout_ms=FACTS_TIMEOUT_MS
            )
        if position is None:
            raise LogAway("the consumer has no position yet")
        return int(position)

    def end(self, partition: int) -> LogEnd | None:
        return self._ends.end(partition)

    def pause(self, partition: int) -> None:
        with _away():
            self._consumer.pause(self._topic_partition(partition))

    def resume(self, partition: int) -> None:
        with _away():
            self._consumer.resume(self._topic_partition(partition))

    def commit(self, offsets: Mapping[int, int]) -> None:
        with _away():
            self._consumer.commit_async(
                {
                    self._topic_partition(partition): OffsetAndMetadata(offset, "", -1)
                    for partition, offset in offsets.items()
                }
            )

    def close(self) -> None:
        """Leaves the group, so that other bridges take over at once."""
        self._ends.close()
        if self._open_consumer is not None:
            with _away():
                self._open_consumer.close(autocommit=False)

    def _topic_partition(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


def _let_polls_wait(consumer: KafkaConsumer) -> None:
    """Lets a poll wait for its fetch as long as it was told to, even if a heartbeat is due.

    kafka-python ends the wait when the next heartbeat is due, although its IO thread sends heartbeats.
    While Kafka does not answer, one is always due: the poll then spins, and each turn adds callbacks to
    the fetch that hangs. Measured with a broker under SIGSTOP: 2,400 turns/s on a whole core and 15 MB/s,
    until the request timeout (30 s then).
    """
    consumer._coordinator.time_to_next_poll = lambda: math.inf  # noqa: SLF001


def _go_on_joining(consumer: KafkaConsumer) -> None:
    """Lets a join that takes longer than its poll continue in the next one, also if new metadata caused it.

    kafka-python forgets such a join. When the leader assigns partitions, it marks the metadata as handled,
    so the next poll sees no reason to wait for the answer. The member then reads on without heartbeats
    while the group gives its partitions to another member.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    if coordinator.rejoining:
        coordinator.request_rejoin()


@contextmanager
def _away() -> Iterator[None]:
    """Raises LogAway for errors of kafka-python, also for those about a partition that was just taken."""
    try:
        yield
    except (kafka_client.KafkaRefuses, ImproperlyConfigured) as error:
        raise LogAway(str(error)) from error
    except (KafkaError, IllegalStateError, OSError, ValueError, KeyError) as error:
        raise LogAway(f"{type(error).__name__}: {error}") from error


def _partitions_in(error: KafkaError) -> list[int]:
    found: list[int] = []
    for argument in (*error.args, getattr(error, "divergent_offsets", {})):
        if isinstance(argument, Mapping):
            found += [key.partition for key in argument if isinstance(key, TopicPartition)]
    return found
