"""System checks of the settings, which run before a process starts."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured

from notify.domain.engine.lanes import LANES_MAX
from notify.domain.engine.stream import dead_letters_max
from notify.kafka import kafka_client
from notify.security import required_secrets


@register(Tags.security, deploy=True)
def secrets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Checks that production has its own secrets. Web refuses to start without them, too."""
    found: list[CheckMessage] = []
    missing = required_secrets.missing("web")
    if "NOTIFY_SECRET_KEY" in missing:
        found.append(
            Error(
                "The secret key is missing, or it is the one for development.",
                hint="Set NOTIFY_SECRET_KEY.",
                id="notify.E001",
            )
        )
    if "NOTIFY_KEY_PEPPER" in missing:
        found.append(
            Error(
                "App keys are hashed without a pepper.",
                hint="Set NOTIFY_KEY_PEPPER.",
                id="notify.E002",
            )
        )
    return found


@register(Tags.security, deploy=True)
def passwords_on_the_wire(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Checks that no password is sent unencrypted, or to a server whose certificate is not checked."""
    found: list[CheckMessage] = []
    kafka = settings.KAFKA_SECURITY
    if kafka.get("security_protocol") == "SASL_PLAINTEXT" and kafka["sasl_mechanism"] == "PLAIN":
        found.append(
            Error(
                "Kafka's password is sent unencrypted.",
                hint="Set KAFKA_SECURITY_PROTOCOL=SASL_SSL, or a KAFKA_SASL_MECHANISM of SCRAM.",
                id="notify.E005",
            )
        )
    if kafka.get("ssl_check_hostname") is False:
        found.append(
            Error(
                "Kafka's host name is not checked: any host with a certificate of the CA can pretend "
                "to be Kafka.",
                hint="Unset KAFKA_SSL_CHECK_HOSTNAME, and name in KAFKA_BOOTSTRAP_SERVERS (and in the "
                "brokers' advertised.listeners) the hosts of their certificates.",
                id="notify.E006",
            )
        )
    if _unchecked(settings.REDIS_URL):
        found.append(
            Error(
                "Redis's certificate is not checked.",
                hint="Remove ssl_cert_reqs and ssl_check_hostname from REDIS_URL; ssl_ca_certs=FILE "
                "names the CA.",
                id="notify.E007",
            )
        )
    return found


def _unchecked(url: str) -> bool:
    given = parse_qs(urlsplit(url).query)
    wanted = given.get("ssl_cert_reqs", ["required"])[-1].lower().removeprefix("cert_")
    is_named = given.get("ssl_check_hostname", ["true"])[-1].lower() != "false"
    return wanted != "required" or not is_named


@register(Tags.security)
def kafka_files(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Checks that the certificates in the settings can be read and used."""
    if not settings.KAFKA_SECURITY.get("security_protocol", "").endswith("SSL"):
        return []
    try:
        kafka_client.context(settings.KAFKA_SECURITY)
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="Mount the file, as PEM.", id="notify.E008")]
    return []


@register()
def limits(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Checks that limits do not contradict each other."""
    found: list[CheckMessage] = []
    if settings.NOTIFY_LANES > LANES_MAX:
        found.append(
            Error(
                f"NOTIFY_LANES is over {LANES_MAX}, the queues that workers listen on.",
                hint=f"Set it to at most {LANES_MAX}.",
                id="notify.E003",
            )
        )
    if settings.NOTIFY_CHUNK_MESSAGES > settings.NOTIFY_WINDOW_OFFSETS:
        found.append(
            Error(
                "A chunk is larger than the window.",
                hint="Set NOTIFY_CHUNK_MESSAGES to at most NOTIFY_WINDOW_OFFSETS.",
                id="notify.E004",
            )
        )
    most = dead_letters_max(settings.NOTIFY_WINDOW_OFFSETS)
    if min(settings.NOTIFY_CHUNK_MESSAGES, settings.NOTIFY_SHORT_CHUNK_MESSAGES) <= most:
        found.append(
            CheckWarning(
                f"A chunk holds no more than {most} messages, so a flood of invalid ones halts no stream.",
                hint=f"Set NOTIFY_CHUNK_MESSAGES and NOTIFY_SHORT_CHUNK_MESSAGES to more than {most}, 1 % of "
                "NOTIFY_WINDOW_OFFSETS, or reduce NOTIFY_WINDOW_OFFSETS.",
                id="notify.W001",
            )
        )
    return found
