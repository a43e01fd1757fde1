"""librdkafka: its configuration, its reports, what a closed client leaves, and the choice of the library."""

import gc
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from kafka.errors import KafkaError, KafkaTimeoutError

from notify.kafka import producer_library
from notify.kafka.kafka_client import KafkaRefuses
from notify.kafka.kafka_security import Security, arguments
from notify.kafka.producer_library import KAFKA_PYTHON, LIBRDKAFKA
from tests.certificates import Authority
from tests.waiting import wait_for

confluent_kafka = pytest.importorskip("confluent_kafka")
from notify.kafka.librdkafka import (  # noqa: E402 - needs the extra
    LibrdkafkaClient,
    LibrdkafkaFailed,
    _Report,
    configuration,
)

Code = confluent_kafka.KafkaError


def test_the_library_is_one_of_two() -> None:
    for library in (KAFKA_PYTHON, LIBRDKAFKA):
        assert producer_library.checked(library) == library
    with pytest.raises(ImproperlyConfigured, match="set it to kafka-python or librdkafka"):
        producer_library.checked("rdkafka")


def test_an_extra_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ImproperlyConfigured, match=r"install requirements/librdkafka.txt"):
        producer_library.checked(LIBRDKAFKA)
    assert producer_library.checked(KAFKA_PYTHON) == KAFKA_PYTHON


def test_waits_are_as_long_as_for_kafka_python() -> None:
    config = configuration(["a:1", "b:2"], ack_timeout_ms=5_000, security={})
    assert config["bootstrap.servers"] == "a:1,b:2"
    assert config["message.timeout.ms"] == 5_000
    assert config["socket.timeout.ms"] == 2_500
    assert (config["acks"], config["enable.idempotence"]) == ("all", True)
    assert config["allow.auto.create.topics"] is False
    assert not {key for key in config if key.startswith(("sasl", "ssl", "security"))}


def test_security_is_passed_on(tmp_path: Any) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("client", password="of-the-key")
    chosen = Security(
        protocol="SASL_SSL",
        mechanism="SCRAM-SHA-512",
        username="user",
        password="secret",
        cafile=str(authority.file),
        certfile=str(certificate),
        keyfile=str(key),
        key_password="of-the-key",
    )
    config = configuration(["a:1"], ack_timeout_ms=1_000, security=arguments(chosen))
    plain = configuration(["a:1"], ack_timeout_ms=1_000, security={})
    assert {name: config[name] for name in config.keys() - plain.keys()} == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "user",
        "sasl.password": "secret",
        "ssl.ca.location": str(authority.file),
        "ssl.certificate.location": str(certificate),
        "ssl.key.location": str(key),
        "ssl.key.password": "of-the-key",
    }
    unchecked = arguments(Security("SSL", cafile=str(authority.file), check_hostname=False))
    config = configuration(["a:1"], ack_timeout_ms=1_000, security=unchecked)
    assert config["ssl.endpoint.identification.algorithm"] == "none"
    missing = arguments(Security("SSL", cafile=str(tmp_path / "missing")))
    with pytest.raises(ImproperlyConfigured, match="KAFKA_SSL_CAFILE="):
        configuration(["a:1"], ack_timeout_ms=1_000, security=missing)


class Message:
    """A message that librdkafka has delivered."""

    def __init__(self, offset: int | None) -> None:
        self._offset = offset

    def offset(self) -> int | None:
        return self._offset


def test_a_message_waits_for_its_report() -> None:
    acked, repeated, failed, late = (_Report() for _ in range(4))
    acked.delivered(None, Message(17))
    repeated.delivered(None, Message(None))
    assert repeated.offset(0) == -1
    failed.delivered(Code(Code._MSG_TIMED_OUT), None)
    assert acked.offset(0) == 17
    with pytest.raises(LibrdkafkaFailed, match="_MSG_TIMED_OUT"):
        failed.offset(0)
    with pytest.raises(KafkaTimeoutError):
        late.offset(0.01)


class Away:
    """A librdkafka that reaches nobody; `reports` come before it says so."""

    reports: tuple[tuple[int, str], ...] = ()

    def __init__(self, config: dict[str, Any], **kwargs: object) -> None:
        self.config = config

    def list_topics(self, topic: str, *, timeout: float) -> Any:
        for code, said in self.reports:
            self.config["error_cb"](Code(code, said))
        raise confluent_kafka.KafkaException(Code(Code._TRANSPORT))

    def produce(self, *args: object, **kwargs: object) -> None:
        raise BufferError("Local: Queue full")

    def poll(self, timeout: float) -> None:
        """Nothing to report."""

    def purge(self, **kwargs: object) -> None:
        """Nothing to purge."""

    def flush(self, timeout: float) -> None:
        """Nothing to wait for."""

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ((), "_TRANSPORT"),
        (((Code._ALL_BROKERS_DOWN, "1/1 brokers are down"),), "_TRANSPORT"),
        (((Code._AUTHENTICATION, "wrong"),), "Kafka refuses KAFKA_SASL_USERNAME"),
        (((Code._SSL, "certificate verify failed"),), "name a host of the certificate"),
        (((Code._TRANSPORT, "SSL routines::alert"),), "KAFKA_SSL_CERTFILE"),
    ],
)
def test_who_does_not_get_in_learns_why(
    monkeypatch: pytest.MonkeyPatch, reports: tuple[tuple[int, str], ...], said: str
) -> None:
    monkeypatch.setattr(confluent_kafka, "Producer", Away)
    monkeypatch.setattr(Away, "reports", reports)
    with pytest.raises(KafkaError, match=said) as raised:
        LibrdkafkaClient(["127.0.0.1:1"], "t", ack_timeout_ms=1_000, security={})
    assert isinstance(raised.value, KafkaRefuses) == (said != "_TRANSPORT")


def test_a_full_queue_is_an_error_of_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confluent_kafka, "Producer", Away)
    monkeypatch.setattr(LibrdkafkaClient, "_described", lambda self: None)
    client = LibrdkafkaClient(["127.0.0.1:1"], "t", ack_timeout_ms=1_000, security={})
    with pytest.raises(LibrdkafkaFailed, match="Queue full"):
        client.send(b"x", key=b"k", headers=[], partition=0)
    client.close(timeout_s=0)
    with pytest.raises(LibrdkafkaFailed, match="is closed"):
        client.send(b"x", key=b"k", headers=[], partition=0)


def test_a_configuration_that_librdkafka_refuses_is_an_error_of_kafka() -> None:
    security = {"security_protocol": "NONSENSE"}
    with pytest.raises(LibrdkafkaFailed, match="NONSENSE"):
        LibrdkafkaClient(["127.0.0.1:1"], "t", ack_timeout_ms=1_000, security=security)
    longest = configuration(["a:1"], ack_timeout_ms=10_000_000, security={})
    assert longest["socket.timeout.ms"] == 300_000


def _native_threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_clients_that_cannot_connect_leave_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if Python's garbage collector never runs, as in a process that only answers errors."""
    monkeypatch.setattr("notify.kafka.librdkafka.CONNECT_TIMEOUT_MS", 1_000)
    gc.collect()
    before, own = _native_threads(), threading.active_count()
    gc.disable()
    try:
        for _ in range(2):
            with pytest.raises(KafkaError):
                LibrdkafkaClient(["127.0.0.1:1"], "t", ack_timeout_ms=1_000, security={})
        wait_for(lambda: threading.active_count() <= own)
        wait_for(lambda: _native_threads() <= before)
    finally:
        gc.enable()
