"""Request bodies: read within a bound, and parsed as the JSON that we accept."""

import json
from typing import Any, Final

from django.http import HttpRequest

from notify.domain.update import DEPTH_MAX
from notify.web.answers import Refused

_CUT: Final = "the body ended before its announced length"


def read_object(request: HttpRequest, *, bytes_max: int) -> dict[str, Any]:
    """The JSON object in the body. Raises Refused 413 for a longer body, of which at most one byte
    more than the limit is read, and 400 for anything that is not one plain JSON object."""
    try:
        fields = _DECODER.decode(_read(request, bytes_max).decode())
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {_short(error)}") from None
    if not isinstance(fields, dict):
        raise Refused(400, "the body must be a JSON object")
    if _depth_exceeds(fields, DEPTH_MAX):
        raise Refused(400, f"the body is nested deeper than {DEPTH_MAX} levels")
    return fields


def _read(request: HttpRequest, bytes_max: int) -> bytes:
    if request.META.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise Refused(400, "Content-Encoding is not supported: send the body as it is")
    length = request.META.get("CONTENT_LENGTH") or ""
    if length and not (length.isascii() and length.isdecimal()):
        raise Refused(400, "Content-Length is not a number")
    wanted = bytes_max + 1
    if length:
        wanted = int(length)
        if wanted > bytes_max:
            raise _too_large(bytes_max)
    elif not request.META.get("wsgi.input_terminated"):
        return b""
    body = _read_up_to(request, wanted)
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    if length and len(body) < wanted:
        raise Refused(400, _CUT)
    return body


def _read_up_to(request: HttpRequest, wanted: int) -> bytes:
    """`wanted` bytes, or fewer where the body ends before (one without a length is chunked)."""
    stream = request.META["wsgi.input"]
    parts: list[bytes] = []
    try:
        while wanted > 0 and (part := stream.read(wanted)):
            parts.append(part)
            wanted -= len(part)
    except OSError:
        raise Refused(400, _CUT) from None
    return b"".join(parts)


def _too_large(bytes_max: int) -> Refused:
    return Refused(413, f"the body is larger than {bytes_max} bytes")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


_DECODER: Final = json.JSONDecoder(
    parse_constant=_no_constant, object_pairs_hook=_without_duplicates
)


def _depth_exceeds(value: dict[str, Any] | list[Any], most: int) -> bool:
    """Whether objects and lists are nested more than `most` deep; stops there."""
    if most == 0:
        return True
    inner = value.values() if isinstance(value, dict) else value
    return any(_depth_exceeds(each, most - 1) for each in inner if isinstance(each, (dict, list)))


def _short(error: BaseException) -> str:
    """The parser's words without what it quotes of the body."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)[:100]
