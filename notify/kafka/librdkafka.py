"""librdkafka's producer, by its Python package confluent-kafka: an extra, see `producer_clients`.

librdkafka is written in C and sends in threads of its own, so it does not take the interpreter from the
threads that answer requests. It retries and connects anew by itself. It raises no exception for a connection
that fails, but reports it to `error_cb`: that is where a refused password is found.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import confluent_kafka
from confluent_kafka import KafkaException
from django.conf import settings
from kafka.errors import KafkaError, KafkaTimeoutError

from notify.kafka import kafka_client
from notify.kafka.kafka_client import KafkaRefuses
from notify.kafka.producer_clients import (
    BATCH_BYTES,
    CONNECT_TIMEOUT_MS,
    RECONNECT_MAX_MS,
    Delivery,
    Headers,
)

#: Seconds that one poll waits for reports. A thread of ours polls.
_POLL_S: Final = 0.1
#: librdkafka's own bound of messages that wait. Ours, of their bytes, is reached before.
_WAITING_MAX: Final = 10_000_000
#: The most that librdkafka accepts.
_SOCKET_TIMEOUT_MAX_MS: Final = 300_000
#: librdkafka's names of kafka-python's arguments.
_NAMES: Final = {
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
}
_REFUSALS: Final = (
    confluent_kafka.KafkaError._AUTHENTICATION,  # noqa: SLF001 - this is its public name
    confluent_kafka.KafkaError.SASL_AUTHENTICATION_FAILED,
    confluent_kafka.KafkaError.UNSUPPORTED_SASL_MECHANISM,
)


class LibrdkafkaFailed(KafkaError):  # type: ignore[misc] # kafka-python has no types
    """librdkafka failed to send a message, or to ask Kafka."""


class LibrdkafkaClient:
    """A `ProducerClient` on librdkafka.

    librdkafka's threads and connections end with the Python object of its producer. So nothing that the
    producer or its polling thread holds leads back to this client: that would be a cycle, which Python
    collects late, or never in a process that answers errors.
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
        self._refusals = _Refusals()
        self._ended = threading.Event()
        config = configuration(servers, ack_timeout_ms=ack_timeout_ms, security=security)
        config["error_cb"] = self._refusals.note
        try:
            self._producer = confluent_kafka.Producer(
                config, logger=logging.getLogger("librdkafka")
            )
        except KafkaException as error:
            raise LibrdkafkaFailed(str(error)) from None
        try:
            threading.Thread(
                target=_poll, args=(self._producer, self._ended), name="librdkafka", daemon=True
            ).start()
            self._described()
        except BaseException:
            self.close(timeout_s=0)
            raise

    def send(self, value: bytes, *, key: bytes, headers: Headers, partition: int) -> Delivery:
        if self._ended.is_set():
            raise LibrdkafkaFailed("another message has failed, and the client is closed")
        report = _Report()
        try:
            self._producer.produce(
                self._topic, value, key, partition, report.delivered, headers=list(headers)
            )
        except (BufferError, KafkaException) as error:
            raise LibrdkafkaFailed(str(error)) from None
        if self._ended.is_set():
            self.close(timeout_s=_POLL_S)  # it was closed meanwhile, and nobody may poll any more
        return report

    def partitions(self) -> set[int]:
        found = self._described()
        if found.error is not None:
            raise LibrdkafkaFailed(str(found.error))
        return set(found.partitions)

    def close(self, *, timeout_s: float) -> None:
        self._ended.set()
        if timeout_s:
            self._producer.flush(timeout_s)
        # Nobody waits much longer for what is left: it is not sent, and its reports say so.
        self._producer.purge(in_queue=True, in_flight=True)
        self._producer.flush(_POLL_S)

    def _described(self) -> Any:
        """What Kafka says of the topic."""
        try:
            found = self._producer.list_topics(self._topic, timeout=CONNECT_TIMEOUT_MS / 1000)
        except KafkaException as error:
            raise self._refusals.last or KafkaTimeoutError(str(error)) from None
        self._refusals.last = None
        return found.topics[self._topic]


def _poll(producer: Any, ended: threading.Event) -> None:
    """Takes reports from librdkafka until the client is closed and each message is reported."""
    while not ended.is_set() or len(producer):
        producer.poll(_POLL_S)


class _Refusals:
    """Why Kafka refused the last connection, if it did."""

    def __init__(self) -> None:
        self.last: KafkaRefuses | None = None

    def note(self, error: Any) -> None:
        """librdkafka reports an error that is not about a message."""
        said = str(error.str())[: kafka_client.SAID_MAX]
        if error.code() == confluent_kafka.KafkaError._SSL or "SSL routines" in said:  # noqa: SLF001
            is_certificate = "certificate verify failed" in said
            wrong = kafka_client.CERTIFICATE if is_certificate else kafka_client.TLS
            self.last = KafkaRefuses(wrong.format(said))
        elif error.code() in _REFUSALS:
            self.last = KafkaRefuses(f"{kafka_client.LOGIN}: {said}")


class _Report:
    """What becomes of a message. A lock alone, since web makes one for each message."""

    __slots__ = ("_arrived", "_error", "_offset")

    def __init__(self) -> None:
        self._arrived = threading.Lock()
        self._arrived.acquire()
        self._error: Any = None
        self._offset = -1

    def delivered(self, error: Any, message: Any) -> None:
        """librdkafka says so, once for each message."""
        self._error = error
        offset = None if error is not None else message.offset()
        # None if Kafka took it for a repeated message, whose offset it does not know any more.
        self._offset = -1 if offset is None else offset
        self._arrived.release()

    def offset(self, timeout_s: float) -> int:
        if not self._arrived.acquire(timeout=timeout_s):
            raise KafkaTimeoutError("Kafka has not acked in time")
        if self._error is not None:
            raise LibrdkafkaFailed(str(self._error))
        return self._offset


def configuration(
    servers: Sequence[str], *, ack_timeout_ms: int, security: Mapping[str, Any] | None
) -> dict[str, Any]:
    """librdkafka's configuration, with the same limits as that of kafka-python.

    Raises ImproperlyConfigured with a file of `security` that cannot be used.
    """
    made = dict(settings.KAFKA_SECURITY if security is None else security)
    config: dict[str, Any] = {
        "bootstrap.servers": ",".join(servers),
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 0,
        "batch.size": BATCH_BYTES,
        "message.timeout.ms": ack_timeout_ms,
        "socket.timeout.ms": min(max(ack_timeout_ms // 2, 10), _SOCKET_TIMEOUT_MAX_MS),
        "socket.connection.setup.timeout.ms": CONNECT_TIMEOUT_MS,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": RECONNECT_MAX_MS,
        "allow.auto.create.topics": False,
        "queue.buffering.max.messages": _WAITING_MAX,
        "enable.metrics.push": False,
        # Critical: it reports each failed connection, many of them a second. We log `kafka_away` once.
        "log_level": 2,
    }
    if made.get("security_protocol", "").endswith("SSL"):
        kafka_client.context(made)  # says which file cannot be used
        if not made.get("ssl_check_hostname", True):
            config["ssl.endpoint.identification.algorithm"] = "none"
    return config | {_NAMES[name]: made[name] for name in _NAMES if made.get(name)}
