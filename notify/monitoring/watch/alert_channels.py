"""The channels for alerts: a webhook and e-mail. Each raises NotSent if an alert was not delivered."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from email.message import Message
from http.client import HTTPException
from smtplib import SMTPException
from typing import IO, Final, Protocol
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from django.conf import settings
from django.core.mail import EmailMessage

from notify.monitoring.watch.message import DueAlert, Event, body, letter, subject
from notify.telemetry.redaction import redacted

SIGNATURE: Final = "X-Notify-Signature"
ERROR_CHARS: Final = 300


class NotSent(Exception):
    """The receiver did not accept the alert. The text says why, without addresses and secrets."""


class AlertChannel(Protocol):
    """A channel for alerts. `name` is its name in metrics and logs; `due` and `done` are the statements
    that read and write its column."""

    name: str
    due: str
    done: str

    def send(self, alert: DueAlert, event: Event) -> None:
        """Sends the event and returns when the receiver has accepted it. Raises NotSent."""


class Webhook:
    """Sends alerts as JSON by POST to NOTIFY_ALERT_WEBHOOK_URL. Any 2xx means that one was accepted."""

    name = "webhook"
    due = "due_posts"
    done = "posted"

    def __init__(self, url: str, *, secret: str, timeout_s: float, admin_url: str) -> None:
        self._url = url
        self._secret = secret.encode()
        self._timeout_s = timeout_s
        self._admin_url = admin_url

    def send(self, alert: DueAlert, event: Event) -> None:
        data = body(alert, event, admin_url=self._admin_url)
        headers = {"Content-Type": "application/json"}
        if self._secret:
            headers[SIGNATURE] = sign(data, self._secret)
        post(self._url, data, headers, timeout_s=self._timeout_s)


def post(url: str, data: bytes, headers: Mapping[str, str], *, timeout_s: float) -> None:
    """Sends a POST and returns when it is answered 2xx. Follows no redirects. Raises NotSent."""
    request = Request(url, data, {"User-Agent": "notify", **headers}, method="POST")  # noqa: S310 - settings check it
    try:
        with _OPENER.open(request, timeout=timeout_s):
            pass
    except HTTPError as error:
        with error:
            raise NotSent(f"the receiver answered {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise NotSent(_plain(error)) from None


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirects: a redirected POST becomes a GET without a body, which would count as sent."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


_OPENER: Final = build_opener(_NoRedirect)


def sign(data: bytes, secret: bytes) -> str:
    """The value of the header X-Notify-Signature: the HMAC of the body with the shared secret."""
    return "sha256=" + hmac.new(secret, data, hashlib.sha256).hexdigest()


class Mail:
    """Sends alerts as one e-mail to all of NOTIFY_ALERT_EMAILS, with Django's mail."""

    name = "email"
    due = "due_mails"
    done = "mailed"

    def __init__(self, receivers: Sequence[str], *, admin_url: str) -> None:
        self._receivers = list(receivers)
        self._admin_url = admin_url

    def send(self, alert: DueAlert, event: Event) -> None:
        mail = EmailMessage(
            subject(alert, event),
            letter(alert, event, admin_url=self._admin_url),
            to=self._receivers,
            headers={"Auto-Submitted": "auto-generated"},
        )
        try:
            mail.send()
        except (OSError, SMTPException, ValueError) as error:
            raise NotSent(_plain(error)) from None


def _plain(error: Exception) -> str:
    return redacted(f"{type(error).__name__}: {error}")[:ERROR_CHARS]


def of_settings() -> list[AlertChannel]:
    """The channels that the settings configure."""
    channels: list[AlertChannel] = []
    if settings.NOTIFY_ALERT_WEBHOOK_URL:
        channels.append(
            Webhook(
                settings.NOTIFY_ALERT_WEBHOOK_URL,
                secret=settings.NOTIFY_ALERT_WEBHOOK_SECRET,
                timeout_s=settings.NOTIFY_ALERT_TIMEOUT_S,
                admin_url=settings.NOTIFY_ADMIN_URL,
            )
        )
    if settings.NOTIFY_ALERT_EMAILS:
        channels.append(Mail(settings.NOTIFY_ALERT_EMAILS, admin_url=settings.NOTIFY_ADMIN_URL))
    return channels
