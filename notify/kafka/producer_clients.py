"""The libraries that can send messages to Kafka, behind one interface: kafka-python and librdkafka.

kafka-python is the default. librdkafka is an extra (docs/decisions/0054-librdkafka-in-web.md): with it web
needs less CPU time for each update.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from notify.kafka import kafka_client
from notify.kafka.producer_library import LIBRDKAFKA

#: Milliseconds in which a first connection and the topic's metadata must come.
CONNECT_TIMEOUT_MS: Final = 2_000
RECONNECT_MAX_MS: Final = 1_000
BATCH_BYTES: Final = 64 * 1024

Headers = Sequence[tuple[str, bytes]]


class Delivery(Protocol):
    """A message on its way."""

    def offset(self, timeout_s: float) -> int:
        """Its offset, once Kafka has acked it. Raises KafkaError if it does not in this time."""
        ...


class ProducerClient(Protocol):
    """A connected client of one topic. Messages of a partition are stored in the order in which they are
    sent. A client that failed one is closed, and not used again. Thread-safe."""

    def send(self, value: bytes, *, key: bytes, headers: Headers, partition: int) -> Delivery:
        """Sends the message without waiting for Kafka. Raises KafkaError."""
        ...

    def partitions(self) -> set[int]:
        """The partitions of the topic, as Kafka says now. Raises KafkaError."""
        ...

    def close(self, *, timeout_s: float) -> None:
        """Waits up to `timeout_s` for outstanding acks, and leaves no connection behind. Raises nothing."""
        ...


def connect(
    library: str,
    servers: Sequence[str],
    topic: str,
    *,
    ack_timeout_ms: int,
    security: Mapping[str, Any] | None,
) -> ProducerClient:
    """A connected client; `security` is by default the settings'. Raises KafkaError, OSError, and
    ImproperlyConfigured with the file that cannot be used."""
    if library == LIBRDKAFKA:
        from notify.kafka.librdkafka import LibrdkafkaClient  # noqa: PLC0415 - an extra

        return LibrdkafkaClient(servers, topic, ack_timeout_ms=ack_timeout_ms, security=security)
    return KafkaPythonClient(servers, topic, ack_timeout_ms=ack_timeout_ms, security=security)


class KafkaPythonClient:
    """kafka-python's producer.

    Measured on Tansu and on Apache Kafka 4.4: idempotence works on both and costs nothing that can be told
    from noise, so a broker's lost ack does not double a message. But once a batch that was sent twice has
    expired, the idempotent producer hangs for ever.
    """

    def __init__(
        self,
        servers: Sequence[str],
        topic: str,
        *,
        ack_timeout_ms: int,
        security: Mapping[str, Any] | None,
    ) -> None:
        self._topic = topic
        forbid_bodies_in_logs()
        self._producer = kafka_client.connected(
            KafkaProducer,
            security=security,
            bootstrap_servers=list(servers),
            acks="all",
            enable_idempotence=True,
            batch_size=BATCH_BYTES,
            delivery_timeout_ms=ack_timeout_ms,
            request_timeout_ms=max(ack_timeout_ms // 2, 1),
            max_block_ms=min(CONNECT_TIMEOUT_MS, ack_timeout_ms),
            bootstrap_timeout_ms=CONNECT_TIMEOUT_MS,
            reconnect_backoff_max_ms=RECONNECT_MAX_MS,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )

    def send(self, value: bytes, *, key: bytes, headers: Headers, partition: int) -> Delivery:
        return _Future(self._producer.send(self._topic, value, key, headers, partition))

    def partitions(self) -> set[int]:
        # kafka-python has no public way to ask Kafka anything without a message.
        refreshed = self._producer._metadata.request_update()  # noqa: SLF001
        answered = threading.Event()
        refreshed.add_both(lambda _: answered.set())
        if not answered.wait(CONNECT_TIMEOUT_MS / 1000):
            raise KafkaTimeoutError(f"no answer in {CONNECT_TIMEOUT_MS} ms")
        if refreshed.failed():
            raise refreshed.exception
        found: set[int] = self._producer.partitions_for(self._topic)
        return found

    def close(self, *, timeout_s: float) -> None:
        try:
            self._producer.close(timeout=timeout_s)
        except KafkaError:  # it hangs: kafka-python leaves its thread
            self._producer._closed = True  # noqa: SLF001 - or __del__ waits, and raises, once more
            self._producer._sender.force_close()  # noqa: SLF001


class _Future:
    """kafka-python's future of a message."""

    __slots__ = ("_future",)

    def __init__(self, future: Any) -> None:
        self._future = future

    def offset(self, timeout_s: float) -> int:
        return int(self._future.get(timeout_s).offset)


def forbid_bodies_in_logs() -> None:
    """kafka-python logs whole messages at DEBUG: keep its loggers above, whatever was configured."""
    logger = logging.getLogger("kafka")
    logger.setLevel(max(logger.level, logging.INFO))
