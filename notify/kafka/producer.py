"""The way into Kafka: the only code that sends messages. One producer for each process.

A message is accepted once Kafka has acked it on all in-sync replicas, and not before. Bytes that
wait for an ack are capped, and so is the wait, so Kafka being slow or away costs callers an error,
never memory and never a pile of waiting threads.

A client that failed a message is given up, whatever the reason, and the next request makes another:
kafka-python's may hang for ever then (`producer_clients`).
"""

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from kafka.errors import KafkaError

from notify.domain.engine.lanes import partition_of
from notify.domain.records.update import VERSION
from notify.kafka import kafka_client, producer_clients
from notify.kafka.producer_clients import CONNECT_TIMEOUT_MS, Delivery, ProducerClient
from notify.telemetry import logs, metrics

#: Seconds for which a failed connection is not tried again.
CONNECT_AGAIN_S: Final = 1.0
#: Seconds of an ack's age that still prove that Kafka can be reached.
ACK_FRESH_S: Final = 1.0
#: Seconds past the client's own timeout, so that it is the one that decides.
_GRACE_S: Final = 1.0


class Overloaded(Exception):
    """Too many bytes wait for Kafka's ack: send again a little later."""


class KafkaUnavailable(Exception):
    """Kafka did not ack in time, or cannot be reached. Whether it has the messages is not known."""


class Acked(NamedTuple):
    """Where Kafka has a message."""

    partition: int
    offset: int


class Producer(Protocol):
    """Puts messages into the topic."""

    def send(
        self, app: str, values: Sequence[bytes], *, partitions: int, traceparent: str
    ) -> list[Acked]:
        """Where `values` stand, acked, in order: in the app's partition of `partitions`.

        Raises Overloaded (Kafka has none of them) or KafkaUnavailable (it may have some).
        """
        ...

    def check(self, *, partitions: int) -> None:
        """Raises KafkaUnavailable unless Kafka answers now and the topic has these partitions."""
        ...


class TopicProducer:
    """The `Producer` of one topic. Connects at its first use; thread-safe.

    After a timeout, a partition counts as away until a message gets through: meanwhile one request
    at a time finds out, and the others fail at once. `security` and `library` (`producer_clients`) are
    by default the settings'.
    """

    def __init__(
        self,
        servers: Collection[str],
        topic: str,
        *,
        bytes_max: int,
        ack_timeout_ms: int,
        security: Mapping[str, Any] | None = None,
        library: str | None = None,
    ) -> None:
        self._topic = topic
        self._servers = list(servers)
        self._bytes_max = bytes_max
        self._ack_timeout_ms = ack_timeout_ms
        self._library = settings.NOTIFY_KAFKA_PRODUCER if library is None else library
        self._security = security
        self._state = threading.Lock()
        self._bytes = 0
        self._waiting: Counter[int] = Counter()
        self._away: set[int] = set()
        self._acked_at = float("-inf")
        self._connecting = threading.Lock()
        self._connect_after = float("-inf")
        self._client: ProducerClient | None = None

    def send(
        self, app: str, values: Sequence[bytes], *, partitions: int, traceparent: str
    ) -> list[Acked]:
        """Producer.send."""
        partition = partition_of(app, partitions)
        key = app.encode()
        headers = [("v", b"%d" % VERSION), ("traceparent", traceparent.encode())]
        with self._admitted(partition, sum(map(len, values))):
            client = self._connected()
            started = time.perf_counter()
            with self._replacing(client), _failing():
                offsets = self._acked(
                    client.send(value, key=key, headers=headers, partition=partition)
                    for value in values
                )
            metrics.WEB_ACK_SECONDS.observe(time.perf_counter() - started)
        self._acked_at = time.monotonic()
        metrics.WEB_UPDATES.inc(len(offsets))
        return [Acked(partition, offset) for offset in offsets]

    def check(self, *, partitions: int) -> None:
        """Producer.check."""
        if time.monotonic() - self._acked_at < ACK_FRESH_S:
            return
        client = self._connected()
        with _failing():
            found = client.partitions()
        if not found >= set(range(partitions)):
            raise KafkaUnavailable(
                f"the topic {self._topic} has {len(found)} partitions, {partitions} are stored: "
                "see `manage.py topic check`"
            )

    def close(self) -> None:
        """Wait for acks on their way, and leave no thread and no connection behind."""
        with self._connecting:
            client, self._client = self._client, None
        if client is not None:
            client.close(timeout_s=self._ack_timeout_ms / 1000)

    @contextmanager
    def _admitted(self, partition: int, size: int) -> Iterator[None]:
        """Holds `size` bytes of the cap, which a lone request may exceed, and learns its outcome."""
        with self._state:
            if partition in self._away and self._waiting[partition]:
                raise KafkaUnavailable("Kafka has not acked lately; another request is testing it")
            if self._bytes and self._bytes + size > self._bytes_max:
                raise Overloaded(Overloaded.__doc__)
            self._hold(partition, size, 1)
        is_away = True
        try:
            yield
            is_away = False
        finally:
            with self._state:
                self._hold(partition, -size, -1)
                if is_away:
                    self._away.add(partition)
                else:
                    self._away.discard(partition)

    def _acked(self, sending: Iterator[Delivery]) -> list[int]:
        """The offsets of the messages; all are waited for, then the first failure is raised."""
        deliveries: list[Delivery] = []
        failure: KafkaError | None = None
        try:
            deliveries.extend(sending)
        except KafkaError as error:
            failure = error
        deadline = time.monotonic() + self._ack_timeout_ms / 1000 + _GRACE_S
        offsets = []
        for delivery in deliveries:
            try:
                offsets.append(delivery.offset(max(0.0, deadline - time.monotonic())))
            except KafkaError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return offsets

    def _hold(self, partition: int, size: int, requests: int) -> None:
        self._bytes += size
        self._waiting[partition] += requests
        metrics.WEB_IN_FLIGHT_BYTES.set(self._bytes)

    def _connected(self) -> ProducerClient:
        """This process's client. Raises KafkaUnavailable, at once where it failed a moment ago."""
        client = self._client
        if client is not None:
            return client
        if not self._connecting.acquire(timeout=CONNECT_TIMEOUT_MS / 1000):
            raise KafkaUnavailable("Kafka does not answer: still connecting")
        try:
            if self._client is None:
                if time.monotonic() < self._connect_after:
                    raise KafkaUnavailable("Kafka does not answer: connecting failed a moment ago")
                self._client = self._connect()
            return self._client
        finally:
            self._connecting.release()

    def _connect(self) -> ProducerClient:
        try:
            return producer_clients.connect(
                self._library,
                self._servers,
                self._topic,
                ack_timeout_ms=self._ack_timeout_ms,
                security=self._security,
            )
        except (KafkaError, OSError, ImproperlyConfigured) as error:
            self._connect_after = time.monotonic() + CONNECT_AGAIN_S
            reason = _reason(error)
            logs.get().warning("kafka_away", error=reason)
            raise KafkaUnavailable(f"Kafka does not answer: {reason}") from error

    @contextmanager
    def _replacing(self, client: ProducerClient) -> Iterator[None]:
        """Gives up `client` on failure. What others wait for has a moment to arrive."""
        try:
            yield
        except KafkaUnavailable:
            with self._connecting:
                is_mine = self._client is client
                if is_mine:
                    self._client = None
            if is_mine:
                ending = {"timeout_s": _GRACE_S}
                threading.Thread(target=client.close, kwargs=ending, daemon=True).start()
            raise


def _reason(error: Exception) -> str:
    """What to do next, where that is known; else the error's name alone."""
    clear = isinstance(error, kafka_client.KafkaRefuses | ImproperlyConfigured)
    return str(error) if clear else type(error).__name__


@contextmanager
def _failing() -> Iterator[None]:
    """The libraries' errors as KafkaUnavailable."""
    try:
        yield
    except (KafkaError, OSError, ValueError) as error:
        logs.get().warning("kafka_away", error=f"{type(error).__name__}: {error}")
        raise KafkaUnavailable(
            f"Kafka did not accept the update: {type(error).__name__}"
        ) from error
