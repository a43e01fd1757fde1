"""Encodes the decisions of a chunk for the `plan` table, and decodes them.

The default decision ("own record only") is left out, so a chunk without links takes a few bytes. The
first byte is the version of the format: a reader that does not know it raises an error.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from notify.domain.errors import PlanUnreadable
from notify.domain.records.decide import OWN_ONLY, Decision, Reason

#: The second format has fields that few decisions need (`_rare`). It is written only for chunks that need
#: it, so that during an upgrade a bridge of the earlier version can read most chunks.
FORMATS: Final = (1, 2)
#: The number of fields that every entry has.
_ALWAYS: Final = 5


def encode(first: int, decisions: Mapping[int, Decision]) -> bytes:
    """The decisions of a chunk that starts at offset `first`, without the default ones, as bytes."""
    ids: dict[str, int] = {}

    def index(name: str) -> int:
        return ids.setdefault(name, len(ids))

    entries = [
        [
            offset - first,
            int(decision.own),
            [index(parent) for parent in decision.mirrors],
            [[reason.reason, index(reason.record), reason.rule] for reason in decision.reasons],
            [[label, index(parent)] for label, parent in decision.prior],
            *_rare(decision, index),
        ]
        for offset, decision in decisions.items()
        if decision != OWN_ONLY
    ]
    body = json.dumps([list(ids), entries], separators=(",", ":")) if entries else ""
    return bytes([FORMATS[any(len(entry) > _ALWAYS for entry in entries)]]) + body.encode()


def _rare(decision: Decision, index: Callable[[str], int]) -> list[Any]:
    """The fields of an entry that few decisions need; empty if this one needs none of them."""
    target = None if decision.target is None else index(decision.target)
    if target is None and not decision.refused and not decision.repeated:
        return []
    return [target, list(decision.refused), int(decision.repeated)]


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
        ids, entries = json.loads(encoded[1:])
        return {first + entry[0]: _decision(ids, entry) for entry in entries}
    except (ValueError, TypeError, LookupError) as error:
        raise PlanUnreadable(f"chunk at offset {first}: {error}") from None


def _decision(ids: list[str], entry: list[Any]) -> Decision:
    _, own, mirrors, reasons, prior, *rare = entry
    target, refused, repeated = rare or (None, (), 0)
    return Decision(
        own=bool(own),
        mirrors=tuple(ids[parent] for parent in mirrors),
        reasons=tuple(Reason(reason, ids[record], rule) for reason, record, rule in reasons),
        prior=tuple((label, ids[parent]) for label, parent in prior),
        target=None if target is None else ids[target],
        refused=tuple(refused),
        repeated=bool(repeated),
    )
