"""Finds the link limits in force for some apps, and the records that have reached their limit."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from django.db.models import Q

from notify.domain.records.aliases import ALIAS_LIMIT
from notify.domain.records.policy import Limit, Policy
from notify.domain.records.update import ALIAS, LINK_LABELS
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


def limit_versions(apps: Collection[UUID]) -> dict[tuple[UUID | None, str], LinkLimit]:
    """The limits in force, by app and label; the app None has those for all apps. Takes one indexed query."""
    # By the view's own columns: asked of the table's, PostgreSQL reads the whole view first.
    wanted = Q(in_force__app_id__in=apps) | Q(in_force__app_id=None, in_force__isnull=False)
    return {(each.app_id, each.label): each for each in LinkLimit.objects.filter(wanted)}


def policy_of(versions: Mapping[tuple[UUID | None, str], LinkLimit]) -> Policy:
    """The policy whose `limit` answers for the apps that `limit_versions` was asked for."""
    return Policy(
        limits={
            (None if app is None else str(app), label): Limit(each.children)
            for (app, label), each in versions.items()
            if each.children is not None
        }
    )


def limits_of(apps: Collection[UUID]) -> Policy:
    """The policy with the limits of these apps and those of all apps. Takes one indexed query."""
    return policy_of(limit_versions(apps))


def full_links(linked: Iterable[tuple[UUID, UUID, str, int]]) -> dict[Key, list[FullLinks]]:
    """The records that have reached a limit, from rows of the statement `linked`.

    The label with most children comes first.
    """
    rows = sorted(linked, key=lambda row: -row[3])
    policy = limits_of({row[0] for row in rows})
    full: dict[Key, list[FullLinks]] = {}
    for app, record, label, n in rows:
        limit = policy.limit(str(app), label)
        if n >= limit:
            is_own = (str(app), label) in policy.limits
            full.setdefault((app, record), []).append(FullLinks(label, n, limit, is_own))
    return full


def explaining(full: Iterable[FullLinks], reason: str) -> FullLinks | None:
    """The limit because of which updates of a record are dropped for `reason`, if it still holds."""
    labels = (ALIAS,) if reason == ALIAS_LIMIT else LINK_LABELS
    return next((each for each in full if each.label in labels), None)
