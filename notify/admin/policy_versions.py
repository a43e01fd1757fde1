"""What the pages of skip rules and link limits share: versions are added, and stay."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator

from notify.admin.listing import ROWS_MAX, CappedPaginator, ListAdmin
from notify.admin.unfolded import ChangeList, Textarea

IN_FORCE = "in force"
EXPIRED = "expired"
LIFTED = "lifted"
REPLACED = "replaced"
#: How a state is coloured in a list.
_LEVELS: Final = {IN_FORCE: "is-ok", EXPIRED: "is-warn"}


class VersionForm(forms.ModelForm):  # type: ignore[type-arg] # ModelForm[...] fails at run time
    """A new version of a rule or a limit."""

    WIDGETS: ClassVar[dict[str, forms.Widget]] = {"reason": Textarea(attrs={"rows": 3})}

    def clean_expires_at(self) -> Any:
        """Refuses a time in the past: the change would have no effect."""
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise ValidationError(
                "This time is in the past, so the change would have no effect: choose a later one."
            )
        return expires_at


class StateFilter(admin.SimpleListFilter):
    """Filters the newest versions by state, "in force" by default, or shows all versions."""

    title = "state"
    parameter_name = "state"
    #: The fields that identify a rule, and the condition on its newest version that means "lifted".
    key: tuple[str, ...] = ()
    lifted = Q()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The choices besides the default, which is "In force"."""
        return [("expired", "Expired"), ("lifted", "Lifted"), ("all", "All versions")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Django's choices, with the first one called "In force" instead of "All"."""
        choices = super().choices(changelist)
        yield {**next(choices), "display": "In force"}
        yield from choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The newest versions that are in the chosen state, or all versions."""
        if self.value() == "all":
            return queryset
        if self.value() not in ("lifted", "expired"):
            return queryset.filter(in_force__isnull=False)
        versions = queryset.model.objects.order_by(*self.key, "-version").distinct(*self.key)
        ended = queryset.filter(version__in=versions.values("version"), in_force=None)
        return ended.filter(self.lifted) if self.value() == "lifted" else ended.exclude(self.lifted)


class VersionPaginator(CappedPaginator):
    """Counts from the newest version on. From the oldest on, most versions are replaced by newer ones."""

    @cached_property
    def count(self) -> int:
        """At most ROWS_MAX."""
        return cast(QuerySet[Any], self.object_list)[:ROWS_MAX].count()


class PolicyVersionAdmin(ListAdmin):
    """The pages of one kind of rule. `key`: the fields that say which rule a version belongs to."""

    list_select_related = ("app", "in_force")
    paginator = VersionPaginator
    key: tuple[str, ...] = ()
    fields: ClassVar[tuple[str, ...]] = ()
    #: The fields that a new version takes over from the one it changes.
    kept: tuple[str, ...] = ()
    change_label = "Change"
    #: What the page of a saved version also shows.
    computed: ClassVar[tuple[str, ...]] = ("author", "at", "state", "history")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The fields of the form; a saved version also shows its state and its history."""
        return self.fields if obj is None else (*self.fields, *self.computed)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The computed fields of a saved version."""
        return () if obj is None else self.computed

    def is_lifted(self, version: Any) -> bool:
        """Whether the version ends the rule."""
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # A version is never changed: a change adds one.

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def attach(self, rows: Sequence[Any]) -> None:
        """Each version gets `newest`: the newest version of its rule."""
        wanted = Q()
        for row in rows:
            wanted |= self._same(row)
        versions = self.model.objects.filter(wanted) if wanted else self.model.objects.none()
        newest = {
            self._key(version): version.version
            for version in versions.order_by(*self.key, "-version").distinct(*self.key)
        }
        for row in rows:
            row.newest = newest[self._key(row)]

    def save_model(
        self,
        request: HttpRequest,
        obj: Any,
        form: Any,
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """Saves the version with the logged-in user as its author."""
        obj.author = request.user.get_username()
        super().save_model(request, obj, form, change)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Adds the buttons that start a new version, for users who may add one."""
        version = context.get("original")
        if version is not None and self.has_add_permission(request):
            context["new_versions"] = self.new_versions(version)
        return super().render_change_form(request, context, *args, **kwargs)

    def new_versions(self, version: Any) -> list[tuple[str, str]]:
        """The label and address of each button; it opens the add form with the version's fields."""
        return [(self.change_label, self.add_url(version))]

    def add_url(self, version: Any, **fields: Any) -> str:
        """The address of the add form, filled with the version's fields and with `fields`."""
        kept = {name: getattr(version, name) for name in self.kept} | fields
        filled = {name: value for name, value in kept.items() if value is not None}
        return f"{reverse(f'admin:notify_{self.opts.model_name}_add')}?{urlencode(filled)}"

    @admin.display(description="state")
    def state(self, version: Any) -> str:
        """The state of the version: in force, expired, lifted, or replaced by a newer version."""
        if hasattr(version, "in_force"):
            return IN_FORCE
        if version.version != version.newest:
            return REPLACED
        return LIFTED if self.is_lifted(version) else EXPIRED

    @admin.display(description="state")
    def state_until(self, version: Any) -> str:
        """The state, and under it the expiry if there is one."""
        state = self.state(version)
        level = _LEVELS.get(state.split(",")[0], "")
        shown = format_html('<span class="n-tag {}">{}</span>', level, state)
        if version.expires_at is None:
            return shown
        until = timezone.localtime(version.expires_at).strftime("%Y-%m-%d %H:%M")
        return format_html(
            '<span class="n-cell">{}<br><span class="n-quiet">until {}</span></span>',
            shown,
            until,
        )

    @admin.display(description="reason")
    def why(self, version: Any) -> str:
        """As much of the reason as fits, and under it who and when."""
        return format_html(
            '<span class="n-cell">{}<br><span class="n-quiet">{}, {}</span></span>',
            Truncator(version.reason).chars(120),
            version.author,
            timezone.localtime(version.at).strftime("%Y-%m-%d %H:%M"),
        )

    @admin.display(description="history")
    def history(self, version: Any) -> str:
        """All versions of the same rule, newest first."""
        versions = self.model.objects.filter(self._same(version)).order_by("-version")
        rows = format_html_join(
            "",
            '<tr><td class="n-number">{}</td><td>{}</td><td>{}</td><td>{}</td>'
            '<td class="n-wrap">{}</td></tr>',
            (
                (
                    each.version,
                    timezone.localtime(each.at).strftime("%Y-%m-%d %H:%M"),
                    each.author,
                    self.summary(each),
                    each.reason,
                )
                for each in versions
            ),
        )
        return format_html(
            '<div class="n-table-box"><table class="n-table"><thead><tr><th class="n-number">Version'
            "<th>At<th>Author<th>Change<th>Reason</tr></thead><tbody>{}</tbody></table></div>",
            rows,
        )

    def summary(self, version: Any) -> str:
        """What the version says, in a few words."""
        raise NotImplementedError

    def _key(self, version: Any) -> tuple[Any, ...]:
        return tuple(getattr(version, name) for name in self.key)

    def _same(self, version: Any) -> Q:
        return Q(**dict(zip(self.key, self._key(version), strict=True)))
