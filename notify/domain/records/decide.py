"""Decides what an update does (`decide`), and turns the decision into writes to records (`writes`).

`decide` reads links and policy. It is called once for each update, in the order of the log and only by
a tick, which records the decision. `writes` needs only the update and its recorded decision, so a bridge
that reads the log again (a Load) gets the same writes.

Example: devices A and B are linked to the email record E, and the link limit is 3. Device P sends

    {"record": P, "links": {"email": E}, "tags": {"level": "7"}}

    it is linked    changes: P -> E, E has one child more    decision: mirrors=(E,)
                    writes: P gets the tag; E gets it too, and mirrored_updates + 1
    limit 2         no link is made                          decision: reasons=(link_limit, E)
                    writes: P gets the tag
    skip rule on P  it is linked                             decision: own=False, reasons=(skip_rule, P)
                    writes: none
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from notify.domain.errors import ReplayDisagrees
from notify.domain.records import aliases
from notify.domain.records import links as linking
from notify.domain.records.links import Change, Links, Trial
from notify.domain.records.patch import (
    ADD,
    ALIASES,
    DEFAULT,
    IDENTIFIER,
    MIRRORED_UPDATES,
    PROPERTIES,
    PUSH,
    PUSH_IDENTIFIER,
    REMOVE,
    SET,
    TAGS,
    Op,
    Patch,
    compose,
)
from notify.domain.records.policy import SCOPE_ALL, Policy, Skip
from notify.domain.records.update import (
    DELETE,
    DETACH,
    KINDS,
    LINK_LABELS,
    MERGED,
    MIRROR_LABELS,
    USER,
    Unreadable,
    Update,
    is_plain,
    names_in,
)

#: Reasons why an update, or a part of it, is not applied.
SKIPPED: Final = "skip_rule"
LINK_REFUSED: Final = "link_limit"
MIRROR_STOPPED: Final = "mirror_limit"
MALFORMED: Final = "malformed"
MISROUTED: Final = "misrouted"

#: Properties that a mirror carries to the parent, besides all tags.
MIRRORED_PROPERTIES: Final = frozenset(
    PROPERTIES + name for name in ("language", "timezone", "timezone_id", "country", "last_active")
)

#: The labels of links that lead from a record that is no alias to others.
_LEADING: Final = (*MIRROR_LABELS, MERGED)

#: Ops that most writes have, made once.
_KIND_OPS: Final[dict[str, Op]] = {kind: (DEFAULT, kind) for kind in KINDS}
_DELETED: Final[Op] = (SET, True)
_NOT_DELETED: Final[Op] = (SET, False)


class Reason(NamedTuple):
    """Why a write to `record`, or a link to it, is dropped. `rule` is the id of the skip rule, if any."""

    reason: str
    record: str
    rule: int | None = None


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What one update does: whether it writes to its own record, and to which parents it is mirrored.

    `prior`: the parents that the record leaves, by label. `target`: its own record, if that is not the one
    that the message names. `refused`: the labels of aliases that it does not get. `repeated`: an update
    with its message id was counted before, so it adds to no counter. Most updates get the default
    decision, which is to write to their own record only; it is not recorded.
    """

    own: bool = True
    mirrors: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    prior: tuple[tuple[str, str], ...] = ()
    target: str | None = None
    refused: tuple[str, ...] = ()
    repeated: bool = False


OWN_ONLY: Final = Decision()


class Write(msgspec.Struct, frozen=True, gc=False):
    """A patch for one record of one app: what the engine's window keeps and merges."""

    app: str
    record: str
    patch: Patch

    @property
    def size(self) -> int:
        """How many keys of the record it changes."""
        return len(self.patch.ops)

    def then(self, later: "Write") -> "Write":
        """One write with the effect of this one followed by `later`, which is for the same record."""
        return Write(self.app, self.record, compose(self.patch, later.patch))


def decide(
    message: Update | Unreadable,
    links: Links,
    policy: Policy,
    *,
    routed: bool = True,
    repeated: bool = False,
) -> tuple[Decision, Sequence[Change]]:
    """Returns the decision on `message`, and the changes of links that it makes.

    `links` must contain what `links.gather` finds for the message, as of the offset before; it is not
    changed. `policy` must be the one in force now (`Policy.at`). `routed`: the message is in the partition
    of its app. `repeated`: an update with its message id was counted before.
    """
    if isinstance(message, Unreadable):
        return Decision(own=False, reasons=(Reason(MALFORMED, ""),)), ()
    if not routed:
        return Decision(own=False, reasons=(Reason(MISROUTED, message.record),)), ()
    if message.only or (is_plain(message) and not _may_lead(links, message)):
        return _decide_own(message, message.record, policy, repeated=repeated), ()
    record = aliases.target(links, message)
    if message.op == DETACH:
        return OWN_ONLY, linking.detach(links, message.app, record)
    if message.op == DELETE:
        changes = [
            *linking.leave_all(links, message.app, record),
            *linking.detach(links, message.app, record),
        ]
        prior = _prior(message.app, record, links, changes)
        if record == message.record:
            return (Decision(prior=prior) if prior else OWN_ONLY), changes
        return Decision(prior=prior, target=record), changes
    return _decide_update(message, record, links, policy, repeated=repeated)


def _may_lead(links: Links, message: Update) -> bool:
    """Whether the message's record has a link by which it may be mirrored or belong to another record."""
    held, app, record = links.parents, message.app, message.record
    return any((app, record, label) in held for label in _LEADING)


def _decide_own(message: Update, record: str, policy: Policy, *, repeated: bool) -> Decision:
    skip = policy.skips.get((message.app, record))
    if message.op == DELETE or skip is None or skip.scope != SCOPE_ALL:
        return Decision(repeated=True) if repeated else OWN_ONLY
    return Decision(own=False, reasons=(Reason(SKIPPED, record, skip.rule),))


def _decide_update(
    message: Update, record: str, links: Links, policy: Policy, *, repeated: bool
) -> tuple[Decision, Sequence[Change]]:
    app = message.app
    changes: list[Change] = []
    reasons: list[Reason] = []
    refused: dict[str, str] = {}
    if message.owner:
        changes += aliases.owned(links, message, record)
    if names := names_in(message):
        links = trial = Trial(links)
        record, refused = aliases.claim(trial, message, names, record, policy)
        changes += trial.changes
        reasons += [Reason(why, record) for why in refused.values()]
    changes += _linked(message, record, links, policy, reasons)
    own = _decide_own(message, record, policy, repeated=repeated)
    reasons += own.reasons
    mirrors: list[str] = []
    if own.own:
        moved = {
            change.label: change.parent
            for change in changes
            if isinstance(change, linking.Linked) and change.child == record
        }
        for label in MIRROR_LABELS:
            parent = moved[label] if label in moved else links.parent(app, record, label)
            if parent is None or parent in mirrors:
                continue
            children = links.count(app, parent, label)
            stop = _mirror_stop(policy, app, parent, label, children)
            if stop is None:
                mirrors.append(parent)
            else:
                reasons.append(stop)
    target = None if record == message.record else record
    if target is None and not changes and not mirrors and not reasons:
        return own, ()
    decision = Decision(
        own.own,
        tuple(mirrors),
        tuple(reasons),
        _prior(app, record, links, changes),
        target,
        tuple(refused),
        own.repeated,
    )
    return decision, changes


def _linked(
    message: Update, record: str, links: Links, policy: Policy, reasons: list[Reason]
) -> list[Change]:
    """The changes of the update's own links. Appends to `reasons` why a link is refused.

    A record that asks for another parent leaves its present one even if the new link is refused: a device
    must not stay linked to the person who used it before.
    """
    app = message.app
    changes: list[Change] = []
    for label, named in message.links.items():
        parent = None if named is None else aliases.resolve(links, app, named)
        if parent is None:
            changes += linking.leave(links, app, record, label)
        elif parent in (record, aliases.resolve_parent(links, app, record, label)):
            continue
        else:
            if label == USER:
                changes += aliases.logged_out(links, app, record)
            if links.count(app, parent, label) < policy.limit(app, label):
                changes += linking.join(links, app, record, label, parent)
            else:
                reasons.append(Reason(LINK_REFUSED, parent))
                changes += linking.leave(links, app, record, label)
    return changes


def _mirror_stop(policy: Policy, app: str, parent: str, label: str, children: int) -> Reason | None:
    skip: Skip | None = policy.skips.get((app, parent))
    if skip is not None:
        return Reason(SKIPPED, parent, skip.rule)
    if children > policy.limit(app, label):
        return Reason(MIRROR_STOPPED, parent)
    return None


def _prior(
    app: str, record: str, links: Links, changes: Sequence[Change]
) -> tuple[tuple[str, str], ...]:
    return tuple(
        (change.label, parent)
        for change in changes
        if isinstance(change, linking.Linked)
        and change.parent is None
        and change.child == record
        and change.label in LINK_LABELS
        if (parent := links.parent(app, record, change.label)) is not None
    )


def writes(message: Update | Unreadable, decision: Decision) -> list[Write]:
    """The writes of `message` as decided, with the one to its own record first.

    Raises ReplayDisagrees if the decision has targets but this release cannot read the message: the
    release that decided it could.
    """
    if isinstance(message, Unreadable):
        if decision.own or decision.mirrors:
            raise ReplayDisagrees(message.error)
        return []
    if message.op == DETACH:
        return []
    written = []
    if decision.own:
        record = decision.target or message.record
        written.append(Write(message.app, record, _own_patch(message, decision)))
    if decision.mirrors:
        mirrored = _mirrored_patch(message)
        written += [Write(message.app, parent, mirrored) for parent in decision.mirrors]
    return written


def _own_patch(message: Update, decision: Decision) -> Patch:
    ops: dict[str, Op] = dict(message.patch.ops)
    if decision.repeated:
        ops = {key: op for key, op in ops.items() if op[0] != ADD}
    if message.kind == PUSH and IDENTIFIER in ops:
        ops[PUSH_IDENTIFIER] = ops.pop(IDENTIFIER)
    if message.kind is not None:
        ops["kind"] = _KIND_OPS[message.kind]
    if message.kind == USER:
        for label, name in message.aliases.items():
            if label not in decision.refused:
                ops[ALIASES + label] = (REMOVE, None) if name is None else (SET, name)
    ops["deleted"] = _DELETED if message.op == DELETE else _NOT_DELETED
    ops["created_at"] = (DEFAULT, message.at)
    ops["updated_at"] = (SET, message.at)
    return Patch(message.op == DELETE, ops)


def _mirrored_patch(message: Update) -> Patch:
    ops: dict[str, Op] = {
        key: op
        for key, op in message.patch.ops.items()
        if key.startswith(TAGS) or key in MIRRORED_PROPERTIES
    }
    ops["created_at"] = (DEFAULT, message.at)
    ops["updated_at"] = (SET, message.at)
    ops[MIRRORED_UPDATES] = (ADD, 1)
    return Patch(False, ops)
