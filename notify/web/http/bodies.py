"""Reads request bodies up to a maximum size, and parses them as JSON."""

import json
import zlib
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest

from notify.domain.records.update import DEPTH_MAX
from notify.web.http.answers import Refused

#: zlib's wbits for data with a gzip header.
_GZIP: Final = 16 + zlib.MAX_WBITS
#: How many members a gzip body may have. Even an empty one costs some µs and a copy of the rest.
GZIP_MEMBERS_MAX: Final = 100
#: How much of an ignored body is read, and in which pieces.
DISCARDED_BYTES_MAX: Final = 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024
_CUT: Final = "the body is shorter than its Content-Length"


def read_object(request: HttpRequest, *, bytes_max: int) -> dict[str, Any]:
    """The JSON object in the body. Raises Refused 413 for a body of more than `bytes_max` bytes, of which at
    most one more is read, and 400 for anything that is not one plain JSON object."""
    try:
        fields = _DECODER.decode(_read(request, bytes_max).decode())
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {_short(error)}") from None
    if not isinstance(fields, dict):
        raise Refused(400, "the body must be a JSON object")
    _check_shape(fields)
    return fields


def discard(request: HttpRequest) -> None:
    """Reads the body and ignores it. Without this the server would close the connection while the client
    still sends, and the client would get no answer. At most DISCARDED_BYTES_MAX are read."""
    stream = request.META["wsgi.input"]
    length = request.META.get("CONTENT_LENGTH") or ""
    left = DISCARDED_BYTES_MAX
    if length.isascii() and length.isdecimal():
        left = min(left, int(length))
    elif not request.META.get("wsgi.input_terminated"):
        return
    with suppress(OSError):
        while left > 0 and (piece := stream.read(min(left, _PIECE_BYTES))):
            left -= len(piece)


def _read(request: HttpRequest, bytes_max: int) -> bytes:
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding == "gzip":
        return _inflated(_as_sent(request, bytes_max), bytes_max)
    if encoding not in ("identity", ""):
        raise Refused(400, "Content-Encoding must be gzip or absent: send the body uncompressed")
    return _as_sent(request, bytes_max)


def _inflated(packed: bytes, bytes_max: int) -> bytes:
    """Decompresses a gzip body of one or several members, up to one byte more than the maximum."""
    parts: list[bytes] = []
    room = bytes_max + 1
    while packed:
        if len(parts) == GZIP_MEMBERS_MAX:
            raise Refused(
                400,
                f"the body's gzip has more than {GZIP_MEMBERS_MAX} members: compress it in one piece",
            )
        member = zlib.decompressobj(wbits=_GZIP)
        try:
            part = member.decompress(packed, room)
        except zlib.error:
            raise Refused(400, "Content-Encoding says gzip, but the body is not gzip") from None
        room -= len(part)
        if room <= 0:
            raise _too_large(bytes_max, " when it is decompressed")
        if not member.eof:
            raise Refused(400, "the gzip body is cut off: send all of it")
        parts.append(part)
        packed = member.unused_data
    return b"".join(parts)


def _as_sent(request: HttpRequest, bytes_max: int) -> bytes:
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
    """Reads `wanted` bytes, or fewer if the body ends before. A body without a length is chunked."""
    stream = request.META["wsgi.input"]
    parts: list[bytes] = []
    try:
        while wanted > 0 and (part := stream.read(wanted)):
            parts.append(part)
            wanted -= len(part)
    except OSError:
        raise Refused(400, _CUT) from None
    return b"".join(parts)


def _too_large(bytes_max: int, how: str = "") -> Refused:
    return Refused(413, f"the body is larger than {bytes_max} bytes{how}")


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


def _check_shape(fields: dict[str, Any]) -> None:
    """Raises Refused 400 for JSON that is nested too deeply or has too many values."""
    most: int = settings.NOTIFY_BODY_MEMBERS
    members = 0
    level: list[dict[str, Any] | list[Any]] = [fields]
    for _ in range(DEPTH_MAX):
        members += sum(map(len, level))
        if members > most:
            raise Refused(400, f"the body has more than {most} values in its objects and lists")
        inner = [each for outer in level for each in _values(outer)]
        level = [each for each in inner if isinstance(each, (dict, list))]
        if not level:
            return
    raise Refused(400, f"the body is nested deeper than {DEPTH_MAX} levels")


def _values(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def _short(error: BaseException) -> str:
    """The parser's error message without its quotation of the body."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)[:100]
