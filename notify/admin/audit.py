"""The audit trail: who changed what in the admin, when and why. Nobody edits it."""

from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from notify.admin import reasons
from notify.admin.filters import TimeFilter
from notify.admin.listing import ListAdmin, ReadOnly, moment
from notify.models import App, DeadLetter, LinkLimit, Replay, Skipped, SkipRule

#: People that the filter offers, by name.
_PEOPLE_MAX: Final = 100
#: Versions keep their reason themselves.
_VERSIONS: Final = (SkipRule, LinkLimit)
_KINDS: Final[dict[str, type[Model]]] = {
    "skip rule": SkipRule,
    "link limit": LinkLimit,
    "app": App,
    "dead letter": DeadLetter,
    "skipped updates": Skipped,
    "replay": Replay,
    "user": User,
    "group": Group,
}
_NAMED: Final = '<span class="n-cell"><span class="n-quiet">{}</span><br>{}</span>'
_DONE: Final = {ADDITION: "added", CHANGE: "changed", DELETION: "deleted"}


class PersonFilter(admin.SimpleListFilter):
    """Filters by the person who made the change."""

    title = "person"
    parameter_name = "person"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All staff by name, active or not."""
        staff = User.objects.filter(is_staff=True).order_by("username")[:_PEOPLE_MAX]
        return [(str(user.pk), user.get_username()) for user in staff]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The changes that the person made."""
        person = self.value() or ""
        return queryset.filter(user_id=int(person)) if person.isdecimal() else queryset


class WhatFilter(admin.SimpleListFilter):
    """Filters by the kind of object that was changed."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The kinds of objects that the admin changes."""
        return [(kind.replace(" ", "-"), kind) for kind in _KINDS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The changes of objects of that kind."""
        model = _KINDS.get((self.value() or "").replace("-", " "))
        if model is None:
            return queryset
        return queryset.filter(content_type=ContentType.objects.get_for_model(model))


class ActionTimeFilter(TimeFilter):
    """Filters by the time of the change."""

    time_field = "action_time"


@admin.register(LogEntry)
class AuditAdmin(ReadOnly, ListAdmin):
    """The audit trail, newest changes first."""

    list_display = ("when", "who", "what", "did", "why")
    list_display_links = None
    list_filter = (PersonFilter, WhatFilter, ActionTimeFilter)
    list_select_related = ("user", "content_type")
    ordering = ("-id",)
    search_fields = ("object_repr",)
    search_help_text = "A part of a name, or a record's or an app's UUID."
    list_title = "Audit trail"
    note = "Who changed what in the admin, and why: the newest 1,000 that match."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Searches by the object's name at the time of the change."""
        term = search_term.strip()
        found = queryset.filter(object_repr__icontains=term) if term else queryset
        return found, False

    def attach(self, rows: Sequence[Any]) -> None:
        """Adds `reason` to each entry: its own, or that of the added version."""
        kept: dict[tuple[int, str | None], str] = {}
        for model in _VERSIONS:
            kind = ContentType.objects.get_for_model(model).pk
            ids = {row.object_id for row in rows if row.content_type_id == kind}
            found = model.objects.filter(pk__in=ids).values_list("pk", "reason")
            kept |= {(kind, str(pk)): reason for pk, reason in found} if ids else {}
        for row in rows:
            own = reasons.change_and_reason(row)[1]
            row.reason = own or kept.get((row.content_type_id, row.object_id), "")

    @admin.display(description="at")
    def when(self, entry: LogEntry) -> str:
        """When the change was made."""
        return moment(entry.action_time)

    @admin.display(description="by")
    def who(self, entry: LogEntry) -> str:
        """The user name of whoever made the change."""
        return entry.user.get_username()

    @admin.display(description="what")
    def what(self, entry: LogEntry) -> str:
        """The object's kind and name at that time, as a link if it still exists."""
        kind = "" if entry.content_type is None else entry.content_type.name
        url = None if entry.is_deletion() else entry.get_admin_url()
        if not url:
            return format_html(_NAMED, kind, entry.object_repr)
        return format_html(_NAMED, kind, format_html('<a href="{}">{}</a>', url, entry.object_repr))

    @admin.display(description="did")
    def did(self, entry: LogEntry) -> str:
        """What changed."""
        return reasons.change_and_reason(entry)[0] or _DONE.get(entry.action_flag, "")

    @admin.display(description="reason")
    def why(self, entry: Any) -> str:
        """The reason, as its author wrote it."""
        return entry.reason or "none was asked"
