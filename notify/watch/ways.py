"""The ways of telling an alert: a webhook and e-mail. Each raises NotTold where it did not get there."""

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

from notify.redaction import redacted
from notify.watch.message import Due, Event, body, letter, subject

SIGNATURE: Final = "X-Notify-Signature"
ERROR_CHARS: Final = 300


class NotTold(Exception):
    """The receiver did not take it; the text says why, without addresses and secrets."""


class Way(Protocol):
    """A way of telling; `name` stands in metrics and logs, the statements belong to its column."""

    name: str
    due: str
    done: str

    def tell(self, alert: Due, event: Event) -> None:
        """Returns once the receiver has taken it. Raises NotTold."""


class Webhook:
    """One POST of JSON to NOTIFY_ALERT_WEBHOOK_URL; any 2xx is its receipt."""

    name = "webhook"
    due = "due_posts"
    done = "posted"

    def __init__(self, url: str, *, secret: str, timeout_s: float, admin_url: str) -> None:
        self._url = url
        self._secret = secret.encode()
        self._timeout_s = timeout_s
        self._admin_url = admin_url

    def tell(self, alert: Due, event: Event) -> None:
        """Way.tell."""
        data = body(alert, event, admin_url=self._admin_url)
        headers = {"Content-Type": "application/json"}
        if self._secret:
            headers[SIGNATURE] = sign(data, self._secret)
        post(self._url, data, headers, timeout_s=self._timeout_s)


def post(url: str, data: bytes, headers: Mapping[str, str], *, timeout_s: float) -> None:
    """Returns once a POST was answered 2xx; a redirect is not followed. Raises NotTold."""
    request = Request(url, data, {"User-Agent": "notify", **headers}, method="POST")  # noqa: S310 - settings check it
    try:
        with _OPENER.open(request, timeout=timeout_s):
            pass
    except HTTPError as error:
        with error:
            raise NotTold(f"it answered {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise NotTold(_plain(error)) from None


class _NoRedirect(HTTPRedirectHandler):
    """A POST that is redirected would arrive as a GET without a body, and count as told."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


_OPENER: Final = build_opener(_NoRedirect)


def sign(data: bytes, secret: bytes) -> str:
    """What the header says of the body."""
    return "sha256=" + hmac.new(secret, data, hashlib.sha256).hexdigest()


class Mail:
    """One e-mail to all of NOTIFY_ALERT_EMAILS, by Django's mail."""

    name = "email"
    due = "due_mails"
    done = "mailed"

    def __init__(self, receivers: Sequence[str], *, admin_url: str) -> None:
        self._receivers = list(receivers)
        self._admin_url = admin_url

    def tell(self, alert: Due, event: Event) -> None:
        """Way.tell."""
        mail = EmailMessage(
            subject(alert, event),
            letter(alert, event, admin_url=self._admin_url),
            to=self._receivers,
            headers={"Auto-Submitted": "auto-generated"},
        )
        try:
            mail.send()
        except (OSError, SMTPException, ValueError) as error:
            raise NotTold(_plain(error)) from None


def _plain(error: Exception) -> str:
    return redacted(f"{type(error).__name__}: {error}")[:ERROR_CHARS]


def of_settings() -> list[Way]:
    """Those that are set."""
    ways: list[Way] = []
    if settings.NOTIFY_ALERT_WEBHOOK_URL:
        ways.append(
            Webhook(
                settings.NOTIFY_ALERT_WEBHOOK_URL,
                secret=settings.NOTIFY_ALERT_WEBHOOK_SECRET,
                timeout_s=settings.NOTIFY_ALERT_TIMEOUT_S,
                admin_url=settings.NOTIFY_ADMIN_URL,
            )
        )
    if settings.NOTIFY_ALERT_EMAILS:
        ways.append(Mail(settings.NOTIFY_ALERT_EMAILS, admin_url=settings.NOTIFY_ADMIN_URL))
    return ways
