"""kafka-python's clients as all of ours are made: secured as the settings say, and never silent.

What kafka-python 3.0.12 lacks is added here. It waits for a TLS handshake for ever: here it has the
time limit of its connection. It tries a refused password again until its bootstrap times out, and
then says no more than that: here the refusal is remembered and raised.
"""

import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify.settings")

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from kafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import create_connection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport

_FILES: Final = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password")
_NOT_US: Final = (
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
    IllegalSaslStateError,
)
Kind = TypeVar("Kind")
LOGIN: Final = "Kafka refuses KAFKA_SASL_USERNAME and its password, or KAFKA_SASL_MECHANISM"
CERTIFICATE: Final = (
    "Kafka's certificate is not valid: {}: KAFKA_SSL_CAFILE must contain the CA that signed it, and "
    "KAFKA_BOOTSTRAP_SERVERS must name a host of the certificate"
)
TLS: Final = (
    "the TLS handshake with Kafka failed: {}: check that KAFKA_SECURITY_PROTOCOL is that of the listener, "
    "and whether it needs a client certificate (KAFKA_SSL_CERTFILE)"
)
#: Characters of what Kafka, OpenSSL or librdkafka say, in an error of ours.
SAID_MAX: Final = 200


class KafkaRefuses(KafkaError):  # type: ignore[misc] # kafka-python has no types
    """Kafka refuses the connection, because a certificate or the password is wrong."""

    def __str__(self) -> str:
        return str(self.args[0])


def connected(
    make: Callable[..., Kind], *, security: Mapping[str, Any] | None = None, **options: Any
) -> Kind:
    """A client of kafka-python's class `make`, secured as `kafka_security.arguments` says, by default
    of the settings.

    Raises KafkaRefuses, other errors of kafka-python, and ImproperlyConfigured with the file that
    cannot be used. One that cannot connect leaves no thread and no socket behind: kafka-python's
    constructors do.
    """
    nets: list[Client] = []

    def connect(**config: Any) -> Client:
        nets.append(Client(**config))
        return nets[-1]

    try:
        return make(**options, **_secured(security), kafka_client=connect)
    except BaseException:
        for net in nets:
            net.close()
        raise


def _secured(chosen: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments, with the content of their files."""
    made = dict(settings.KAFKA_SECURITY if chosen is None else chosen)
    if made.get("security_protocol", "").endswith("SSL") and "ssl_context" not in made:
        made["ssl_context"] = context(made)
        for name in _FILES:
            made.pop(name, None)
    return made


def context(made: Mapping[str, Any]) -> ssl.SSLContext:
    """TLS 1.2 or newer with the files that `kafka_security.arguments` names; without a CA file the
    system's CAs are trusted.

    Raises ImproperlyConfigured with the file that cannot be used.
    """
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.minimum_version = ssl.TLSVersion.TLSv1_2
    trusted.check_hostname = made.get("ssl_check_hostname", True)
    cafile, certfile, keyfile = (made.get(f"ssl_{name}file") for name in ("ca", "cert", "key"))
    try:
        if cafile:
            trusted.load_verify_locations(cafile)
        else:
            trusted.load_default_certs()
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(
            f"KAFKA_SSL_CAFILE={cafile}: {_reason(error)}: it must contain CA certificates as PEM"
        ) from None
    if certfile and keyfile:
        # Without a password OpenSSL would ask the terminal for one.
        password = made.get("ssl_password") or ""
        try:
            trusted.load_cert_chain(certfile, keyfile, lambda: password)
        except (OSError, ValueError) as error:
            raise ImproperlyConfigured(
                f"KAFKA_SSL_CERTFILE={certfile}, KAFKA_SSL_KEYFILE={keyfile}: {_reason(error)}: they "
                "must contain our certificate and its key as PEM; an encrypted key needs "
                "KAFKA_SSL_KEY_PASSWORD"
            ) from None
    return trusted


def _reason(error: Exception) -> str:
    """The library's short reason; its whole text may contain what was read."""
    said = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(said or type(error).__name__)


def refusal(error: BaseException | None) -> KafkaRefuses | None:
    """Why Kafka refused a connection, and what to do; None if Kafka is only unavailable."""
    if isinstance(error, _NOT_US):
        return KafkaRefuses(f"{LOGIN}: {_said(error)}")
    if isinstance(error, _HandshakeFailed):
        error = error.args[0]
    elif isinstance(error, KafkaConnectionError) and error.args:
        error = error.args[0]  # TLS 1.3 tells that it wants a certificate after the handshake
    if isinstance(error, ssl.SSLCertVerificationError):
        return KafkaRefuses(CERTIFICATE.format(error.verify_message))
    if isinstance(error, ssl.SSLError):
        return KafkaRefuses(TLS.format(_reason(error)))
    return None


def _said(error: BaseException) -> str:
    return str(error)[:SAID_MAX]


class Client(KafkaNetClient):  # type: ignore[misc] # kafka-python has no types
    """kafka-python's client, with our connection manager."""

    def __init__(self, **configs: Any) -> None:
        net = NetworkSelector(**configs)
        super().__init__(net, _Manager(net, **configs), **configs)


class _Manager(KafkaConnectionManager):  # type: ignore[misc] # kafka-python has no types
    """Ends a TLS handshake that does not end, and a bootstrap once every server has refused it. Asks the
    bootstrap servers again where no broker that it knows can be reached."""

    def __init__(self, net: NetworkSelector, **configs: Any) -> None:
        super().__init__(net, **configs)
        self._refused: dict[Any, KafkaRefuses] = {}

    def least_loaded_node(self) -> Any:
        """Whom to ask for metadata and coordinators: kafka-python's choice; but a bootstrap server where
        the last connection to every broker failed.

        All brokers may have come back at other addresses, to which the name of a bootstrap server leads.
        kafka-python asks it once, when it is made, and then tries the old addresses for ever (KIP-899).
        """
        known = [broker.node_id for broker in self.cluster.brokers()]
        if known and all(node in self._backoff for node in known):
            for server in self.cluster.bootstrap_brokers():
                if not self.connection_delay(server.node_id):
                    return server.node_id
        return super().least_loaded_node()

    async def _do_bootstrap(self, deadline: float | None) -> Any:
        self._refused.clear()
        self._auth_failures.clear()
        try:
            return await super()._do_bootstrap(deadline)
        except KafkaTimeoutError as error:
            raise next(iter(self._refused.values()), error) from None

    async def _connect(self, node: Any, conn: Any, *args: Any, **how: Any) -> None:
        is_first = self.broker_version_data is None
        await super()._connect(node, conn, *args, **how)
        error = conn.init_future.exception
        refused = refusal(error)
        if error and not refused and is_first and conn.sasl_enabled and conn.broker_version_data:
            # kafka-python drops the broker's last words where they come together with the end.
            refused = KafkaRefuses(f"{LOGIN}: it closed the connection")
        if refused is None or not self.cluster.is_bootstrap(node.node_id):
            return
        self._refused[node.node_id] = refused
        if self._refused.keys() >= {each.node_id for each in self.cluster.bootstrap_brokers()}:
            # A bootstrap that finds one of these raises it, rather than try on until its time is over.
            self._auth_failures.update(self._refused)

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        if not self.ssl_enabled:
            return await super()._build_transport(node, timeout_at=timeout_at)
        sock = await create_connection(
            self._net, node.host, node.port, self.config["socket_options"], timeout_at=timeout_at
        )
        context = self.config["ssl_context"]
        transport = _Transport(self._net, sock, host=node.host, ssl_context=context)
        try:
            await transport.shake_hands(timeout_at)
        except (OSError, KafkaTimeoutError) as error:
            transport.abort(error)
            raise _HandshakeFailed(error) from None
        return transport


class _HandshakeFailed(KafkaConnectionError):  # type: ignore[misc] # kafka-python has no types
    """The TLS handshake with Kafka failed; the argument is the error."""


class _Transport(KafkaSSLTransport):  # type: ignore[misc] # kafka-python has no types
    async def shake_hands(self, timeout_at: float | None) -> None:
        """Does the TLS handshake. Raises KafkaTimeoutError at `timeout_at` (monotonic seconds)."""
        while True:
            try:
                self._sock.do_handshake()
            except ssl.SSLWantReadError:
                await self._net.wait_read(self._sock, timeout_at)
            except ssl.SSLWantWriteError:
                await self._net.wait_write(self._sock, timeout_at)
            else:
                return
