"""What the planner dropped, by record, reason and chunk."""

from collections.abc import Iterator
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from notify.admin.filters import AppFilter, TimeFilter
from notify.admin.listing import ReadOnlyAdmin, moment
from notify.domain.decide import LINK_REFUSED, MIRROR_STOPPED, SKIPPED
from notify.models import Skipped

REASONS: Final = {
    SKIPPED: "skip rule",
    LINK_REFUSED: "link refused at the limit",
    MIRROR_STOPPED: "not mirrored over the limit",
}


class ReasonFilter(admin.SimpleListFilter):
    """Why it was dropped."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterator[tuple[str, str]]:
        """The planner's reasons."""
        yield from REASONS.items()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows with that reason."""
        return queryset.filter(reason=self.value()) if self.value() else queryset


@admin.register(Skipped)
class SkippedAdmin(ReadOnlyAdmin):
    """The newest skipped updates."""

    list_display = ("when", "whose", "why", "updates", "offsets")
    list_display_links = None
    list_filter = (ReasonFilter, TimeFilter, AppFilter)
    note = "Updates that were accepted and not, or not fully, applied: the newest 1,000 that match."

    @admin.display(description="at")
    def when(self, row: Skipped) -> str:
        """When the chunk was decided."""
        return moment(row.at)

    @admin.display(description="updates")
    def updates(self, row: Skipped) -> str:
        """How many."""
        return f"{row.n:,}"

    @admin.display(description="partition: offsets")
    def offsets(self, row: Any) -> str:
        """The first and the last of them."""
        return f"{row.partition}: {row.first}-{row.last}"

    @admin.display(description="reason")
    def why(self, row: Skipped) -> str:
        """In words, with the rule's number."""
        rule = "" if row.rule is None else f" {row.rule}"
        return f"{REASONS.get(row.reason, row.reason)}{rule}"
