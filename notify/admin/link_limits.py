"""Link limits: how many children a parent may have."""

from typing import Any

from django.contrib import admin
from django.db.models import Q

from notify.admin.app_field import AppField
from notify.admin.policy_versions import PolicyVersionAdmin, StateFilter, VersionForm
from notify.domain.records.policy import LINK_LIMIT_DEFAULT, MERGED_LIMIT_DEFAULT
from notify.models import LinkLimit
from notify.templatetags.figures import count


class LinkLimitForm(VersionForm):
    """A new version of the limit of an app and label, or its first."""

    app = AppField(
        required=False,
        help_text="The app's name or UUID. Leave empty for all apps without a limit of their own.",
    )

    class Meta:
        model = LinkLimit
        fields = ("app", "label", "children", "expires_at", "reason")
        widgets = VersionForm.WIDGETS


class LimitStateFilter(StateFilter):
    """The filter by state: a limit belongs to an app (or all) and a label, and is lifted without a number."""

    key = ("app_id", "label")
    lifted = Q(children=None)


@admin.register(LinkLimit)
class LinkLimitAdmin(PolicyVersionAdmin):
    """The link limits: those of all apps by label, and those of single apps."""

    form = LinkLimitForm
    key = ("app_id", "label")
    kept = ("app", "label", "children")
    list_display = ("limit", "whose", "most", "state_until", "why")
    list_filter = (LimitStateFilter, "label", ("app", admin.RelatedOnlyFieldListFilter))
    fields = ("app", "label", "children", "expires_at", "reason")
    search_uuids = ("app",)
    search_help_text = "An app's UUID, or a part of its name."
    note = (
        "A link limit is how many records (children) may be linked to one record (their parent) by a label. "
        f"A label that is not listed here has a limit of {LINK_LIMIT_DEFAULT} ({MERGED_LIMIT_DEFAULT:,} for "
        "anonymous users that logged in as one user). At the limit, new links are refused and the oldest "
        "logins end. Above it, mirroring to the parent stops too."
    )

    @admin.display(description="label")
    def limit(self, version: LinkLimit) -> str:
        """The label whose links are limited."""
        return version.label

    @admin.display(description="app")
    def whose(self, version: Any) -> Any:
        """The app, or that the limit is for all apps without their own."""
        return version.app or "all apps without their own"

    @admin.display(description="children")
    def most(self, version: LinkLimit) -> str:
        """How many children a parent may have."""
        return count(version.children)

    def is_lifted(self, version: Any) -> bool:
        """Whether this version removes the limit."""
        return version.children is None

    def summary(self, version: Any) -> str:
        """The version in a few words, such as "100 children, until ..."."""
        if version.children is None:
            return "lifted"
        until = f", until {version.expires_at:%Y-%m-%d %H:%M} UTC" if version.expires_at else ""
        return f"{version.children:,} children{until}"
