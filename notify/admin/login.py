"""The address of a client that logs in to the admin, and the page after too many failed logins."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import ceil
from typing import Any, Final

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

_TEMPLATE: Final = "admin/notify/locked_out.html"


def client_address(request: HttpRequest) -> str | None:
    """The address that the outermost of our NOTIFY_PROXIES proxies saw; of IPv6 its /64, since who has
    one address has them all.

    Each proxy adds to the right of NOTIFY_ADDRESS_HEADER whom it saw, so what a client writes there itself
    is further left than we look. A header that is too short or no address was not written by our
    proxies: the address that connected to us counts then.
    """
    listed = request.headers.get(settings.NOTIFY_ADDRESS_HEADER, "").split(",")
    proxies = settings.NOTIFY_PROXIES
    seen = _address(listed[-proxies]) if 0 < proxies <= len(listed) else None
    found = seen or _address(request.META.get("REMOTE_ADDR", ""))
    if isinstance(found, IPv6Address):
        found = ip_network((found, 64), strict=False).network_address
    return None if found is None else str(found)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip())
    except ValueError:
        return None


def locked_out(
    request: HttpRequest, response: HttpResponse | None = None, credentials: Any = None
) -> HttpResponse:
    """The answer after too many failed logins: 429, with a page that says when to try again."""
    wait_s = settings.NOTIFY_LOGIN_COOLOFF_S
    context = {
        **admin.site.each_context(request),
        "title": "Too many failed logins",
        "failures": settings.NOTIFY_LOGIN_FAILURES,
        "minutes": ceil(wait_s / 60),
    }
    page = render(request, _TEMPLATE, context, status=429)
    page["Retry-After"] = str(wait_s)
    return page
