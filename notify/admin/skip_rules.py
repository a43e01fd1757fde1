"""Skip rules: drop the updates of one record."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Max, Q, Sum
from django.utils.html import format_html

from notify.admin.app_field import AppField
from notify.admin.listing import moment, record_of
from notify.admin.policy_versions import PolicyVersionAdmin, StateFilter, VersionForm
from notify.admin.unfolded import TextInput
from notify.domain.policy import SCOPE_ALL
from notify.models import SkipCount, SkipRule


class SkipRuleForm(VersionForm):
    """A new version of the rule for a record, or its first."""

    app = AppField(help_text="Its name or its UUID.")

    class Meta:
        model = SkipRule
        fields = ("app", "record", "scope", "active", "expires_at", "reason")
        widgets = VersionForm.WIDGETS | {"record": TextInput()}


class SkipStateFilter(StateFilter):
    """A rule is of one record; not active, it is lifted."""

    key = ("app_id", "record")
    lifted = Q(active=False)


@admin.register(SkipRule)
class SkipRuleAdmin(PolicyVersionAdmin):
    """The rules in force, with what they dropped."""

    form = SkipRuleForm
    key = ("app_id", "record")
    kept = ("app", "record", "scope")
    list_display = ("whose", "state_until", "hits_until", "why")
    list_filter = (SkipStateFilter, "scope", ("app", admin.RelatedOnlyFieldListFilter))
    fields = ("app", "record", "scope", "active", "expires_at", "reason")
    note = (
        "Updates of these records are dropped: direct ones and those mirrored to them. A rule acts "
        "within seconds; lifting it does not bring back what it dropped: "
        "a replay does, from Skipped updates."
    )

    def get_fields(self, request: Any, obj: Any = None) -> tuple[str, ...]:
        """A saved version shows what it did, and the versions before and after it."""
        if obj is None:
            return self.fields
        return (
            *self.fields,
            "author",
            "at",
            "state",
            "hits",
            "last_hit",
            "history",
        )

    def get_readonly_fields(self, request: Any, obj: Any = None) -> tuple[str, ...]:
        """All that is computed."""
        return () if obj is None else ("author", "at", "state", "hits", "last_hit", "history")

    def attach(self, rows: Sequence[Any]) -> None:
        """Each rule gets `hits` and `last_hit`, of all streams and versions."""
        super().attach(rows)
        counts = SkipCount.objects.filter(rule__in={row.rule for row in rows}).order_by()
        found = {
            count["rule"]: count
            for count in counts.values("rule").annotate(hits=Sum("hits"), last_hit=Max("last_at"))
        }
        for row in rows:
            count = found.get(row.rule, {"hits": 0, "last_hit": None})
            row.hits, row.last_hit = count["hits"], count["last_hit"]

    @admin.display(description="record", ordering="record")
    def whose(self, rule: SkipRule) -> str:
        """The record under its app's name."""
        return record_of(rule.app, rule.record)

    @admin.display(description="hits")
    def hits(self, rule: Any) -> str:
        """Updates that it dropped."""
        return f"{rule.hits:,}"

    @admin.display(description="hits, last")
    def hits_until(self, rule: Any) -> str:
        """Updates that it dropped, and when the last one."""
        if not rule.hits:
            return "0"
        return format_html(
            '<span class="n-cell">{}<br>{}</span>', f"{rule.hits:,}", moment(rule.last_hit)
        )

    @admin.display(description="last hit")
    def last_hit(self, rule: Any) -> str:
        """When it last dropped one."""
        return moment(rule.last_hit)

    def state(self, version: Any) -> str:
        """With the scope, where it is not all updates."""
        state = super().state(version)
        return state if version.scope == SCOPE_ALL else f"{state}, {version.get_scope_display()}"

    def is_lifted(self, version: Any) -> bool:
        """A rule that is not active is lifted."""
        return not version.active

    def new_versions(self, version: Any) -> list[tuple[str, str]]:
        """Lift it, or change it; a lifted one: skip again."""
        if not version.active:
            return [("Skip again", self.add_url(version))]
        return [("Change", self.add_url(version)), ("Lift", self.add_url(version, active=""))]

    def summary(self, version: Any) -> str:
        """Lifted, or its scope and expiry."""
        if not version.active:
            return "lifted"
        until = f", until {version.expires_at:%Y-%m-%d %H:%M} UTC" if version.expires_at else ""
        return f"skips {version.get_scope_display()}{until}"
