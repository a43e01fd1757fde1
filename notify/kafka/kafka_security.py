"""How we speak to Kafka: in the clear or in TLS, and as whom.

One pure function makes the arguments of producer, consumer and admin client alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class Security:
    """The settings of the connection to Kafka. An empty text means unset."""

    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    key_password: str = field(default="", repr=False)
    check_hostname: bool = True


def arguments(security: Security) -> dict[str, Any]:
    """kafka-python's arguments; none for PLAINTEXT.

    Raises ImproperlyConfigured where the settings contradict each other: a setting that would have no
    effect is a mistake too, since who sets a password believes that it is asked for.
    """
    given = security
    if given.protocol not in PROTOCOLS:
        raise _wrong(
            f"KAFKA_SECURITY_PROTOCOL={given.protocol!r}",
            f"set it to one of {', '.join(PROTOCOLS)}",
        )
    made: dict[str, Any] = {}
    if given.protocol != "PLAINTEXT":
        made["security_protocol"] = given.protocol
    return made | _sasl(given) | _tls(given)


def _sasl(given: Security) -> dict[str, Any]:
    named = {
        "KAFKA_SASL_MECHANISM": given.mechanism,
        "KAFKA_SASL_USERNAME": given.username,
        "KAFKA_SASL_PASSWORD": given.password,
    }
    if not given.protocol.startswith("SASL_"):
        _refuse_idle(named, given.protocol, "SASL_SSL (or SASL_PLAINTEXT)")
        return {}
    missing = [name for name, value in named.items() if not value]
    if missing:
        raise _wrong(
            f"KAFKA_SECURITY_PROTOCOL={given.protocol} without {' and '.join(missing)}", "set them"
        )
    if given.mechanism not in MECHANISMS:
        raise _wrong(
            f"KAFKA_SASL_MECHANISM={given.mechanism!r}", f"set it to one of {', '.join(MECHANISMS)}"
        )
    return {
        "sasl_mechanism": given.mechanism,
        "sasl_plain_username": given.username,
        "sasl_plain_password": given.password,
    }


def _tls(given: Security) -> dict[str, Any]:
    named = {
        "KAFKA_SSL_CAFILE": given.cafile,
        "KAFKA_SSL_CERTFILE": given.certfile,
        "KAFKA_SSL_KEYFILE": given.keyfile,
        "KAFKA_SSL_KEY_PASSWORD": given.key_password,
        "KAFKA_SSL_CHECK_HOSTNAME=0": not given.check_hostname,
    }
    if not given.protocol.endswith("SSL"):
        _refuse_idle(named, given.protocol, "SSL or SASL_SSL")
        return {}
    if bool(given.certfile) != bool(given.keyfile):
        raise _wrong(
            "of KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE one is set and one is not",
            "set both, or none to show Kafka no certificate of ours",
        )
    if given.key_password and not given.keyfile:
        raise _wrong("KAFKA_SSL_KEY_PASSWORD is set and KAFKA_SSL_KEYFILE is not", "set both")
    return {
        "ssl_check_hostname": given.check_hostname,
        "ssl_cafile": given.cafile or None,
        "ssl_certfile": given.certfile or None,
        "ssl_keyfile": given.keyfile or None,
        "ssl_password": given.key_password or None,
    }


def _refuse_idle(named: Mapping[str, Any], protocol: str, wanted: str) -> None:
    idle = [name for name, value in named.items() if value]
    if idle:
        raise _wrong(
            f"{', '.join(idle)} would have no effect with KAFKA_SECURITY_PROTOCOL={protocol}",
            f"set that to {wanted}, or take these away",
        )


def _wrong(what: str, remedy: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{what}: {remedy}")
