"""`Log` on kafka-python: the only user of its consumer.

kafka-python 3.0.12, as measured: `poll` with 5 ms or less never gets its positions after a join;
the rebalance listener runs on the IO thread, so it only queues; with `auto_offset_reset='none'` the
first poll after an assignment raises, until the partition is sought.

A partition that is paused while kafka-python holds some messages of a fetch of it, and has handed out
others, is never read again after `resume` (tests/contract/test_consumer.py shows it). So no fetch is
ever left half handed out: each poll takes all that was fetched, and the size of a fetch
(NOTIFY_FETCH_BYTES) bounds a poll, not a number of messages. That also serves partitions alike: no
poll brings more than one fetch of each.
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
from ingest.topic_connection import TopicConnection
from ingest.tracing import Ticks
from notify import kafka_client
from notify.domain.stream import LogFacts

POLL_MIN_MS: Final = 10
#: A poll takes whatever was fetched: see above.
_ALL: Final = sys.maxsize
FACTS_TIMEOUT_MS: Final = 5_000
#: A fetch has room for so many partitions with a backlog. Tansu 0.6.0 observes only the whole.
PARTITIONS_A_FETCH: Final = 4
#: How long leaving the group may take when the log is opened again: its connection may be dead.
CLOSE_TIMEOUT_MS: Final = 1_000
#: How long Kafka may take for any answer but that to a join; then the connection is closed.
REQUEST_TIMEOUT_MS: Final = 10_000
#: The longest wait between two tries to connect: kafka-python's 30 s would outlast Kafka's absence.
RECONNECT_MAX_MS: Final = 1_000
#: A leader that did not know the topic's partitions yet gives them to nobody, and asks again only when
#: what it knows is so old. Kafka's own five minutes are five minutes without a bridge.
METADATA_MAX_AGE_MS: Final = 5_000

Partitions = Collection[TopicPartition]


class TopicFacts(TopicConnection):
    """Asks for facts of the topic."""

    def __call__(self, partitions: Collection[int]) -> dict[int, LogFacts]:
        """Of these partitions. Raises LogAway, also where the topic is gone."""
        with self._asking() as topics:
            found = topics.describe(self._topic)
            extents = topics.extents(self._topic, partitions)
        return {
            partition: LogFacts(str(found.id), found.partitions, extent.start, extent.end)
            for partition, extent in extents.items()
        }


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # kafka-python has no types
    """Queues what the group says; deque.append is atomic, and nothing else happens here."""

    def __init__(self) -> None:
        self.events: deque[tuple[bool, list[int]]] = deque()

    def on_partitions_revoked(self, revoked: Partitions) -> None:
        """The group takes these partitions; lost ones come here too."""
        self.events.append((False, [partition.partition for partition in revoked]))

    def on_partitions_assigned(self, assigned: Partitions) -> None:
        """The group gives these partitions."""
        self.events.append((True, [partition.partition for partition in assigned]))


class KafkaLog:
    """One member of the group, reading one topic; making one raises LogAway too.

    `facts` asks about the topic's partitions, `ends` where their logs end. `fetch_bytes` bounds what one
    poll brings from one broker; a larger message comes alone.
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
        self._ask = facts
        self._ends = ends
        self._listener = _Listener()
        self._opened: KafkaConsumer | None = None
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
            self._listener = _Listener()
            consumer.subscribe([self._topic], listener=self._listener)
            # Known before the group is joined: a leader without it gives the partitions to nobody, and
            # joins a second time when it learns of them.
            consumer.partitions_for_topic(self._topic)
        self._opened = consumer

    @property
    def _consumer(self) -> KafkaConsumer:
        if self._opened is None:
            raise LogAway("the consumer is being opened again")
        return self._opened

    def poll(self, timeout_ms: int) -> Polled:
        """Log.poll."""
        if self._opened is None:
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
        """Log.reopen. The next poll opens it."""
        consumer, self._opened = self._opened, None
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
        held = {found.partition for found in self._consumer.assignment()}
        self._ends.watch(held)
        polled.assigned = [
            partition
            for partition in polled.assigned
            if partition in held and self._rests(partition)
        ]

    def _rests(self, partition: int) -> bool:
        """Pause a partition at a position of no meaning, until its Load; False if it left meanwhile."""
        try:
            self.pause(partition)
            self.seek(partition, 0)
        except LogAway:
            return False
        return True

    def facts(self, partitions: Collection[int]) -> Mapping[int, LogFacts]:
        """Log.facts."""
        return self._ask(partitions)

    def seek(self, partition: int, offset: int) -> None:
        """Log.seek."""
        with _away():
            self._consumer.seek(self._at(partition), offset)

    def position(self, partition: int) -> int:
        """Log.position."""
        with _away():
            position = self._consumer.position(self._at(partition), timeout_ms=FACTS_TIMEOUT_MS)
        if position is None:
            raise LogAway("the consumer has no position yet")
        return int(position)

    def end(self, partition: int) -> LogEnd | None:
        """Log.end."""
        return self._ends.end(partition)

    def pause(self, partition: int) -> None:
        """Log.pause."""
        with _away():
            self._consumer.pause(self._at(partition))

    def resume(self, partition: int) -> None:
        """Log.resume."""
        with _away():
            self._consumer.resume(self._at(partition))

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Log.commit."""
        with _away():
            self._consumer.commit_async(
                {
                    self._at(partition): OffsetAndMetadata(offset, "", -1)
                    for partition, offset in offsets.items()
                }
            )

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self._ends.close()
        if self._opened is not None:
            with _away():
                self._opened.close(autocommit=False)

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


def _let_polls_wait(consumer: KafkaConsumer) -> None:
    """A poll waits for its fetch until its own time is over, also while a heartbeat is due.

    kafka-python ends the wait when the next heartbeat is due, though its IO thread sends those. While
    Kafka is silent one is due always: a poll then spins, and each turn leaves callbacks on the fetch
    that hangs. Measured with a broker under SIGSTOP: 2,400 turns/s on a whole core, 15 MB/s, up to the
    request timeout (30 s then).
    """
    consumer._coordinator.time_to_next_poll = lambda: math.inf  # noqa: SLF001


def _go_on_joining(consumer: KafkaConsumer) -> None:
    """A join that outlasts its poll goes on in the next one, also where new metadata began it.

    kafka-python forgets such a join: when the leader assigns, it notes the metadata as dealt with, and
    the next poll finds no reason to wait for the answer. The member then reads on without heartbeats,
    while the group gives its partitions to another.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    if coordinator.rejoining:
        coordinator.request_rejoin()


@contextmanager
def _away() -> Iterator[None]:
    """kafka-python's errors, and its surprises about partitions that just left, as LogAway."""
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
