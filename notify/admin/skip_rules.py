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
from notify.domain.records.policy import SCOPE_ALL
from notify.models import SkipCount, SkipRule


class SkipRuleForm(VersionForm):
    """A new version of the rule for a record, or its first."""

    app = AppField(help_text="The app's name or UUID.")

    class Meta:
        model = SkipRule
        fields = ("app", "record", "scope", "active", "expires_at", "reason")
        widgets = VersionForm.WIDGETS | {"record": TextInput()}


class SkipStateFilter(StateFilter):
    """The filter by state: a rule belongs to one record, and is lifted if it is not active."""

    key = ("app_id", "record")
    lifted = Q(active=False)


@admin.register(SkipRule)
class SkipRuleAdmin(PolicyVersionAdmin):
    """The skip rules, with how many updates each has dropped."""

    form = SkipRuleForm
    key = ("app_id", "record")
    kept = ("app", "record", "scope")
    list_display = ("whose", "state_until", "hits_until", "why")
    list_filter = (SkipStateFilter, "scope", ("app", admin.RelatedOnlyFieldListFilter))
    fields = ("app", "record", "scope", "active", "expires_at", "reason")
    computed = ("author", "at", "state", "hits", "last_hit", "history")
    note = (
        "A skip rule drops the updates of one record: its own and those mirrored to it, or the mirrored ones "
        "only. It takes effect within seconds. Lifting the rule does not restore what it dropped: "
        "replay that under Skipped updates."
    )

    def attach(self, rows: Sequence[Any]) -> None:
        """Adds `hits` and `last_hit` to each rule, over all streams and versions."""
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
        """How many updates the rule has dropped."""
        return f"{rule.hits:,}"

    @admin.display(description="hits, last")
    def hits_until(self, rule: Any) -> str:
        """How many updates the rule has dropped, and when it dropped the last one."""
        if not rule.hits:
            return "0"
        return format_html(
            '<span class="n-cell">{}<br>{}</span>', f"{rule.hits:,}", moment(rule.last_hit)
        )

    @admin.display(description="last hit")
    def last_hit(self, rule: Any) -> str:
        """When the rule last dropped an update."""
        return moment(rule.last_hit)

    def state(self, version: Any) -> str:
        """The state, with the scope if the rule does not drop all updates."""
        state = super().state(version)
        return state if version.scope == SCOPE_ALL else f"{state}, {version.get_scope_display()}"

    def is_lifted(self, version: Any) -> bool:
        """Whether this version lifts the rule."""
        return not version.active

    def new_versions(self, version: Any) -> list[tuple[str, str]]:
        """The buttons: change or lift the rule, or skip again if it is lifted."""
        if not version.active:
            return [("Skip again", self.add_url(version))]
        return [("Change", self.add_url(version)), ("Lift", self.add_url(version, active=""))]

    def summary(self, version: Any) -> str:
        """The version in a few words, such as "skips all its updates, until ..."."""
        if not version.active:
            return "lifted"
        until = f", until {version.expires_at:%Y-%m-%d %H:%M} UTC" if version.expires_at else ""
        return f"skips {version.get_scope_display()}{until}"
