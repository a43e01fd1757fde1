"""Skipped updates: what the bridge dropped, by record and reason, and how to lift rules and replay it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Max, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from notify.admin import dropped_groups, reasons
from notify.admin.filters import AppFilter, TimeFilter
from notify.admin.hot_orders import limit_cell
from notify.admin.listing import ReadOnlyAdmin, moment, names_of
from notify.admin.pages import page, shown
from notify.domain.records.aliases import ALIAS_LIMIT, ALIAS_TAKEN
from notify.domain.records.decide import LINK_REFUSED, MIRROR_STOPPED, SKIPPED
from notify.models import App, Replay, SkipCount, Skipped, SkipRule
from notify.monitoring.link_limits import FullLinks, explaining, full_links
from notify.monitoring.snapshot import run
from notify.operations import replays

REASONS: Final = {
    SKIPPED: "skip rule",
    LINK_REFUSED: "link refused: link limit reached",
    MIRROR_STOPPED: "not mirrored: link limit exceeded",
    ALIAS_TAKEN: "alias refused: another user has it",
    ALIAS_LIMIT: "alias refused: limit of aliases reached",
}
#: Why what was dropped for a reason cannot be replayed.
NO_REPLAY: Final = {
    LINK_REFUSED: "Cannot be replayed: only the link was refused, the rest was applied. The next update that "
    "contains the link creates it, if the limit allows it.",
    MIRROR_STOPPED: "Cannot be replayed: only their number is stored. The devices' own updates were applied.",
    ALIAS_TAKEN: "Cannot be replayed: only the alias was refused, the rest was applied.",
    ALIAS_LIMIT: "Cannot be replayed: only the alias was refused, the rest was applied. The next update that "
    "contains the alias adds it, if the limit allows it.",
}
#: Rows of `skipped`, rules and orders that the page reads, and records that it lists.
_ROWS_MAX: Final = 5_000
_RULES_MAX: Final = 200
_RECORDS_MAX: Final = 20
_ORDERS_MAX: Final = 20
_LIST: Final = "admin:notify_skipped_changelist"
_MAY_RULE: Final = "notify.add_skiprule"
_MAY_REPLAY: Final = "notify.replay_skipped"
#: Reasons that a link limit gives.
_BY_LIMIT: Final = (LINK_REFUSED, MIRROR_STOPPED, ALIAS_LIMIT)
_Key = tuple[UUID, UUID]


class ReasonFilter(admin.SimpleListFilter):
    """Filters by the reason why updates were dropped."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterator[tuple[str, str]]:
        """The reasons for which the bridge drops updates."""
        yield from REASONS.items()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows with that reason."""
        return queryset.filter(reason=self.value()) if self.value() else queryset


@admin.register(Skipped)
class SkippedAdmin(ReadOnlyAdmin):
    """The list of skipped updates, with groups by app, record and reason above it."""

    list_display = ("when", "whose", "updates", "offsets")
    list_display_links = None
    list_filter = (ReasonFilter, TimeFilter, AppFilter)
    note = (
        "Updates that were accepted but not applied, or only in part: the newest 1,000 that match."
    )
    list_before_template = "admin/notify/skipped_records.html"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list, with groups and records above the rows on its first, unfiltered page."""
        records: dict[str, Any] = {}
        if not request.GET and self.has_view_permission(request):
            groups = dropped_groups.read(dropped_groups.SKIPPED)
            records = {
                "groups": _explained(request, groups.shown),
                "groups_all": groups.all,
                "since": groups.since,
                "rows_read": dropped_groups.ROWS_READ,
                "records": _records(),
                "orders": _orders(Replay.objects.all()),
                "records_max": _RECORDS_MAX,
            }
        return super().changelist_view(request, records | (extra_context or {}))

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; the column of reasons links to the pages that this user may open."""

        @admin.display(description="reason")
        def why(row: Any) -> str:
            rule = "" if row.rule is None else f" {row.rule}"
            said = f"{REASONS.get(row.reason, row.reason)}{rule}"
            cell = row.limits.cell(request, row.app, row.record, row.reason)
            no_replay = NO_REPLAY.get(row.reason, "")
            return format_html(
                '<span class="n-cell">{}{}</span>',
                said,
                format_html_join("", "<br>{}", [(line,) for line in (cell, no_replay) if line]),
            )

        return ("when", "whose", why, "updates", "offsets")

    def attach(self, rows: Sequence[Any]) -> None:
        """Adds `limits` to each row."""
        super().attach(rows)
        limits = _Limits((row.app, row.record, row.reason) for row in rows)
        for row in rows:
            row.limits = limits

    @admin.display(description="at")
    def when(self, row: Skipped) -> str:
        """When the chunk was decided."""
        return moment(row.at)

    @admin.display(description="updates")
    def updates(self, row: Skipped) -> str:
        """How many updates the row stands for."""
        return f"{row.n:,}"

    @admin.display(description="partition: offsets")
    def offsets(self, row: Any) -> str:
        """The partition, and the first and the last offset."""
        return f"{row.partition}: {row.first}-{row.last}"


def _explained(
    request: HttpRequest, groups: Sequence[dropped_groups.Group]
) -> list[tuple[dropped_groups.Group, str, str, str]]:
    """Each group with its reason in words, why it cannot be replayed, and the limit it has reached."""
    limits = _Limits((each.app, each.record, each.reason) for each in groups)
    return [
        (
            each,
            REASONS.get(each.reason, each.reason),
            NO_REPLAY.get(each.reason, ""),
            limits.cell(request, each.app, each.record, each.reason),
        )
        for each in groups
    ]


class _Limits:
    """The link limits that explain rows of these apps, records and reasons. At most two queries."""

    def __init__(self, rows: Iterable[tuple[UUID | None, UUID | None, str]]) -> None:
        keys = {
            (app, record) for app, record, reason in rows if app and record and reason in _BY_LIMIT
        }
        self._full: Mapping[_Key, Sequence[FullLinks]] = {}
        if keys:
            wanted = {"apps": [key[0] for key in keys], "records": [key[1] for key in keys]}
            self._full = full_links(run("linked", **wanted))

    def cell(self, request: HttpRequest, app: UUID | None, record: UUID | None, reason: str) -> str:
        """The limit, with a link to its page; empty if no limit explains the row now."""
        if app is None or record is None or reason not in _BY_LIMIT:
            return ""
        full = explaining(self._full.get((app, record), ()), reason)
        return "" if full is None else limit_cell(request, app, record, full)


def _records() -> list[dict[str, Any]]:
    """The records with a rule in force and those that were skipped lately, the newest first."""
    last: dict[_Key, datetime] = {}
    newest = Skipped.objects.order_by("-id").values_list("app", "record", "at", "reason")
    for app, record, at, reason in newest[:_ROWS_MAX]:
        if app is not None and record is not None and reason == SKIPPED:
            last.setdefault((app, record), at)
    rules = _rules_in_force()
    for key, rule in rules.items():
        last[key] = max(last.get(key, rule.at), rule.at)
    keys = sorted(last, key=lambda key: last[key], reverse=True)[:_RECORDS_MAX]
    hits = _hits(keys)
    names = names_of(app for app, _ in keys)
    return [
        {
            "app": app,
            "name": names.get(app, app),
            "record": record,
            "rule": rules.get((app, record)),
            "dropped": hits.get((app, record), 0),
            "at": last[app, record],
        }
        for app, record in keys
    ]


def _rules_in_force() -> dict[_Key, SkipRule]:
    rules = SkipRule.objects.filter(in_force__isnull=False).order_by("-version")
    return {(rule.app_id, rule.record): rule for rule in rules[:_RULES_MAX]}


def _hits(keys: list[_Key]) -> dict[_Key, int]:
    """How many updates skip rules have ever dropped, by record."""
    rules = SkipRule.objects.filter(record__in=[record for _, record in keys])
    of = {
        rule: (app, record) for rule, app, record in rules.values_list("rule", "app_id", "record")
    }
    counts = SkipCount.objects.filter(rule__in=of).order_by()
    return {
        of[count["rule"]]: count["total"]
        for count in counts.values("rule").annotate(total=Sum("hits"))
    }


def _orders(orders: QuerySet[Any]) -> list[dict[str, Any]]:
    newest = list(orders.order_by("-id")[:_ORDERS_MAX])
    names = names_of(each.app for each in newest)
    return [{"order": each, "name": names.get(each.app, each.app)} for each in newest]


class ExtendForm(forms.Form):
    """Asks how much longer a rule holds, and for the reason."""

    by = forms.ChoiceField(
        choices=[("1", "1 day more"), ("7", "7 days more"), ("never", "until it is lifted")],
        label="Extend by",
    )
    reason = reasons.ReasonField()


class WhyForm(forms.Form):
    """Asks for the reason."""

    reason = reasons.ReasonField()


@page("skipped/<uuid:app>/<uuid:record>/", name="skipped_record", permission="notify.view_skipped")
def of_record(request: HttpRequest, app: UUID, record: UUID) -> HttpResponse:
    """The page of a skipped record: its rule, what was dropped, and buttons to extend, lift and replay."""
    customer = get_object_or_404(App, id=app)
    forms_ = {"extend": ExtendForm(), "lift": WhyForm(), "replay": WhyForm()}
    do = request.POST.get("do", "")
    if request.method == "POST" and do in forms_:
        if not request.user.has_perm(_MAY_REPLAY if do == "replay" else _MAY_RULE):
            raise PermissionDenied
        forms_[do] = form = type(forms_[do])(request.POST)
        if form.is_valid():
            _DO[do](request, customer, record, form.cleaned_data)
            return HttpResponseRedirect(request.path)
    for name, form in forms_.items():
        form.auto_id = f"id_{name}_%s"
    orders = Replay.objects.filter(app=app, record=record)
    rule = SkipRule.now_of(app, record)
    totals = orders.aggregate(sent=Sum("sent"), lost=Sum("lost"))
    return shown(
        request,
        "admin/notify/skipped_record.html",
        title="Skipped record",
        crumbs=[("Skipped updates", reverse(_LIST))],
        as_of=timezone.now(),
        customer=customer,
        record=record,
        rule=rule,
        dropped=_hits([(app, record)]).get((app, record), 0),
        last=Skipped.objects.filter(app=app, record=record).aggregate(at=Max("at"))["at"],
        waiting=replays.waiting(app, record),
        sent=totals["sent"] or 0,
        lost=totals["lost"] or 0,
        orders=_orders(orders),
        forms=forms_,
        may_rule=request.user.has_perm(_MAY_RULE),
        may_replay=request.user.has_perm(_MAY_REPLAY),
        is_open=orders.filter(finished_at=None).exists(),
    )


def _extend(request: HttpRequest, app: App, record: UUID, given: dict[str, Any]) -> None:
    rule = SkipRule.now_of(app.id, record)
    if rule is None:
        messages.error(
            request,
            "No rule skips this record now, so there is nothing to extend. You can add one under Skip rules.",
        )
        return
    if rule.expires_at is None:
        messages.error(request, "The rule does not expire, so there is nothing to extend.")
        return
    never = given["by"] == "never"
    ends = None if never else rule.expires_at + timedelta(days=int(given["by"]))
    until = "until it is lifted" if ends is None else f"until {ends:%Y-%m-%d %H:%M} UTC"
    _new_version(request, rule, given["reason"], f"Extended {until}.", expires_at=ends)


def _lift(request: HttpRequest, app: App, record: UUID, given: dict[str, Any]) -> None:
    rule = SkipRule.now_of(app.id, record)
    if rule is None:
        messages.error(request, "No rule skips this record now: there is nothing to lift.")
        return
    _new_version(request, rule, given["reason"], "Lifted.", active=False)


def _new_version(
    request: HttpRequest, rule: SkipRule, reason: str, did: str, **fields: Any
) -> None:
    kept = {"app": rule.app, "record": rule.record, "scope": rule.scope}
    with transaction.atomic():
        version = SkipRule(**kept, **fields, reason=reason, author=request.user.get_username())
        version.save()
        reasons.note(request, version, did=did, reason=reason, flag=ADDITION)
    messages.success(request, f"{did} This takes effect within seconds.")


def _replay(request: HttpRequest, app: App, record: UUID, given: dict[str, Any]) -> None:
    try:
        with transaction.atomic():
            author = request.user.get_username()
            order = replays.order(app.id, record, author=author, reason=given["reason"])
            did = f"Ordered a replay of what was skipped of record {record} of app {app}."
            reasons.note(request, order, did=did, reason=given["reason"], flag=ADDITION)
    except replays.NotOrdered as error:
        messages.error(request, f"The replay was not ordered: {error}.")
        return
    messages.success(
        request,
        "The replay is ordered. `manage.py watch` carries it out; its progress is shown below.",
    )


_DO: Final = {"extend": _extend, "lift": _lift, "replay": _replay}
