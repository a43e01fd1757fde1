"""Counts failed logins to the admin, and resets some counts after a successful login."""

from datetime import timedelta
from typing import Any

from axes.helpers import get_client_ip_address, get_client_username
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.utils import timezone


def counted_by(request: HttpRequest, credentials: dict[str, Any] | None = None) -> list[str]:
    """What may lock this login: failures from its address, and failures to its user name.

    Not those to the name if its user has logged in from this address in the last
    NOTIFY_LOGIN_KNOWN_DAYS: root logs in from 192.0.2.1; a stranger at 203.0.113.9 fails five times as
    root; then root is locked at 198.51.100.7, and not at 192.0.2.1.
    """
    is_known = AccessLog.objects.filter(
        username=get_client_username(request, credentials),
        ip_address=get_client_ip_address(request),
        attempt_time__gte=timezone.now() - timedelta(days=settings.NOTIFY_LOGIN_KNOWN_DAYS),
    ).exists()
    return ["ip_address"] if is_known else ["ip_address", "username"]


def end_count(request: HttpRequest, user: AbstractBaseUser, **_: Any) -> None:
    """A login that succeeds ends the count of its own failures: to its user name, from its address.

    Failures to other names stay, or an account of one's own would buy more guesses at others. So do
    failures from other addresses, or each login of the user would buy a stranger more guesses.
    """
    AccessAttempt.objects.filter(
        username=user.get_username(), ip_address=get_client_ip_address(request)
    ).delete()
