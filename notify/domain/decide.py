"""What an update does: `decide` once, in log order; `writes` as often as needed.

`decide` reads links and policy and is called only by a tick. `writes` reads the update and its
recorded decision, and is the only way to writes, live and in a Load: whoever builds a lane's
content builds the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from notify.domain import links as linking
from notify.domain.errors import ReplayDisagrees
from notify.domain.links import Change, Links
from notify.domain.patch import ADD, DEFAULT, MIRRORED_UPDATES, PROPERTIES, SET, TAGS, Op, Patch
from notify.domain.policy import SCOPE_ALL, Policy, Skip
from notify.domain.update import DELETE, DETACH, MIRROR_LABELS, Unreadable, Update

#: Why an update, or a part of it, was not applied.
SKIPPED: Final = "skip_rule"
LINK_REFUSED: Final = "link_limit"
MIRROR_STOPPED: Final = "mirror_limit"
MALFORMED: Final = "malformed"
MISROUTED: Final = "misrouted"

#: Properties that a mirror carries to the parent, besides all tags.
MIRRORED_PROPERTIES: Final = frozenset(
    PROPERTIES + name for name in ("language", "timezone", "timezone_id", "country", "last_active")
)


class Reason(NamedTuple):
    """Why a write to `record`, or a link to it, was dropped; `rule` is the skip rule's id or None."""

    reason: str
    record: str
    rule: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The targets of one update: its own record or not, and the parents it is mirrored to.

    `prior` names the parents that it left, by label. The default decision (own record only, no
    reason) is what most updates get; it is not recorded.
    """

    own: bool = True
    mirrors: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    prior: tuple[tuple[str, str], ...] = ()


OWN_ONLY: Final = Decision()


class Write(NamedTuple):
    """A patch for one record of one app."""

    app: str
    record: str
    patch: Patch


def decide(
    message: Update | Unreadable, links: Links, policy: Policy, *, routed: bool = True
) -> tuple[Decision, Sequence[Change]]:
    """The decision on `message`, and the link changes that it makes.

    `links` must hold what `links.named` asks for, as of the offset before; it is not changed.
    `policy` must be the one in force now (`Policy.at`). `routed` says that the message stands in
    the partition of its app.
    """
    if isinstance(message, Unreadable):
        return Decision(own=False, reasons=(Reason(MALFORMED, ""),)), ()
    if not routed:
        return Decision(own=False, reasons=(Reason(MISROUTED, message.record),)), ()
    if message.only:
        return _decide_own(message, policy), ()
    if message.op == DETACH:
        return OWN_ONLY, linking.detach(links, message.app, message.record)
    if message.op == DELETE:
        changes = [
            *linking.leave_all(links, message.app, message.record),
            *linking.detach(links, message.app, message.record),
        ]
        return _with_prior(OWN_ONLY, message, links, changes), changes
    return _decide_update(message, links, policy)


def _decide_own(message: Update, policy: Policy) -> Decision:
    skip = policy.skips.get((message.app, message.record))
    if message.op == DELETE or skip is None or skip.scope != SCOPE_ALL:
        return OWN_ONLY
    return Decision(own=False, reasons=(Reason(SKIPPED, message.record, skip.rule),))


def _decide_update(
    message: Update, links: Links, policy: Policy
) -> tuple[Decision, Sequence[Change]]:
    app, child = message.app, message.record
    changes: list[Change] = []
    reasons: list[Reason] = []
    for label, parent in message.links.items():
        if parent is None:
            changes += linking.leave(links, app, child, label)
        elif parent == links.parent(app, child, label):
            continue
        elif links.count(app, parent, label) >= policy.limit(app, label):
            reasons.append(Reason(LINK_REFUSED, parent))
        else:
            changes += linking.join(links, app, child, label, parent)
    own = _decide_own(message, policy)
    reasons += own.reasons
    mirrors: list[str] = []
    if own.own:
        moved = {
            change.label: change.parent for change in changes if isinstance(change, linking.Linked)
        }
        for label in MIRROR_LABELS:
            parent = moved[label] if label in moved else links.parent(app, child, label)
            if parent is None or parent in mirrors:
                continue
            children = links.count(app, parent, label)
            stop = _mirror_stop(policy, app, parent, label, children)
            if stop is None:
                mirrors.append(parent)
            else:
                reasons.append(stop)
    if not changes and not mirrors and not reasons:
        return OWN_ONLY, ()
    decision = Decision(own.own, tuple(mirrors), tuple(reasons))
    return _with_prior(decision, message, links, changes), changes


def _mirror_stop(policy: Policy, app: str, parent: str, label: str, children: int) -> Reason | None:
    skip: Skip | None = policy.skips.get((app, parent))
    if skip is not None:
        return Reason(SKIPPED, parent, skip.rule)
    if children > policy.limit(app, label):
        return Reason(MIRROR_STOPPED, parent)
    return None


def _with_prior(
    decision: Decision, message: Update, links: Links, changes: Sequence[Change]
) -> Decision:
    prior = tuple(
        (change.label, parent)
        for change in changes
        if isinstance(change, linking.Linked) and change.parent is None
        if (parent := links.parent(message.app, message.record, change.label)) is not None
    )
    if not prior:
        return decision
    return Decision(decision.own, decision.mirrors, decision.reasons, prior)


def writes(message: Update | Unreadable, decision: Decision) -> list[Write]:
    """The writes of `message` as decided, its own record first.

    Raises ReplayDisagrees if the decision has targets and the message cannot be read: the version
    that planned it could read it.
    """
    if isinstance(message, Unreadable):
        if decision.own or decision.mirrors:
            raise ReplayDisagrees(message.error)
        return []
    if message.op == DETACH:
        return []
    written = []
    if decision.own:
        written.append(Write(message.app, message.record, _own_patch(message)))
    if decision.mirrors:
        mirrored = _mirrored_patch(message)
        written += [Write(message.app, parent, mirrored) for parent in decision.mirrors]
    return written


def _own_patch(message: Update) -> Patch:
    ops: dict[str, Op] = dict(message.patch.ops)
    if message.kind is not None:
        ops["kind"] = (SET, message.kind)
    ops["deleted"] = (SET, message.op == DELETE)
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
