"""Encodes the decisions of a chunk for the `plan` table, and decodes them.

The default decision ("own record only") is left out, so a chunk without links takes a few bytes. The
first byte is the version of the format: a reader that does not know it raises an error.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from notify.domain.errors import PlanUnreadable
from notify.domain.records.decide import OWN_ONLY, Decision, Reason

#: The second format has fields that few decisions need (`_RareEntry`). It is written only for chunks that
#: need it, so that during an upgrade a bridge of the earlier version can read most chunks.
FORMATS: Final = (1, 2)


class _Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One decision. `at` counts from the chunk's first offset; records are places in the chunk's list."""

    at: int
    own: int
    mirrors: list[int]
    reasons: list[tuple[str, int, int | None]]
    prior: list[tuple[str, int]]


class _RareEntry(_Entry, frozen=True, array_like=True, gc=False):
    target: int | None = None
    refused: list[str] = []
    repeated: int = 0


#: The ids of records, and the entries.
_DECODER: Final = msgspec.json.Decoder(tuple[list[str], list[_RareEntry]])


def encode(first: int, decisions: Mapping[int, Decision]) -> bytes:
    """The decisions of a chunk that starts at offset `first`, without the default ones, as bytes."""
    ids: dict[str, int] = {}

    def index(name: str) -> int:
        return ids.setdefault(name, len(ids))

    entries = [
        _entry(offset - first, decision, index)
        for offset, decision in decisions.items()
        if decision != OWN_ONLY
    ]
    body = msgspec.json.encode((list(ids), entries)) if entries else b""
    return bytes([FORMATS[any(isinstance(entry, _RareEntry) for entry in entries)]]) + body


def _entry(at: int, decision: Decision, index: Callable[[str], int]) -> _Entry:
    always = (
        at,
        int(decision.own),
        [index(parent) for parent in decision.mirrors],
        [(reason.reason, index(reason.record), reason.rule) for reason in decision.reasons],
        [(label, index(parent)) for label, parent in decision.prior],
    )
    if decision.target is None and not decision.refused and not decision.repeated:
        return _Entry(*always)
    target = None if decision.target is None else index(decision.target)
    return _RareEntry(*always, target, list(decision.refused), int(decision.repeated))


def decode(first: int, encoded: bytes) -> dict[int, Decision]:
    """The decisions by offset; an absent offset has the default decision.

    Raises PlanUnreadable for an unknown format and for invalid bytes.
    """
    if not encoded or encoded[0] not in FORMATS:
        raise PlanUnreadable(
            f"format {encoded[:1].hex() or 'none'}, this version reads {FORMATS[0]} to {FORMATS[-1]}"
        )
    if len(encoded) == 1:
        return {}
    try:
        ids, entries = _DECODER.decode(encoded[1:])
        return {first + entry.at: _decision(ids, entry) for entry in entries}
    except (msgspec.MsgspecError, UnicodeDecodeError, LookupError) as error:
        raise PlanUnreadable(f"chunk at offset {first}: {error}") from None


def _decision(ids: list[str], entry: _RareEntry) -> Decision:
    return Decision(
        own=bool(entry.own),
        mirrors=tuple(ids[parent] for parent in entry.mirrors),
        reasons=tuple(Reason(reason, ids[record], rule) for reason, record, rule in entry.reasons),
        prior=tuple((label, ids[parent]) for label, parent in entry.prior),
        target=None if entry.target is None else ids[entry.target],
        refused=tuple(entry.refused),
        repeated=bool(entry.repeated),
    )
