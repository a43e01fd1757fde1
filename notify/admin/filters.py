"""The filters beside the lists. They never count rows or list all apps."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from notify.admin.listing import apps_named

_SPANS: Final = {
    "10min": ("the last 10 minutes", timedelta(minutes=10)),
    "hour": ("the last hour", timedelta(hours=1)),
    "day": ("the last 24 hours", timedelta(days=1)),
    "week": ("the last 7 days", timedelta(days=7)),
}


class AppFilter(admin.SimpleListFilter):
    """Filters by an app that the user types: its UUID or a part of its name."""

    title = "app"
    parameter_name = "in_app"
    template = "admin/notify/app_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """No choices, since there may be thousands of apps."""
        return []

    def has_output(self) -> bool:
        """Always shows the input."""
        return True

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """One choice, for the template: what is typed in, and the other parameters to keep."""
        kept = {**changelist.get_filters_params(), SEARCH_VAR: [changelist.query]}
        kept.pop(self.parameter_name, None)
        yield {
            "name": self.parameter_name,
            "value": self.value() or "",
            "kept": [(name, value) for name, values in kept.items() for value in values if value],
            "without": changelist.get_query_string(remove=[self.parameter_name]),
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of the app, or of the apps whose name contains what was typed."""
        typed = (self.value() or "").strip()
        if not typed:
            return queryset
        try:
            return queryset.filter(app=UUID(typed))
        except ValueError:
            return queryset.filter(app__in=apps_named(typed))


class TimeFilter(admin.SimpleListFilter):
    """Filters by the time in the model's field `time_field`."""

    title = "time"
    parameter_name = "since"
    time_field = "at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The spans to choose from."""
        return [(span, label) for span, (label, _) in _SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows within the span."""
        span = _SPANS.get(self.value() or "")
        if span is None:
            return queryset
        return queryset.filter(**{f"{self.time_field}__gte": Now() - span[1]})
