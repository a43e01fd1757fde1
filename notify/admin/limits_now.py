"""Which link limits are in force for some apps."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from notify.domain.policy import Limit, Policy
from notify.models import LinkLimit


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
