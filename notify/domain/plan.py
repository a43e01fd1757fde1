"""The recorded decisions of a chunk, as bytes.

The default decision ("own record only") is omitted, so a chunk without links costs a few bytes.
The first byte is the format's version: a reader that does not know it must not guess.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from notify.domain.decide import OWN_ONLY, Decision, Reason
from notify.domain.errors import PlanUnreadable

FORMAT: Final = 1


def encode(first: int, decisions: Mapping[int, Decision]) -> bytes:
    """The decisions of a chunk that starts at offset `first`, by offset, the default ones left out."""
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
        ]
        for offset, decision in decisions.items()
        if decision != OWN_ONLY
    ]
    body = json.dumps([list(ids), entries], separators=(",", ":")) if entries else ""
    return bytes([FORMAT]) + body.encode()


def decode(first: int, encoded: bytes) -> dict[int, Decision]:
    """The decisions by offset; an offset of the chunk that is absent has the default one.

    Raises PlanUnreadable for another format, and for bytes that are none.
    """
    if encoded[:1] != bytes([FORMAT]):
        raise PlanUnreadable(f"format {encoded[:1].hex() or 'none'}, this version reads {FORMAT}")
    if len(encoded) == 1:
        return {}
    try:
        ids, entries = json.loads(encoded[1:])
        return {first + entry[0]: _decision(ids, entry) for entry in entries}
    except (ValueError, TypeError, LookupError) as error:
        raise PlanUnreadable(f"chunk at offset {first}: {error}") from None


def _decision(ids: list[str], entry: list[Any]) -> Decision:
    _, own, mirrors, reasons, prior = entry
    return Decision(
        own=bool(own),
        mirrors=tuple(ids[parent] for parent in mirrors),
        reasons=tuple(Reason(reason, ids[record], rule) for reason, record, rule in reasons),
        prior=tuple((label, ids[parent]) for label, parent in prior),
    )
