"""Settings of Kafka's security: what they become, what contradicts what, and what is said of it."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from ingest.consumer import KafkaLog
from ingest.log_ends import LogEnds
from ingest.ports import LogAway
from notify.kafka import kafka_client
from notify.kafka.kafka_security import MECHANISMS, PROTOCOLS, Security, arguments
from notify.kafka.producer import KafkaUnavailable, TopicProducer
from notify.kafka.topic import KafkaAway, Topics
from tests.certificates import Authority
from tests.waiting import wait_for

APP = "00000000-0000-4000-8000-000000000000"
SASL: dict[str, Any] = {"mechanism": "SCRAM-SHA-512", "username": "u", "password": "secret-word"}
FILES: dict[str, Any] = {
    "cafile": "ca",
    "certfile": "c",
    "keyfile": "k",
    "key_password": "secret-word",
}


def test_plaintext_is_nothing() -> None:
    assert arguments(Security()) == {}


def test_all_of_it() -> None:
    assert arguments(Security("SASL_SSL", **SASL, **FILES)) == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "secret-word",
        "ssl_check_hostname": True,
        "ssl_cafile": "ca",
        "ssl_certfile": "c",
        "ssl_keyfile": "k",
        "ssl_password": "secret-word",
    }


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_each_mechanism(mechanism: str) -> None:
    made = arguments(Security("SASL_PLAINTEXT", **(SASL | {"mechanism": mechanism})))
    assert made["sasl_mechanism"] == mechanism


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"protocol": "TLS"}, f"set it to one of {', '.join(PROTOCOLS)}"),
        ({"protocol": "sasl_ssl", **SASL}, "set it to one of"),
        ({"protocol": "SASL_SSL"}, "KAFKA_SASL_MECHANISM and KAFKA_SASL_USERNAME"),
        ({"protocol": "SASL_SSL", **SASL, "password": ""}, "without KAFKA_SASL_PASSWORD: set"),
        ({"protocol": "SASL_SSL", **SASL, "mechanism": "GSSAPI"}, "set it to one of PLAIN"),
        ({**SASL}, "would have no effect with KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
        ({"protocol": "SSL", "password": "secret-word"}, "KAFKA_SASL_PASSWORD would have no"),
        ({"cafile": "ca"}, "KAFKA_SSL_CAFILE would have no effect"),
        ({"protocol": "SASL_PLAINTEXT", **SASL, "cafile": "ca"}, "set that to SSL or SASL_SSL"),
        ({"check_hostname": False}, "KAFKA_SSL_CHECK_HOSTNAME=0 would have no effect"),
        ({"protocol": "SSL", "certfile": "c"}, "set both"),
        ({"protocol": "SSL", "keyfile": "k"}, "set both"),
        ({"protocol": "SSL", "key_password": "secret-word"}, "KAFKA_SSL_KEYFILE is not"),
    ],
)
def test_contradictions_say_what_to_do(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        arguments(Security(**given))
    assert said in str(raised.value)
    assert "secret-word" not in str(raised.value)


def test_no_password_in_its_text() -> None:
    assert "secret-word" not in repr(Security("SASL_SSL", **SASL, **FILES))


@pytest.mark.parametrize("broken", ["cafile", "certfile", "keyfile", "key_password"])
def test_files_that_cannot_be_used_are_named(tmp_path: Path, broken: str) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("client", password="secret-word")
    right: dict[str, Any] = {
        "cafile": str(authority.file),
        "certfile": str(certificate),
        "keyfile": str(key),
        "key_password": "secret-word",
    }
    kafka_client.context(arguments(Security("SSL", **right)))
    (tmp_path / "no-pem").write_text("no certificate")
    for text in (str(tmp_path / "no-pem"), str(tmp_path / "missing")):
        wrong = arguments(Security("SSL", **(right | {broken: text})))
        with pytest.raises(ImproperlyConfigured) as raised:
            kafka_client.context(wrong)
        name = "KAFKA_SSL_CAFILE" if broken == "cafile" else "KAFKA_SSL_KEYFILE"
        assert name in str(raised.value)
        assert "secret-word" not in str(raised.value)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of one who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as server:
        host, port = server.getsockname()
        yield f"{host}:{port}"


def _topics(server: str, security: dict[str, Any]) -> None:
    Topics([server], timeout_ms=500, security=security)


def _producer(server: str, security: dict[str, Any]) -> None:
    made = TopicProducer([server], "t", bytes_max=1_000, ack_timeout_ms=500, security=security)
    made.send(APP, [b"{}"], partitions=1, traceparent="")


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
@pytest.mark.parametrize("use", [_topics, _producer])
def test_a_server_that_is_silent_is_given_up(
    silent: str, use: Callable[[str, dict[str, Any]], None], protocol: str
) -> None:
    """kafka-python alone waits for a TLS handshake for ever."""
    with pytest.raises((KafkaAway, KafkaUnavailable), match="does not answer"):
        use(silent, arguments(Security(protocol)))


def test_who_cannot_connect_leaves_nothing_behind(silent: str) -> None:
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(KafkaAway):
            _topics(silent, {})
    wait_for(lambda: threading.active_count() <= before)


def test_a_file_that_is_missing_is_what_producer_topics_and_consumer_say(
    settings: Any, tmp_path: Path
) -> None:
    missing = arguments(Security("SSL", cafile=str(tmp_path / "missing")))
    settings.KAFKA_SECURITY = missing
    with pytest.raises(KafkaAway, match="KAFKA_SSL_CAFILE="):
        Topics(["127.0.0.1:1"])
    producer = TopicProducer(["127.0.0.1:1"], "t", bytes_max=1_000, ack_timeout_ms=500)
    with pytest.raises(KafkaUnavailable, match="KAFKA_SSL_CAFILE="):
        producer.send(APP, [b"{}"], partitions=1, traceparent="")
    with pytest.raises(LogAway, match="KAFKA_SSL_CAFILE="):
        KafkaLog(
            servers=["127.0.0.1:1"],
            topic="t",
            group="g",
            facts=lambda partitions: {},
            session_timeout_ms=6_000,
            heartbeat_ms=1_000,
            fetch_bytes=1_000,
            ends=LogEnds(lambda partitions: {}),
        )
