"""Link limits: how many children a parent may have."""

from typing import Any

from django.contrib import admin
from django.db.models import Q

from notify.admin.app_field import AppField
from notify.admin.policy_versions import PolicyVersionAdmin, StateFilter, VersionForm
from notify.domain.policy import LINK_LIMIT_DEFAULT, MERGED_LIMIT_DEFAULT
from notify.models import LinkLimit
from notify.templatetags.figures import count


class LinkLimitForm(VersionForm):
    """A new version of the limit of an app and label, or its first."""

    app = AppField(required=False, help_text="Its name or its UUID. Empty: all apps without one.")

    class Meta:
        model = LinkLimit
        fields = ("app", "label", "children", "expires_at", "reason")
        widgets = VersionForm.WIDGETS


class LimitStateFilter(StateFilter):
    """A limit is of one app (or all) and label; without a number, it is lifted."""

    key = ("app_id", "label")
    lifted = Q(children=None)


@admin.register(LinkLimit)
class LinkLimitAdmin(PolicyVersionAdmin):
    """The limits in force: the default of each label, and those of single apps."""

    form = LinkLimitForm
    key = ("app_id", "label")
    kept = ("app", "label", "children")
    list_display = ("limit", "whose", "most", "state_until", "why")
    list_filter = (LimitStateFilter, "label", ("app", admin.RelatedOnlyFieldListFilter))
    fields = ("app", "label", "children", "expires_at", "reason")
    search_uuids = ("app",)
    search_help_text = "An app's UUID, or a part of its name."
    note = (
        f"A label without a limit here has {LINK_LIMIT_DEFAULT} children for a parent "
        f"({MERGED_LIMIT_DEFAULT:,} anonymous users that logged in as one). At the limit new links "
        "are refused, and the oldest logins end; over it, mirroring to the parent stops too."
    )

    def get_fields(self, request: Any, obj: Any = None) -> tuple[str, ...]:
        """A saved version shows the versions before and after it."""
        return self.fields if obj is None else (*self.fields, "author", "at", "state", "history")

    def get_readonly_fields(self, request: Any, obj: Any = None) -> tuple[str, ...]:
        """All that is computed."""
        return () if obj is None else ("author", "at", "state", "history")

    @admin.display(description="label")
    def limit(self, version: LinkLimit) -> str:
        """Whose links it limits."""
        return version.label

    @admin.display(description="app")
    def whose(self, version: Any) -> Any:
        """The app, or that it is the default."""
        return version.app or "default, all apps"

    @admin.display(description="children")
    def most(self, version: LinkLimit) -> str:
        """How many there may be."""
        return count(version.children)

    def is_lifted(self, version: Any) -> bool:
        """Without a number, what holds for all apps holds."""
        return version.children is None

    def summary(self, version: Any) -> str:
        """Its number and expiry."""
        if version.children is None:
            return "lifted"
        until = f", until {version.expires_at:%Y-%m-%d %H:%M} UTC" if version.expires_at else ""
        return f"{version.children:,} children{until}"
