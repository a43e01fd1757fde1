"""Builds answers in the form that all clients accept: always a JSON object with its content type.

Errors are `{"errors": [...], "request_id": ...}`. Clients retry some statuses for ever, so only these are
used: 400, 401, 403, 404, 409, 413, 429, and 503 with an integer Retry-After; never 201, 204, 405 or 422.
"""

import json
from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec
from django.http import HttpResponse

from notify.web.http.answer_bodies import Error, Results

_CONTENT_TYPE = "application/json"
#: Built once: `json.dumps` with an option builds an encoder a call.
_JSON = json.JSONEncoder(separators=(",", ":"), default=msgspec.to_builtins)
_ALWAYS = {"X-Content-Type-Options": "nosniff"}


class ErrorDetails(TypedDict, total=False):
    """The fields of an `Error` body that only some errors have."""

    results: Results
    limit: str


class Refused(Exception):
    """The request is refused: the status, what to do next, and headers of the answer."""

    def __init__(
        self,
        status: int,
        *errors: str,
        headers: Mapping[str, str] | None = None,
        details: ErrorDetails | None = None,
    ) -> None:
        super().__init__(*errors)
        self.status = status
        self.errors = errors
        self.headers = headers or {}
        self.details: ErrorDetails = details or {}


def busy(reason: str, *, retry_after_s: int) -> Refused:
    """A 503: the request is valid and can be sent again after `retry_after_s` seconds."""
    return Refused(503, reason, headers={"Retry-After": str(retry_after_s)})


def ok(body: msgspec.Struct | Mapping[str, Any], status: int = 200) -> HttpResponse:
    """The answer to a request that did what it asked."""
    return HttpResponse(encoded(body), status=status, content_type=_CONTENT_TYPE, headers=_ALWAYS)


def refusal(refused: Refused, request_id: str) -> HttpResponse:
    """The answer to a refused request."""
    body = Error(errors=list(refused.errors), request_id=request_id, **refused.details)
    return HttpResponse(
        encoded(body),
        status=refused.status,
        content_type=_CONTENT_TYPE,
        headers=_ALWAYS | dict(refused.headers),
    )


def encoded(body: msgspec.Struct | Mapping[str, Any]) -> bytes:
    """The body as JSON."""
    return _JSON.encode(body).encode()
