"""Limits what a read shows of a large record.

An incomplete answer has `warnings`, like the answers to updates. Clients do not read them, but accept
answers that have them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.conf import settings

from notify.web.reads import RecordRow, SubscriptionRow, UserRow
from notify.web.resources.user_reference import EXTERNAL_ID

_SUBSCRIPTIONS: Final = "subscriptions: only the newest {:,} are shown"
_TAGS: Final = "tags: only the first {:,} by name are shown"
_ALIASES: Final = "identity: only {:,} aliases are shown"


class BoundedAnswer:
    """The content of one answer. Each method notes what it leaves out."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def tags(self, row: RecordRow) -> dict[str, Any]:
        """The tags, at most NOTIFY_READ_TAGS."""
        return self._first(row.tags, sorted(row.tags), settings.NOTIFY_READ_TAGS, _TAGS)

    def aliases(self, row: UserRow) -> dict[str, str]:
        """The aliases, at most NOTIFY_READ_ALIASES, the external id among them."""
        labels = sorted(row.aliases, key=lambda label: (label != EXTERNAL_ID, label))
        return self._first(row.aliases, labels, settings.NOTIFY_READ_ALIASES, _ALIASES)

    def subscriptions(self, row: UserRow) -> Sequence[SubscriptionRow]:
        """The subscriptions, at most NOTIFY_READ_SUBSCRIPTIONS."""
        if row.more:
            self._sentences.append(_SUBSCRIPTIONS.format(settings.NOTIFY_READ_SUBSCRIPTIONS))
        return row.subscriptions

    @property
    def warnings(self) -> dict[str, Any]:
        """`{"warnings": [...]}`; empty if nothing is left out."""
        return {"warnings": list(self._sentences)} if self._sentences else {}

    def _first(
        self, found: Mapping[str, Any], keys: Sequence[str], most: int, sentence: str
    ) -> dict[str, Any]:
        if len(keys) <= most:
            return dict(found)
        self._sentences.append(sentence.format(most))
        return {key: found[key] for key in keys[:most]}
