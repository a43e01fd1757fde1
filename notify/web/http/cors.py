"""Lets browsers on other sites call the API, because the web SDK runs on customers' pages.

The API uses no cookies, so any origin may call it and none gets credentials: a page can do no more than
anybody else.
"""

from typing import Final

from django.http import HttpRequest, HttpResponse

from notify.web.http import answers

_METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
#: The allowed headers for a browser that does not name those that it wants to send.
_HEADERS: Final = "authorization, content-type, idempotency-key, sdk-version"
#: How many seconds a browser may cache the answer; browsers also have limits of their own.
MAX_AGE_S: Final = 86_400


def preflight(request: HttpRequest) -> HttpResponse | None:
    """The answer to a CORS preflight request; None for any other request."""
    if request.method != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in request.META:
        return None
    response = answers.ok({})
    wanted = request.META.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", _HEADERS)
    response["Access-Control-Allow-Methods"] = _METHODS
    response["Access-Control-Allow-Headers"] = wanted if _is_plain(wanted) else _HEADERS
    response["Access-Control-Max-Age"] = str(MAX_AGE_S)
    return allow(request, response)


def allow(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Adds the header that lets pages of other origins read the response."""
    if "HTTP_ORIGIN" in request.META:
        response["Access-Control-Allow-Origin"] = "*"
        response["Access-Control-Expose-Headers"] = "Retry-After"
    return response


def _is_plain(names: str) -> bool:
    return len(names) <= 1_000 and all(char.isalnum() or char in "-_, " for char in names)
