"""Input number `n` of a seed: a request, or a Kafka message. It depends on nothing else, but for the
app's key, which each process makes."""

import gzip
import json
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from notify.domain.records.ids import alias_id
from notify.domain.records.update import UPDATE_BYTES_MAX
from notify.security.keys import make_key
from notify.web.openapi import requests
from tests.fake_web import APP, DISABLED_APP, STRICT_APP
from tests.qa.fuzz.mutate import VALUES, Mutator
from tests.qa.fuzz.operations import Operation, described, operations

#: Of 100 inputs, so many are Kafka messages.
MESSAGES_PERCENT = 35
_BOMB = gzip.compress(b" " * 20_000_000)
_TRACES = ("", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-00-00-00", "\xff")
_USER = alias_id(APP, "user", "external_id", "u1")

#: Messages as web writes them, of every form.
MESSAGES: tuple[dict[str, Any], ...] = tuple(
    {"v": 1, "message_id": "m", "app": APP, "record": requests.PLAYER, "at": 1_700_000_000_000} | more
    for more in (
        {"op": "update", "patch": {"=": {"tags.a": "b"}}},
        {
            "op": "update",
            "kind": "push",
            "patch": {
                "=": {"tags.a": 1.5, "properties.language": "de", "identifier": "t"},
                "-": ["tags.b", "properties.email"],
                "?": {"properties.country": "DE"},
                "+": {"session_count": 1, "spent_micros": 4_990_000},
            },
            "links": {"email": requests.PARENT, "sms": None, "user": _USER},
            "aliases": {"token": "t"},
            "once": True,
        },
        {"op": "update", "kind": "user", "record": _USER, "aliases": {"external_id": "u1", "crm": None}},
        {"op": "update", "kind": "user", "owner": True, "aliases": {"crm": "7"}},
        {"op": "update", "only": True, "patch": {"+": {"session_time_s": 60}}},
        {"op": "delete"},
        {"op": "detach"},
        {"op": "delete", "only": True},
    )
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What is sent to the web application. `asked` is the operation that it started as; `is_as_asked`
    says that method and path are still those."""

    asked: Operation
    is_as_asked: bool
    method: str
    path: str
    query: str
    body: bytes
    environ: dict[str, Any] = field(default_factory=dict)


@cache
def key() -> tuple[str, str]:
    """The key of all apps here, and its digest."""
    secret, _, digest = make_key()
    return secret, digest


@cache
def _operations() -> tuple[list[Operation], list[int]]:
    found = operations()
    return found, [8 if each.schema else 1 for each in found]


@cache
def mutator() -> Mutator:
    """With every name that the document has for a field, and those of messages."""
    names: set[str] = {
        *("v", "op", "at", "app", "record", "kind", "patch", "links", "aliases"),
        *"=-?+",
    }

    def collect(schema: Any) -> None:
        if isinstance(schema, dict):
            names.update(schema.get("properties", {}))
            for each in schema.values():
                collect(each)
        elif isinstance(schema, list):
            for each in schema:
                collect(each)

    collect(described()["components"])
    names.update(("tags.a", "properties.a", "identifier", "session_count", "once", "only", "owner"))
    return Mutator(sorted(map(str, names)))


def made(seed: int, number: int) -> Request | bytes:
    """The input: a request, or the value of a Kafka message."""
    rng = random.Random((seed << 48) + number)
    if rng.randrange(100) < MESSAGES_PERCENT:
        return _message(rng)
    return _request(rng)


def _message(rng: random.Random) -> bytes:
    value = mutator().json(rng, rng.choice(MESSAGES))
    if rng.random() < 0.01:
        value = value[:-1] + b" " * rng.randrange(UPDATE_BYTES_MAX + 2 - len(value)) + value[-1:]
    return value


def _request(rng: random.Random) -> Request:
    known, weights = _operations()
    (asked,) = rng.choices(known, weights)
    app = rng.choices((APP, STRICT_APP, DISABLED_APP, APP.upper()), (90, 5, 1, 4))[0]
    path, _, query = asked.path(app).partition("?")
    method, is_as_asked = asked.method, True
    if rng.random() < 0.1:
        path, is_as_asked = _path(rng, path), False
    if rng.random() < 0.02:
        method = rng.choice(
            ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY", "x")
        )
        is_as_asked = is_as_asked and method == asked.method
    if query and rng.random() < 0.3:
        query = mutator().bytes(rng, query.encode()).decode("latin-1")
    body = b""
    if asked.schema is not None:
        body = mutator().json(rng, asked.json(app))
    elif rng.random() < 0.2:
        body = mutator().json(rng, rng.choice(VALUES))
    environ = _headers(rng) | environ_of(asked)
    body = _coded(rng, body, environ)
    _length(rng, body, environ)
    return Request(asked, is_as_asked, method, path, query, body, environ)


def environ_of(asked: Operation) -> dict[str, str]:
    """The headers that the operation needs, as WSGI has them."""
    return {f"HTTP_{name.upper().replace('-', '_')}": each for name, each in asked.headers.items()}


def _path(rng: random.Random, path: str) -> str:
    """Another path; WSGI has its bytes as Latin-1."""
    if rng.random() < 0.5:
        parts = path.split("/")
        parts[rng.randrange(len(parts))] = str(rng.choice(VALUES))[:300]
        raw = "/".join(parts).encode(errors="surrogatepass")
    else:
        raw = mutator().bytes(rng, path.encode())
    return "/" + raw.decode("latin-1").lstrip("/")


def _headers(rng: random.Random) -> dict[str, Any]:
    secret, _ = key()
    environ: dict[str, Any] = {}
    given = rng.choices(
        (
            f"Key {secret}",
            f"Basic {secret}",
            "",
            "Key",
            "Bearer a.b.c",
            f"Key {secret}x",
            "Digest a",
            "\xff",
        ),
        (70, 5, 15, 2, 2, 2, 2, 2),
    )[0]
    if given:
        environ["HTTP_AUTHORIZATION"] = given
    if rng.random() < 0.15:
        environ["HTTP_IDEMPOTENCY_KEY"] = rng.choice(
            ("k", "x" * 100, "x" * 101, "", " ", "\x7f", "\xe9")
        )
    if rng.random() < 0.1:
        environ["HTTP_TRACEPARENT"] = rng.choice(_TRACES)
    if rng.random() < 0.1:
        environ["HTTP_IF_NONE_MATCH"] = rng.choice(('"x"', "*", "", '"' * 300))
    if rng.random() < 0.1:
        environ["CONTENT_TYPE"] = rng.choice(
            ("", "text/plain", "application/json; charset=x", "multipart/form-data", "\xff")
        )
    return environ


def _coded(rng: random.Random, body: bytes, environ: dict[str, Any]) -> bytes:
    """The body in some coding, sometimes not the one that it says."""
    chance = rng.random()
    if chance > 0.1:
        return body
    environ["HTTP_CONTENT_ENCODING"] = "gzip"
    if chance < 0.0005:
        return _BOMB
    if chance < 0.005:
        environ["HTTP_CONTENT_ENCODING"] = rng.choice(
            ("br", "deflate", "gzip, gzip", "GZIP", "", "x" * 99)
        )
        return body
    if chance < 0.01:
        return body
    packed = gzip.compress(body, rng.choice((1, 9)), mtime=0)
    if chance < 0.05:
        packed = mutator().bytes(rng, packed)
    elif chance < 0.055:
        packed += packed
    return packed


def _length(rng: random.Random, body: bytes, environ: dict[str, Any]) -> None:
    """How the body's end is told: its length, mostly the right one, or by the server (chunks)."""
    chance = rng.random()
    if chance < 0.05:
        environ["wsgi.input_terminated"] = True
    elif chance < 0.07:
        environ["CONTENT_LENGTH"] = rng.choice(
            ("", "0", "-1", "x", "1e3", "\u00b2", str(len(body) + 1), str(len(body) // 2), "9" * 30)
        )
    else:
        environ["CONTENT_LENGTH"] = str(len(body))


def as_text(given: Request | bytes) -> str:
    """The input for a person to read."""
    if isinstance(given, bytes):
        return f"a Kafka message of {len(given)} bytes: {given[:1500]!r}"
    headers = json.dumps({name: str(value)[:200] for name, value in given.environ.items()})
    where = f"{given.method} {given.path[:500]!r} {given.query[:300]!r} (from {given.asked.name})"
    return f"{where}\nheaders {headers}\nbody of {len(given.body)} bytes: {given.body[:1500]!r}"
