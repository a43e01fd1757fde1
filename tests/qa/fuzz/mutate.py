"""Bytes that are nearly good: changed as JSON, then as bytes. All from one seeded generator."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

#: Pieces of JSON at the edges of what parsers take.
TOKENS = (
    b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0", b"-0.0", b"1E400", b"0.1e-400",
    b"9007199254740993", b"99999999999999999999999", b"2147483648", b"9" * 400, b'""', b'"\\u0000"',
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf", b"\0",
    b"[" * 40, b'{"a":' * 12, b"[]", b"{}", b'{"a":1,"a":2}', b'"\\x"', b"'", b"//", b"/**/", b",",
    b":", b"}", b"]", b'"', b"\\", b"\r\n", b"\t", b"\xc2\xa0", b"\xe2\x80\xa8", b"+1", b"01", b".5",
)  # fmt: skip
#: Values for a place in a body.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 1.0, -0.0, 1e300, 5e-324, 2**31, 2**53 + 1, -(2**53), 10**30,
    "", " ", "\0", "a\0", "\u00e9", "\ud800", "\U0001f600", "\u0130" * 700, "\u212a", "x" * 128,
    "x" * 129, "x" * 1024, "x" * 1025, "x" * 5000, "%00", "NaN", "1e9999999999", "1e-9999999999",
    "-0", "1_0", "\u0661", "sNaN", "Infinity", "+1", "email", "Email", "onesignal_id", "alias:x",
    "3A9F1F60-5A0F-4C59-9D2A-0F7D4F3F0B01", "3a9f1f60-5a0f-8c59-9d2a-0f7d4f3f0b01",
    "{3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01}", "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01\n",
    [], [[]], [[[[[[[[[]]]]]]]]], {}, {"a": {}}, {"": 1}, {"a": [1]}, [None], [{}], [{}] * 101,
)  # fmt: skip


class Mutator:
    """Changes of good bodies. `keys` are the names that mean something somewhere."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys

    def json(self, rng: random.Random, good: Any) -> bytes:
        """`good` with some changes, mostly still JSON."""
        value = copy.deepcopy(good)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            value = self._changed(rng, value)
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
        raw = text.encode(errors="surrogatepass")
        return self.bytes(rng, raw) if rng.random() < 0.3 else raw

    def bytes(self, rng: random.Random, raw: bytes) -> bytes:
        """`raw` with some bytes changed."""
        data = bytearray(raw)
        for _ in range(rng.choice((1, 1, 2, 4))):
            rng.choice(_BYTE_CHANGES)(rng, data)
        return bytes(data)

    def _changed(self, rng: random.Random, root: Any) -> Any:
        """One change of a place somewhere in `root`."""
        places = list(_places(root))
        if not places:
            return _value(rng)
        holder, key = rng.choice(places)
        change = rng.randrange(7)
        if change <= 2:
            holder[key] = _value(rng)
        elif change == 3:
            del holder[key]
        elif change == 4:
            other, other_key = rng.choice(places)
            if other_key in other if isinstance(other, dict) else other_key < len(other):
                holder[key] = copy.deepcopy(other[other_key])
        elif isinstance(holder, dict):
            name = rng.choice(self._keys) if rng.random() < 0.8 else str(_value(rng))
            holder[name] = _value(rng) if change == 5 else holder.pop(key)
        else:
            holder.extend(copy.deepcopy(holder[key]) for _ in range(rng.choice((1, 2, 30))))
        return root


def _value(rng: random.Random) -> Any:
    value = rng.choice(VALUES)
    return copy.deepcopy(value) if isinstance(value, (dict, list)) else value


def _places(value: Any) -> Any:
    """Every (object or list, key) in it."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _cut(rng: random.Random, data: bytearray) -> None:
    first = rng.randrange(len(data) + 1)
    del data[first : first + rng.choice((1, 2, 8, len(data)))]


def _token(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at : at + rng.choice((0, 0, 1, 4))] = rng.choice(TOKENS)


def _twice(rng: random.Random, data: bytearray) -> None:
    first = rng.randrange(len(data) + 1)
    part = data[first : first + rng.randrange(1, 40)]
    data[first:first] = part * rng.choice((1, 1, 2, 50))


_BYTE_CHANGES: Sequence[Callable[[random.Random, bytearray], None]] = (
    _flip,
    _byte,
    _cut,
    _token,
    _token,
    _twice,
)
