"""Plans a chunk: decides its messages in order and collects what the tick writes. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ingest.ports import Chunk, DeadMessage, SkippedRow
from notify.domain.engine import digest as digests
from notify.domain.engine.digest import Last
from notify.domain.engine.stream import PlanRow
from notify.domain.records import plan as plans
from notify.domain.records.decide import (
    MALFORMED,
    MISROUTED,
    OWN_ONLY,
    Decision,
    Write,
    decide,
    writes,
)
from notify.domain.records.idempotency import SeenKey, key_of
from notify.domain.records.links import Links
from notify.domain.records.policy import Policy
from notify.domain.records.update import UPDATE_BYTES_MAX, Unreadable, Update

#: How many bytes of a message a dead letter keeps: the most that a worker's dead letter can have.
DEAD_LETTER_BYTES_MAX: Final = UPDATE_BYTES_MAX


class Message(msgspec.Struct, frozen=True, gc=False):
    """A fetched message: its bytes and the parsed content."""

    offset: int
    body: bytes
    content: Update | Unreadable


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned chunk, its writes by offset for the window, and counts: the updates and mirrored writes of
    each record, and the updates of each app, including dropped ones."""

    chunk: Chunk
    written: Sequence[tuple[int, bytes, list[Write]]]
    direct: Counter[tuple[str, str]]
    mirrored: Counter[tuple[str, str]]
    apps: Counter[str]
    #: When web accepted the updates, in the order of the log, in milliseconds.
    accepted: Sequence[int] = ()
    #: None if the chunk has no message.
    last: Last | None = None


def plan_chunk(
    messages: Sequence[Message],
    *,
    first: int,
    end: int,
    links: Links,
    policy: Policy,
    seen: set[SeenKey],
    is_routed: Callable[[str], bool],
) -> Planned:
    """Decides the offsets first..end-1. `messages` are those that exist, none of a later release.

    `links` must contain what `links.gather` finds for them, and `seen` those of `idempotency.keys_of` that
    were seen before; both are changed in place. `policy` must be the one in force now. `is_routed` tells
    whether an app's updates belong to this partition.
    """
    #: Those that are not the default one.
    decisions: dict[int, Decision] = {}
    dropped: dict[tuple[str | None, str | None, str, int | None], SkippedRow] = {}
    dead: list[DeadMessage] = []
    written: list[tuple[int, bytes, list[Write]]] = []
    # Lists, because Counter counts a list several times faster than one element after the other.
    direct: list[tuple[str, str]] = []
    mirrored: list[tuple[str, str]] = []
    apps: list[str] = []
    counted: list[SeenKey] = []
    digested = {message.offset: digests.of_message(message.body) for message in messages}
    for message in messages:
        offset, content = message.offset, message.content
        key = key_of(content)
        routed = isinstance(content, Unreadable) or is_routed(content.app)
        decision, changes = decide(content, links, policy, routed=routed, repeated=key in seen)
        if changes:
            links.put(changes)
        if key is not None and decision.own and not decision.repeated:
            seen.add(key)
            counted.append(key)
        if decision is not OWN_ONLY:
            decisions[offset] = decision
        if isinstance(content, Update):
            apps.append(content.app)
        for reason, record, rule in decision.reasons:
            if reason in (MALFORMED, MISROUTED):
                dead.append(_dead(offset, message.body, content))
            else:
                assert isinstance(content, Update)  # or it would be malformed
                _count(dropped, (content.app, record, reason, rule), offset)
        targets = writes(content, decision)
        # The own record comes first. An update that does not write to it is not mirrored either.
        for place, write in enumerate(targets):
            (mirrored if place else direct).append((write.app, write.record))
        written.append((offset, message.body, targets))
    chunk = Chunk(
        plan=PlanRow(
            first, end, plans.encode(first, decisions), digests.encode(first, end, digested)
        ),
        policy_version=policy.version,
        links=links,
        skipped=list(dropped.values()),
        dead=dead,
        seen=counted,
    )
    last = Last(messages[-1].offset, digested[messages[-1].offset], end) if messages else None
    accepted = [each.content.at for each in messages if isinstance(each.content, Update)]
    return Planned(
        chunk, written, Counter(direct), Counter(mirrored), Counter(apps), accepted, last
    )


def _dead(offset: int, body: bytes, content: Update | Unreadable) -> DeadMessage:
    if isinstance(content, Unreadable):
        error, kept = f"malformed: {content.error}", body[:DEAD_LETTER_BYTES_MAX]
        if len(kept) < len(body):
            error += f" (kept: the first {len(kept)} of {len(body)} bytes)"
        return DeadMessage(offset, None, None, error, kept)
    error = "misrouted: the partition is not the one of the app; produce through the API"
    return DeadMessage(offset, content.app, content.record, error, body)


def _count(
    dropped: dict[tuple[str | None, str | None, str, int | None], SkippedRow],
    key: tuple[str | None, str | None, str, int | None],
    offset: int,
) -> None:
    before = dropped.get(key)
    first, n = (offset, 0) if before is None else (before.first, before.n)
    dropped[key] = SkippedRow(*key, first, offset, n + 1)
