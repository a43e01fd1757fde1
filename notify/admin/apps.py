"""Apps and their keys. A key's secret is shown once, when it is made."""

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html

from notify import app_keys
from notify.admin.listing import ListAdmin, moment
from notify.app_keys import NewKey
from notify.models import App, AppKey

_MAKE_KEY: Final = "_make_key"


class KeyForm(forms.ModelForm):  # type: ignore[type-arg] # ModelForm[...] fails at run time
    """All that can be done to a key is to revoke it."""

    revoke = forms.BooleanField(required=False)

    class Meta:
        model = AppKey
        fields = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["revoke"].disabled = self.instance.revoked_at is not None

    def save(self, commit: bool = True) -> AppKey:  # noqa: FBT001, FBT002 - Django's signature
        """Revoke the key if that was ticked."""
        key: AppKey = self.instance
        if commit and self.cleaned_data["revoke"]:
            app_keys.revoke(key)
        return key


class KeyInline(admin.TabularInline):  # type: ignore[type-arg] # TabularInline[...] fails at run time
    """The app's keys, newest first, by their first characters."""

    model = AppKey
    form = KeyForm
    fields = readonly_fields = ("key", "created_at", "revoked_at")
    verbose_name_plural = "keys (two live at a time: another one revokes the oldest)"
    extra = 0
    can_delete = False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Who may change keys gets the box to revoke them."""
        return (
            (*self.readonly_fields, "revoke")
            if self.has_change_permission(request)
            else self.fields
        )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keys are made by the button below."""
        return False

    @admin.display(description="starts with")
    def key(self, key: AppKey) -> str:
        """Never the secret: it is not stored."""
        return str(key)


@admin.register(App)
class AppAdmin(ListAdmin):
    """Customers: made here with their first key, disabled here, never deleted."""

    list_display = ("name", "app_id", "enabled", "requires_key", "live_keys", "made")
    list_filter = ("enabled", "requires_key")
    fields = ("name", "enabled", "requires_key")
    inlines = (KeyInline,)
    change_form_template = "admin/notify/app_change_form.html"
    search_fields = ("name",)
    search_uuids = ("id",)
    search_app = "id"
    search_help_text = "An app's UUID, or a part of its name."
    note = "To stop an app, disable it: its records stay, so apps are never deleted."

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A new app has no id yet."""
        return (
            self.fields if obj is None else ("name", "id", "enabled", "requires_key", "created_at")
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What never changes."""
        return () if obj is None else ("id", "created_at")

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        """A new app has no keys yet."""
        return [] if obj is None else list(self.inlines)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: records and policy refer to the app."""
        return False

    def attach(self, rows: Sequence[Any]) -> None:
        """Each app gets `live_keys`."""
        live = AppKey.objects.filter(app__in=rows, revoked_at=None).order_by().values("app")
        counts = {row["app"]: row["live"] for row in live.annotate(live=Count("id"))}
        for app in rows:
            app.live_keys = counts.get(app.id, 0)

    @admin.display(description="id")
    def app_id(self, app: App) -> str:
        """In one line."""
        return format_html('<code class="id">{}</code>', app.id)

    @admin.display(description="created")
    def made(self, app: App) -> str:
        """When it was created."""
        return moment(app.created_at)

    @admin.display(description="live keys")
    def live_keys(self, app: Any) -> int:
        """Keys that are not revoked."""
        return int(app.live_keys)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """With the button that makes a key, for who may."""
        context["make_key"] = _MAKE_KEY if _may_make_keys(request) else None
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(
        self,
        request: HttpRequest,
        obj: Any,
        form: Any,
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """A new app gets its first key; an app gets another where the button was pressed."""
        super().save_model(request, obj, form, change)
        if not change or (_MAKE_KEY in request.POST and _may_make_keys(request)):
            obj.new_key = app_keys.rotate(obj)
            _show(request, obj, obj.new_key)

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> Any:
        """The history names a new key by its first characters, never the secret."""
        said: Any = super().construct_change_message(request, form, formsets, add)
        key: NewKey | None = getattr(form.instance, "new_key", None)
        if key is not None:
            said.append({"added": {"name": "app key", "object": f"{key.prefix}…"}})
        return said

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Stay on the page that lists the new key."""
        if hasattr(obj, "new_key"):
            return HttpResponseRedirect(request.path)
        return super().response_change(request, obj)


def _may_make_keys(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("notify.add_appkey"))


def _show(request: HttpRequest, app: App, key: NewKey) -> None:
    revoked = ", ".join(f"{prefix}…" for prefix in key.revoked)
    messages.warning(
        request,
        format_html(
            "The new key of {}: <code>{}</code> Copy it now, it is not shown again.{}",
            app.name,
            key.secret,
            f" Revoked: {revoked}" if revoked else "",
        ),
    )
