"""Who is told of alerts, checked when a process starts. No error holds what it refuses: there may be
a password in it."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_WANTED: Final = (
    "NOTIFY_EMAIL_URL: give smtp://, smtp+starttls:// or smtps://, then USER:PASSWORD@HOST:PORT, special "
    "characters in it as %40"
)

#: How the receiver of a URL knows us instead.
_KNOWN_BY: Final = {
    "NOTIFY_ALERT_WEBHOOK_URL": ": the receiver knows us by NOTIFY_ALERT_WEBHOOK_SECRET"
}


class MailServer(NamedTuple):
    """What Django's EMAIL_... settings get, in their order. An empty host: there is none."""

    host: str
    port: int
    user: str
    password: str
    use_tls: bool
    use_ssl: bool


def mail_server(url: str) -> MailServer:
    """Of NOTIFY_EMAIL_URL. Raises ImproperlyConfigured."""
    if not url:
        return MailServer("", 25, "", "", use_tls=False, use_ssl=False)
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise ImproperlyConfigured(_WANTED) from None
    if (
        parts.scheme not in _PORTS
        or not parts.hostname
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise ImproperlyConfigured(_WANTED)
    return MailServer(
        parts.hostname,
        port,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        use_tls=parts.scheme == "smtp+starttls",
        use_ssl=parts.scheme == "smtps",
    )


def checked_url(name: str, url: str) -> str:
    """The URL, if something can be posted to it; empty is none. `name` is the setting's. Raises
    ImproperlyConfigured."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if url and (not is_good or "@" in parts.netloc or not url.isascii() or url.split() != [url]):
        raise ImproperlyConfigured(
            f"{name}: give http:// or https:// and a host, and no user or password"
            f"{_KNOWN_BY.get(name, '')}"
        )
    return url


def checked_emails(addresses: Sequence[str], server: MailServer) -> list[str]:
    """The addresses, if mail can go to them. Raises ImproperlyConfigured."""
    given = [address for address in addresses if address]
    if given and not server.host:
        raise ImproperlyConfigured("NOTIFY_ALERT_EMAILS is set, NOTIFY_EMAIL_URL is not: set both")
    for address in given:
        try:
            validate_email(address)
        except ValidationError:
            raise ImproperlyConfigured(
                f"NOTIFY_ALERT_EMAILS={address!r}: give e-mail addresses, comma-separated"
            ) from None
    return given
