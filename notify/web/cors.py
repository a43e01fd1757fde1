"""Browsers on other sites may call the API: the web SDK runs on its customers' pages.

No call is made by cookie, so any origin is welcome and none gets credentials: what a page can do here,
anybody can.
"""

from typing import Final

from django.http import HttpRequest, HttpResponse

from notify.web import answers

_METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
#: For a browser that does not say which it wants to send.
_HEADERS: Final = "authorization, content-type, idempotency-key, sdk-version"
#: Seconds that a browser may remember the answer; browsers have limits of their own.
MAX_AGE_S: Final = 86_400


def preflight(request: HttpRequest) -> HttpResponse | None:
    """The answer to a browser's question whether it may call; None for any other request."""
    if request.method != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in request.META:
        return None
    response = answers.ok({})
    wanted = request.META.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", _HEADERS)
    response["Access-Control-Allow-Methods"] = _METHODS
    response["Access-Control-Allow-Headers"] = wanted if _is_plain(wanted) else _HEADERS
    response["Access-Control-Max-Age"] = str(MAX_AGE_S)
    return allow(request, response)


def allow(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The same response, which a page of another origin may read."""
    if "HTTP_ORIGIN" in request.META:
        response["Access-Control-Allow-Origin"] = "*"
        response["Access-Control-Expose-Headers"] = "Retry-After"
    return response


def _is_plain(names: str) -> bool:
    return len(names) <= 1_000 and all(char.isalnum() or char in "-_, " for char in names)
