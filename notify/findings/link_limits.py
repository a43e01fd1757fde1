"""Which link limits are in force for some apps, and which records are at theirs."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from django.db.models import Q

from notify.domain.aliases import ALIAS_LIMIT
from notify.domain.policy import Limit, Policy
from notify.domain.update import ALIAS, LINK_LABELS
from notify.models import LinkLimit

#: App and record.
Key: TypeAlias = tuple[UUID, UUID]


@dataclass(frozen=True, slots=True)
class FullLinks:
    """A record that has as many children by a label as its limit allows, or more.

    `is_own`: the limit was chosen for this app; otherwise it is that of all apps, or built in.
    """

    label: str
    linked: int
    limit: int
    is_own: bool


def limits_of(apps: Collection[UUID], now: datetime) -> Policy:
    """The limits of these apps and those of all; its `limit` answers for them. One indexed query."""
    versions = (
        LinkLimit.objects.filter(Q(app_id__in=apps) | Q(app_id=None))
        .order_by("app_id", "label", "-version")
        .distinct("app_id", "label")
    )
    return Policy(
        limits={
            (None if each.app_id is None else str(each.app_id), each.label): Limit(each.children)
            for each in versions
            if each.children is not None and (each.expires_at is None or each.expires_at > now)
        }
    )


def full_links(
    linked: Iterable[tuple[UUID, UUID, str, int]], now: datetime
) -> dict[Key, list[FullLinks]]:
    """Of records with their children by label (the rows of the statement `linked`), those at a limit.

    The label with most children comes first.
    """
    rows = sorted(linked, key=lambda row: -row[3])
    policy = limits_of({row[0] for row in rows}, now)
    full: dict[Key, list[FullLinks]] = {}
    for app, record, label, n in rows:
        limit = policy.limit(str(app), label)
        if n >= limit:
            is_own = (str(app), label) in policy.limits
            full.setdefault((app, record), []).append(FullLinks(label, n, limit, is_own))
    return full


def explaining(full: Iterable[FullLinks], reason: str) -> FullLinks | None:
    """The limit that refused or stopped something of a record for `reason`, as far as it still holds."""
    labels = (ALIAS,) if reason == ALIAS_LIMIT else LINK_LABELS
    return next((each for each in full if each.label in labels), None)
