"""Apache Kafka behind TLS and passwords: the whole way, and every way to be refused, in words."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from devstack import apache_kafka, product
from devstack.apache_kafka import Listener
from devstack.services import DevstackError, free_port
from devstack.stack import Stack
from notify.kafka.kafka_security import Security, arguments
from notify.kafka.producer import KafkaUnavailable, TopicProducer
from notify.kafka.producer_library import LIBRARIES, LIBRDKAFKA
from notify.kafka.topic import KafkaAway, Topics
from tests.certificates import Authority
from tests.databases import own_database
from tests.running import IS_APACHE
from tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

USER: Final = "notify"
PASSWORD: Final = "a-password-of-the-broker"
SCRAM: Final = "SCRAM-SHA-512"
PLAIN_JAAS: Final = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
)
SCRAM_JAAS: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
#: A listener's name in the test, and its protocol.
LISTENERS: Final = {"SECURE": "SASL_SSL", "PASSWORDS": "SASL_PLAINTEXT", "MUTUAL": "SSL"}


class Secured:
    """A broker with a listener for each of LISTENERS, and a stack whose processes use SECURE."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.stack = stack
        self.authority = Authority(directory)
        self.other = Authority(directory, "other-ca")
        self.authority.sign("broker", hosts=["127.0.0.1"])
        self.client = self.authority.sign("client", password="of-the-key")
        self.ports = {name: free_port() for name in LISTENERS}
        files = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(directory / "broker-both.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
        }
        passwords = {
            "sasl.enabled.mechanisms": f"PLAIN,{SCRAM}",
            "plain.sasl.jaas.config": PLAIN_JAAS,
            f"{SCRAM.lower()}.sasl.jaas.config": SCRAM_JAAS,
        }
        options = {
            "SECURE": files | passwords,
            "PASSWORDS": passwords,
            "MUTUAL": files | {"ssl.client.auth": "required"},
        }
        listeners = {
            name: Listener(port, port, LISTENERS[name], MappingProxyType(options[name]))
            for name, port in self.ports.items()
        }
        (broker,) = apache_kafka.cluster(
            stack.directory,
            stack.env,
            brokers=1,
            listeners=listeners,
            scram=[f"{SCRAM}=[name={USER},password={PASSWORD}]"],
        )
        stack.add(broker)
        stack.settle(broker)
        self.plain = broker.url

    def servers(self, name: str, *, host: str = "127.0.0.1") -> list[str]:
        """Where the listener is."""
        return [f"{host}:{self.ports[name]}"]

    def settings(self, **changes: Any) -> Security:
        """What reaches SECURE, with changes."""
        right = {
            "protocol": "SASL_SSL",
            "mechanism": SCRAM,
            "username": USER,
            "password": PASSWORD,
            "cafile": str(self.authority.file),
        }
        return Security(**(right | changes))

    def env(self, **changes: str) -> dict[str, str]:
        """The same as the processes' environment."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.servers("SECURE")[0],
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": SCRAM,
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": PASSWORD,
            "KAFKA_SSL_CAFILE": str(self.authority.file),
        } | changes

    def log(self, name: str) -> str:
        """What the process has logged."""
        return self.stack.log(name).read_text(errors="replace")


@pytest.fixture(scope="module")
def secured(
    postgres: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    """The broker, and web, bridge and worker that reach it by TLS and SCRAM."""
    if not IS_APACHE:
        pytest.skip("a TLS listener needs Apache Kafka: set NOTIFY_KAFKA=apache")
    try:
        apache_kafka.jars(os.environ)
    except DevstackError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    name = f"t{uuid.uuid4().hex[:10]}"
    with own_database(postgres, name) as url:
        environ = {
            **{key: text for key, text in os.environ.items() if key != "KAFKA_BOOTSTRAP_SERVERS"},
            "DATABASE_URL": url,
            "NOTIFY_NAMESPACE": name,
            "NOTIFY_PARTITIONS": "2",
            "NOTIFY_STALLED_AFTER_MS": "5000",
            "NOTIFY_LOG_LEVEL": "DEBUG",
            "DJANGO_SETTINGS_MODULE": "notify.settings",
        }
        directory = tmp_path_factory.mktemp("secured")
        with Stack(directory / "stack", environ=environ, say=lambda line: None) as stack:
            product.configure(stack)
            made = Secured(stack, directory)
            stack.start_services()
            stack.env |= made.env()
            yield made


def _get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=180) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def _update(web: str, app: product.DemoApp, record: str) -> int:
    request = Request(
        f"{web}/api/v1/players/{record}",
        json.dumps({"app_id": app.app_id, "tags": {"by": "tls"}}).encode(),
        {"Authorization": f"Key {app.key}", "Content-Type": "application/json"},
        method="PUT",
    )
    with urlopen(request, timeout=180) as answer:
        return int(answer.status)


def _wait_for_row(stack: Stack, record: str) -> None:
    query = "SELECT tags FROM record WHERE id = %s"
    with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True) as sql:
        wait_for(lambda: sql.execute(query, [record]).fetchall() == [({"by": "tls"},)])


def test_the_whole_way(secured: Secured) -> None:
    """Topic made, update acked, decided and applied, and only by TLS with SCRAM."""
    stack = secured.stack
    app = product.prepare(stack)
    names = ("web", "bridge", "worker", "web-librdkafka")
    web = product.start_web(stack)
    other = product.start_web(stack, names[3], env={"NOTIFY_KAFKA_PRODUCER": LIBRDKAFKA})
    product.start_bridge(stack)
    product.start_worker(stack, "worker")
    for each in (web, other):
        product.wait_ready(stack, each, timeout_s=300)
        record = str(uuid.uuid4())
        assert _update(each, app, record) in (200, 202)
        _wait_for_row(stack, record)
    logs = "".join(secured.log(name) for name in names)
    assert PASSWORD not in logs
    stack.remove(names[3])


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_refused_password_is_said_and_right_later_needs_no_restart(
    secured: Secured, library: str
) -> None:
    stack, wrong = secured.stack, "not-yet-the-password"
    product.prepare(stack)
    env = secured.env(
        KAFKA_SASL_USERNAME=f"late-{library}",
        KAFKA_SASL_PASSWORD=wrong,
        NOTIFY_KAFKA_PRODUCER=library,
    )
    web = product.start_web(stack, "web-late", env=env)
    product.start_bridge(stack, "bridge-late", env=env)
    said = "Kafka refuses KAFKA_SASL_USERNAME"
    wait_for(lambda: product.answers(f"{web}/healthz/live"))
    wait_for(lambda: said in _get(f"{web}/healthz/ready")[1])
    assert _get(f"{web}/healthz/ready")[0] == 503
    wait_for(lambda: said in secured.log("web-late") and said in secured.log("bridge-late"))
    with pytest.raises(DevstackError, match=said):
        product.manage(stack, "topic", "check", env=env)
    admin = KafkaAdminClient(bootstrap_servers=[secured.plain])
    admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(f"late-{library}", ScramMechanism.SCRAM_SHA_512, wrong)]
    )
    admin.close()
    wait_for(lambda: product.answers(f"{web}/healthz/ready"))
    wait_for(lambda: '"bridge_started"' in secured.log("bridge-late"))
    assert wrong not in secured.log("web-late") + secured.log("bridge-late")
    stack.remove("bridge-late")
    stack.remove("web-late")


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_untrusted_certificate_is_said(secured: Secured, library: str) -> None:
    stack = secured.stack
    env = secured.env(KAFKA_SSL_CAFILE=str(secured.other.file), NOTIFY_KAFKA_PRODUCER=library)
    web = product.start_web(stack, "web-other", env=env)
    product.manage(stack, "migrate", "--no-input", "--verbosity=0")
    product.prepare(stack)
    said = "Kafka's certificate is not valid"
    wait_for(lambda: product.answers(f"{web}/healthz/live"))
    wait_for(lambda: said in _get(f"{web}/healthz/ready")[1])
    wait_for(lambda: said in secured.log("web-other"))
    with pytest.raises(DevstackError, match=said):
        product.manage(stack, "topic", "check", env=env)
    stack.remove("web-other")


@pytest.mark.parametrize("mechanism", ["PLAIN", SCRAM])
@pytest.mark.parametrize("listener", ["SECURE", "PASSWORDS"])
def test_either_mechanism_by_either_door(secured: Secured, listener: str, mechanism: str) -> None:
    ca = secured.settings().cafile if listener == "SECURE" else ""
    chosen = secured.settings(protocol=LISTENERS[listener], mechanism=mechanism, cafile=ca)
    name = f"t{uuid.uuid4().hex[:10]}"
    with Topics(secured.servers(listener), security=arguments(chosen), timeout_ms=60_000) as topics:
        assert topics.create(name, partitions=1, replication=1).partitions == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"password": "another"}, "Kafka refuses KAFKA_SASL_USERNAME and its password"),
        ({"password": "another", "mechanism": "PLAIN"}, "Kafka refuses KAFKA_SASL_USERNAME"),
        ({"mechanism": "SCRAM-SHA-256"}, "or KAFKA_SASL_MECHANISM"),
        ({"cafile": ""}, "KAFKA_SSL_CAFILE must contain the CA"),
    ],
)
def test_what_is_wrong_is_said(secured: Secured, changes: dict[str, Any], said: str) -> None:
    why = _refusal(secured.servers("SECURE"), secured.settings(**changes))
    assert re.search(said, why)
    assert "another" not in why


def _refusal(servers: list[str], chosen: Security) -> str:
    """Why the connection is not made. The client tries until its time limit, which may be too short for a
    busy broker's answer: it gets longer then."""
    for timeout_ms in (1_500, 15_000, 60_000):
        with pytest.raises(KafkaAway) as raised:
            Topics(servers, security=arguments(chosen), timeout_ms=timeout_ms)
        why = str(raised.value)
        if "does not answer" not in why:
            break
    return why


def test_the_name_of_the_host_is_checked_unless_told_not_to(secured: Secured) -> None:
    servers = secured.servers("SECURE", host="localhost")
    assert "name a host of the certificate" in _refusal(servers, secured.settings())
    unchecked = arguments(secured.settings(check_hostname=False))
    Topics(servers, security=unchecked, timeout_ms=60_000).close()


def test_a_door_that_wants_our_certificate(secured: Secured) -> None:
    certificate, key = secured.client
    with_it = Security(
        protocol="SSL",
        cafile=str(secured.authority.file),
        certfile=str(certificate),
        keyfile=str(key),
        key_password="of-the-key",
    )
    Topics(secured.servers("MUTUAL"), security=arguments(with_it), timeout_ms=60_000).close()
    without = Security(protocol="SSL", cafile=str(secured.authority.file))
    assert "needs a client certificate" in _refusal(secured.servers("MUTUAL"), without)


def test_librdkafka_comes_in_by_every_door(secured: Secured) -> None:
    certificate, key = secured.client
    without = Security(protocol="SSL", cafile=str(secured.authority.file))
    with_it = replace(
        without, certfile=str(certificate), keyfile=str(key), key_password="of-the-key"
    )
    by_password = secured.settings(protocol="SASL_PLAINTEXT", cafile="")
    name = f"t{uuid.uuid4().hex[:10]}"
    with Topics([secured.plain], security={}, timeout_ms=60_000) as topics:
        topics.create(name, partitions=1, replication=1)
    for mechanism in ("PLAIN", SCRAM):
        _check(secured.servers("SECURE"), name, secured.settings(mechanism=mechanism))
    _check(secured.servers("PASSWORDS"), name, by_password)
    _check(secured.servers("MUTUAL"), name, with_it)
    with pytest.raises(KafkaUnavailable, match="KAFKA_SSL_CERTFILE"):
        _check(secured.servers("MUTUAL"), name, without)
    wrong = secured.servers("SECURE", host="localhost")
    _check(wrong, name, secured.settings(check_hostname=False))
    with pytest.raises(KafkaUnavailable, match="name a host of the certificate"):
        _check(wrong, name, secured.settings())


def _check(servers: list[str], topic: str, chosen: Security) -> None:
    """Connects by librdkafka. A broker on a busy machine may answer late."""
    producer = TopicProducer(
        servers,
        topic,
        bytes_max=1_000,
        ack_timeout_ms=60_000,
        security=arguments(chosen),
        library=LIBRDKAFKA,
    )
    with closing(producer):
        producer.check(partitions=1)


def test_tls_with_a_door_that_has_none_is_said(secured: Secured) -> None:
    with pytest.raises(KafkaAway, match=r"the TLS handshake with Kafka failed|does not answer"):
        Topics(
            secured.servers("PASSWORDS"), security=arguments(secured.settings()), timeout_ms=1_500
        )
