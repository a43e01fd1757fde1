"""Apps and their keys. A key's secret is shown once, in the answer to the POST that makes it: what is told
by a message would stand in a cookie or in the session.

Of the keys that verify tokens only the public half is ever here; it is added by pasting it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from notify.admin.listing import ListAdmin, moment
from notify.admin.pages import shown
from notify.admin.reasons import ReasonedAdmin, ReasonForm, with_reason
from notify.admin.unfolded import Checkbox, TabularInline, Textarea
from notify.domain.records import nobody
from notify.models import App, AppKey, IdentityKey
from notify.operations import app_keys, identity_keys
from notify.operations.app_keys import NewKey, revoke
from notify.operations.identity_keys import AddedKey
from notify.security.public_keys import KeyRefused

_MAKE_KEY: Final = "_make_key"
_PUBLIC_KEY: Final = "public_key"
_NOBODY: Final = "nobody_names"
_BUILT_IN: Final = "\n".join(sorted(nobody.NAMES))
_MADE_MEANWHILE: Final = (
    "No key was made, because somebody made one after you loaded this page. Check the keys below, then try "
    "again."
)


class PemInput(Textarea):
    """A field that is empty again after an error, because its text may be a private key."""

    def format_value(self, value: Any) -> None:
        return None


class LinesField(forms.CharField):
    """A text whose lines end with LF: browsers send CRLF, which Django would count as a change."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return text.replace("\r\n", "\n") if isinstance(text, str) else text


class AppForm(ReasonForm):
    """An app, and a public key to add to it."""

    class Meta:
        field_classes = {_NOBODY: LinesField}

    public_key = forms.CharField(
        required=False,
        strip=False,
        label="Add a public key",
        widget=PemInput(attrs={"rows": 5, "spellcheck": "false"}),
        help_text="The public key, in PEM and on the curve P-256, of the pair with which the app's server "
        "signs its tokens. An app has at most two: another one revokes the oldest. Never paste the private "
        "key.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if _NOBODY in self.fields and self.instance.nobody_names is None:
            self.initial[_NOBODY] = _BUILT_IN

    def clean_nobody_names(self) -> str | None:
        """One name a line, sorted; None for the built-in list."""
        if _NOBODY not in self.data:
            stays: str | None = self.instance.nobody_names
            return stays
        names = nobody.names_in(self.cleaned_data[_NOBODY] or "")
        text = "\n".join(sorted(names))
        if len(text) > nobody.NAMES_CHARS_MAX:
            raise forms.ValidationError(
                f"The list has {len(text):,} characters; at most {nobody.NAMES_CHARS_MAX:,} are allowed."
            )
        return None if names == nobody.NAMES else text

    def clean_public_key(self) -> str:
        """The PEM as it is stored; empty where none is added."""
        text: str = self.cleaned_data[_PUBLIC_KEY]
        if not text.strip():
            return ""
        try:
            return identity_keys.check_new(self.instance, text)[0]
        except KeyRefused as refused:
            raise forms.ValidationError(str(refused)) from None

    def clean(self) -> dict[str, Any]:
        """Refuses to require tokens while the app has no public key to verify them with."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if found.get("requires_identity") and not (
            found.get(_PUBLIC_KEY)
            or self.instance.requires_identity
            or identity_keys.live(self.instance)
        ):
            self.add_error("requires_identity", identity_keys.KEY_FIRST)
        return found


class RevokeForm(forms.ModelForm):  # type: ignore[type-arg] # ModelForm[...] fails at run time
    """Revokes a key: nothing else about a key can be changed."""

    revoke = forms.BooleanField(required=False, widget=Checkbox)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["revoke"].disabled = self.instance.revoked_at is not None

    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        """Revokes the key if the box was ticked."""
        if commit and self.cleaned_data["revoke"]:
            revoke(self.instance)
        return self.instance


class KeysInline(TabularInline):
    """The keys of an app, newest first. They can only be revoked here."""

    form = RevokeForm
    readonly_fields: ClassVar[tuple[str, ...]] = ()
    extra = 0
    can_delete = False
    hide_title = True

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Adds the box to revoke a key, for users who may change keys."""
        return (
            (*self.readonly_fields, "revoke")
            if self.has_change_permission(request)
            else self.readonly_fields
        )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: keys are made with the button below, or pasted above."""
        return False


class KeyInline(KeysInline):
    """The app's keys, by their first characters."""

    model = AppKey
    readonly_fields = ("key", "created_at", "revoked_at")
    verbose_name_plural = "app keys"

    @admin.display(description="starts with")
    def key(self, key: AppKey) -> str:
        """The key's first characters; the secret is not stored."""
        return str(key)


class IdentityKeyInline(KeysInline):
    """The public keys that the app's tokens are verified with."""

    model = IdentityKey
    readonly_fields = ("sha_256", "added_by", "created_at", "revoked_at")
    verbose_name_plural = "public keys that verify tokens"

    @admin.display(description="fingerprint (SHA-256)")
    def sha_256(self, key: IdentityKey) -> str:
        """As `openssl pkey -pubin -outform DER | sha256sum` prints it."""
        return format_html('<code class="n-id">{}</code>', key.fingerprint)


@admin.register(App)
class AppAdmin(ReasonedAdmin, ListAdmin):
    """The pages of apps. A new app gets its first key; apps can be disabled but not deleted."""

    form = AppForm
    list_display = ("name", "app_id", "enabled", "requires", "live_keys", "made")
    list_filter = ("enabled", "requires_key", "requires_identity")
    inlines = (KeyInline, IdentityKeyInline)
    change_form_template = "admin/notify/app_change_form.html"
    search_fields = ("name",)
    search_uuids = ("id",)
    search_app = "id"
    search_help_text = "An app's UUID, or a part of its name."
    note = "To stop an app, disable it: its records stay, so apps are never deleted."

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The fields of the form; a new app has no id and no public keys yet."""
        if obj is None:
            return ("name", "enabled", "requires_key")
        shown = (
            *("name", "id", "enabled", "requests_per_s", "requires_key", "requires_identity"),
            *(_NOBODY, "created_at"),
        )
        may_add = self.has_change_permission(request, obj) and request.user.has_perm(
            "notify.add_identitykey"
        )
        return (*shown, _PUBLIC_KEY) if may_add else shown

    def get_form(
        self,
        request: HttpRequest,
        obj: Any = None,
        change: bool = False,  # noqa: FBT001, FBT002 - Django's signature
        **kwargs: Any,
    ) -> Any:
        """Removes fields that are not shown from the form, so that a request cannot set them."""
        made: Any = super().get_form(request, obj, change=change, **kwargs)
        if _PUBLIC_KEY not in self.get_fields(request, obj):
            made.base_fields.pop(_PUBLIC_KEY, None)
        return made

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The fields that cannot be changed."""
        return () if obj is None else ("id", "created_at")

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        """A new app has no keys yet."""
        return [] if obj is None else list(self.inlines)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: records and policy refer to the app."""
        return False

    def attach(self, rows: Sequence[Any]) -> None:
        """Adds `live_keys` to each app."""
        live = AppKey.objects.filter(app__in=rows, revoked_at=None).order_by().values("app")
        counts = {row["app"]: row["live"] for row in live.annotate(live=Count("id"))}
        for app in rows:
            app.live_keys = counts.get(app.id, 0)

    @admin.display(description="id")
    def app_id(self, app: App) -> str:
        """The app's id, in one line."""
        return format_html('<code class="n-id">{}</code>', app.id)

    @admin.display(description="SDKs need")
    def requires(self, app: App) -> str:
        """What SDK calls need: a key, or a token if they name a user."""
        if app.requires_key:
            return "a key"
        return "tokens" if app.requires_identity else "nothing: open"

    @admin.display(description="created")
    def made(self, app: App) -> str:
        """When the app was created."""
        return moment(app.created_at)

    @admin.display(description="live keys")
    def live_keys(self, app: Any) -> int:
        """How many keys are not revoked."""
        return int(app.live_keys)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Adds the button that makes a key, for users who may."""
        app: App | None = context.get("original")
        if app is not None and _may_make_keys(request):
            context |= {"make_key": _MAKE_KEY, "newest_key": _newest_key(app)}
        if app is not None and app.is_open:
            context["open_app"] = f"{app_keys.OPEN_APP} {app_keys.CLOSE_APP}"
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(
        self,
        request: HttpRequest,
        obj: Any,
        form: Any,
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        """A new app gets its first key; an app gets another where the button was pressed.

        Pressed once makes one key: the answer to the POST, loaded again, would make a second one and
        revoke the oldest.
        """
        super().save_model(request, obj, form, change)
        pressed = request.POST.get(_MAKE_KEY) if _may_make_keys(request) else None
        if not change or pressed == _newest_key(obj):
            obj.new_key = app_keys.rotate(obj)
        elif pressed is not None:
            messages.error(request, _MADE_MEANWHILE)
        if pem := form.cleaned_data.get(_PUBLIC_KEY):
            obj.added_key = identity_keys.add(obj, pem, by=request.user.get_username())
            _tell(request, obj.added_key)

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> Any:
        """The history names a new key by its first characters, never the secret, and a public one
        by its fingerprint."""
        said: Any = ListAdmin.construct_change_message(self, request, form, formsets, add)
        key: NewKey | None = getattr(form.instance, "new_key", None)
        if key is not None:
            said.append({"added": {"name": "app key", "object": f"{key.prefix}…"}})
        added: AddedKey | None = getattr(form.instance, "added_key", None)
        if added is not None:
            said.append({"added": {"name": "public key", "object": added.key.fingerprint}})
        return with_reason(said, form)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Shows the key of the new app."""
        return _new_key(request, obj)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Shows the new key if one was made; otherwise stays on the app's page."""
        if hasattr(obj, "new_key"):
            return _new_key(request, obj)
        if hasattr(obj, "added_key"):
            return HttpResponseRedirect(request.path)
        return super().response_change(request, obj)


def _new_key(request: HttpRequest, app: Any) -> HttpResponse:
    """The only page with the secret. Like all pages of the admin it must not be cached (no-store)."""
    return shown(
        request,
        "admin/notify/new_key.html",
        title=f"The new key of {app.name}",
        crumbs=[("Apps", reverse("admin:notify_app_changelist"))],
        app=app,
        key=app.new_key,
    )


def _newest_key(app: App) -> str:
    """The id of the newest key, which the button sends; "0" if there is none."""
    found = AppKey.objects.filter(app=app).order_by("-id").values_list("id", flat=True).first()
    return str(found or 0)


def _may_make_keys(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("notify.add_appkey"))


def _tell(request: HttpRequest, added: AddedKey) -> None:
    ended = ", ".join(added.revoked)
    messages.info(
        request,
        f"Added the public key {added.key.fingerprint}."
        + (f" Revoked, and every token that it signed: {ended}" if ended else ""),
    )
