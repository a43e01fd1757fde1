"""Writes that PostgreSQL refused, and messages that could not be decided."""

from typing import Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from notify.admin.filters import AppFilter, TimeFilter
from notify.admin.listing import ReadOnlyAdmin, moment
from notify.admin.masking import masked
from notify.domain.decide import MALFORMED, MISROUTED
from notify.models import DeadLetter

_KINDS: Final = {
    MALFORMED: Q(error__startswith=f"{MALFORMED}:"),
    MISROUTED: Q(error__startswith=f"{MISROUTED}:"),
}
_REFUSED: Final = "refused"


class KindFilter(admin.SimpleListFilter):
    """What was wrong with it."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The planner's two reasons, and PostgreSQL's."""
        return [
            (MALFORMED, "malformed"),
            (MISROUTED, "misrouted"),
            (_REFUSED, "refused by PostgreSQL"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The letters with that reason."""
        reason = self.value() or ""
        if reason == _REFUSED:
            return queryset.exclude(_KINDS[MALFORMED] | _KINDS[MISROUTED])
        return queryset.filter(_KINDS[reason]) if reason in _KINDS else queryset


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """The newest dead letters; each with its message, values masked."""

    list_display = ("when", "whose", "error_start", "partition", "offset")
    list_filter = (KindFilter, TimeFilter, AppFilter)
    fields = (
        "at",
        "partition",
        "offset",
        "named_app",
        "record",
        "error",
        "masked_message",
    )
    readonly_fields = fields
    note = "Updates that could not be applied: the newest 1,000 that match. All others went on."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the messages: only a letter's own page needs one."""
        return super().get_queryset(request).defer("message")

    @admin.display(description="at")
    def when(self, letter: DeadLetter) -> str:
        """When it was given up."""
        return moment(letter.at)

    @admin.display(description="error")
    def error_start(self, letter: DeadLetter) -> str:
        """As much as a line holds."""
        return letter.error if len(letter.error) <= 90 else f"{letter.error[:89]}…"

    @admin.display(description="message")
    def masked_message(self, letter: DeadLetter) -> str:
        """Its keys, and the types of its values."""
        return format_html("<pre>{}</pre>", masked(bytes(letter.message)))
