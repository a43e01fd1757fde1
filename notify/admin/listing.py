"""The base of all lists in the admin: limited queries, indexed search, and names of apps."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Final, cast
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import capfirst

from notify.admin.unfolded import ChangeList, ModelAdmin
from notify.models import App, Stream

#: Rows that a list can page through. Tables have millions; nobody pages that far, and a full count
#: reads them all.
ROWS_MAX: Final = 1_000
#: Apps that a search by name can mean.
_APPS_MAX: Final = 50


class CappedPaginator(Paginator):  # type: ignore[type-arg] # Paginator[...] fails at run time
    """A paginator that shows and counts at most the first ROWS_MAX rows."""

    @cached_property
    def count(self) -> int:
        """The number of rows, at most ROWS_MAX."""
        rows = cast(QuerySet[Any], self.object_list)
        return rows.order_by()[:ROWS_MAX].count()


class ListChangeList(ChangeList):
    """A change list that passes the rows of each page to ListAdmin.attach."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        self.full_result_count = self.result_count  # or a page says that there are more to show
        if isinstance(self.model_admin, ListAdmin):
            self.model_admin.attach(self.result_list)


class NotedAdmin(ModelAdmin):
    """A list with its own title and a note above it."""

    list_before_template = "admin/notify/list_note.html"
    #: What stands above the list.
    note = ""
    #: The list's title; the model's plural if it is empty.
    list_title = ""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": self.list_title or capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, context | (extra_context or {}))


class ListAdmin(NotedAdmin):
    """A page whose list costs a fixed number of queries, each bounded.

    Search takes a record's UUID (where the table has one), an app's, or a part of an app's name.
    """

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    list_per_page = 50
    list_max_show_all = 0
    sortable_by: ClassVar[tuple[str, ...]] = ()
    actions = None
    search_fields: ClassVar[tuple[str, ...]] = ("app",)
    search_uuids: ClassVar[tuple[str, ...]] = ("record", "app")
    search_app = "app"
    search_help_text = "A record's or an app's UUID, or a part of an app's name."
    change_form_template = "admin/notify/change_form.html"

    def attach(self, rows: Sequence[Any]) -> None:
        """Adds data of other tables to the rows of a page, with one query for each table."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ListChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q()
        try:
            for name in self.search_uuids:
                wanted |= Q(**{name: UUID(term)})
        except ValueError:
            wanted = Q(**{f"{self.search_app}__in": apps_named(term)})
        return queryset.filter(wanted), False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Model | None:
        """The row for its own page, with the same attached data as in the list."""
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            self.attach([row])
        return row


class ReadOnly:
    """A mixin, placed before ModelAdmin: nobody adds, changes or deletes rows."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, ListAdmin):
    """A list that nobody can edit, of rows that the pipeline writes. They have `stream` and `app`."""

    def attach(self, rows: Sequence[Any]) -> None:
        """Adds `named_app` and `partition` to each row."""
        names = names_of(row.app for row in rows)
        streams = Stream.objects.filter(id__in={row.stream for row in rows})
        partitions = dict(streams.values_list("id", "partition"))
        for row in rows:
            row.named_app = names.get(row.app, row.app)
            row.partition = partitions.get(row.stream)

    @admin.display(description="record")
    def whose(self, row: Any) -> str:
        """The record under its app's name."""
        return record_of(row.named_app, row.record)

    @admin.display(description="app")
    def named_app(self, row: Any) -> Any:
        """The app's name; its id if the app does not exist here."""
        return row.named_app

    @admin.display(description="partition")
    def partition(self, row: Any) -> Any:
        """The partition of the row's stream."""
        return row.partition


def record_of(app: object, record: UUID | None) -> str:
    """A cell of a list: the app's name, and below it the record's UUID."""
    if app is None and record is None:
        return "unreadable"
    if record is None:
        return format_html('<span class="n-cell">{}<br>records that are not listed</span>', app)
    return format_html(
        '<span class="n-cell">{}<br><code class="n-id">{}</code></span>', app, record
    )


def moment(at: datetime | None) -> str:
    """A cell of a list: the day, and below it the time to the second, in the server's time zone."""
    if at is None:
        return "never"
    local = timezone.localtime(at)
    return format_html(
        '<span class="n-cell n-at">{} <br>{}</span>',
        local.strftime("%Y-%m-%d"),
        local.strftime("%H:%M:%S"),
    )


def apps_named(text: str) -> list[UUID]:
    """The ids of the apps whose name contains `text`, the first 50 by name."""
    return list(App.objects.filter(name__icontains=text).values_list("id", flat=True)[:_APPS_MAX])


def names_of(apps: Iterable[UUID | None]) -> dict[UUID, str]:
    """The names of these apps by id."""
    return dict(App.objects.filter(id__in={app for app in apps if app}).values_list("id", "name"))
