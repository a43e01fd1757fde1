"""The two ways to relieve a hot record: skip it, or limit its links. Each page first shows the effect."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from notify.admin.hot import page_of
from notify.admin.pages import page, shown
from notify.admin.reasons import ReasonField
from notify.domain.records.policy import SCOPE_ALL, SCOPE_MIRRORED
from notify.domain.records.update import LABELS, MIRROR_LABELS
from notify.models import App, LinkLimit, SkipRule
from notify.monitoring import preview
from notify.monitoring.link_limits import FullLinks, limits_of
from notify.templatetags.figures import count

#: Hours until a rule or limit ends; 0 is never.
_EXPIRIES: Final = [("1", "1 hour"), ("24", "1 day"), ("168", "7 days"), ("0", "never")]
_CHILDREN_MAX: Final = 2**53
_LIST: Final = "admin:notify_hot_changelist"


class OrderForm(forms.Form):
    """When the rule or limit ends, and the reason for it."""

    hours = forms.ChoiceField(choices=_EXPIRIES, initial="24", label="Ends after")
    reason = ReasonField()

    def ends(self) -> datetime | None:
        """When it expires."""
        hours = int(self.cleaned_data["hours"])
        return timezone.now() + timedelta(hours=hours) if hours else None


class SkipForm(OrderForm):
    """A new skip rule for a record."""

    scope = forms.ChoiceField(
        choices=SkipRule.SCOPES, initial=SCOPE_ALL, label="Skip", widget=forms.RadioSelect
    )
    field_order = ("scope", "hours", "reason")


class LimitForm(OrderForm):
    """A new link limit: how many records may be linked to one record of the app."""

    children = forms.IntegerField(
        min_value=0, max_value=_CHILDREN_MAX, label="Records that may be linked to one record"
    )
    field_order = ("children", "hours", "reason")


@page("hot/skip/<uuid:app>/<uuid:record>/", name="hot_skip", permission="notify.add_skiprule")
def skip(request: HttpRequest, app: UUID, record: UUID) -> HttpResponse:
    """The page that asks how much of the record to skip, for how long and why, and adds the rule."""
    customer = get_object_or_404(App, id=app)
    form = SkipForm(request.POST or None)
    if form.is_valid():
        _add(request, form, SkipRule(app=customer, record=record, scope=form.cleaned_data["scope"]))
        messages.success(request, "The record is skipped. Writes to it stop within seconds.")
        return _back(request, app, record)
    minute = preview.of_skip(app, record)
    return shown(
        request,
        "admin/notify/hot_skip.html",
        title="Skip a record",
        crumbs=_crumbs(request),
        customer=customer,
        record=record,
        form=form,
        preview=minute,
        dropped={
            SCOPE_ALL: (minute.direct, minute.mirrored),
            SCOPE_MIRRORED: (0, minute.mirrored),
        },
        rule=SkipRule.now_of(app, record),
        back=_back_path(request, app, record),
    )


@page("hot/limit/<uuid:app>/<slug:label>/", name="hot_limit", permission="notify.add_linklimit")
def limit(request: HttpRequest, app: UUID, label: str) -> HttpResponse:
    """The page that sets the link limit of an app and label, after a preview of its effect.

    ?record= is the record that is shown again afterwards.
    """
    customer = get_object_or_404(App, id=app)
    if label not in LABELS:
        raise Http404(f"there are no links by {label}")
    is_preview = "preview" in request.POST
    in_force = limits_of([app]).limit(str(app), label)
    form = _limit_form(request, in_force, is_preview=is_preview)
    if not is_preview and form.is_valid():
        version = LinkLimit(app=customer, label=label, children=form.cleaned_data["children"])
        _add(request, form, version)
        messages.success(request, _limit_said(version))
        return _back(request, app, _record(request))
    children = _children(form)
    record = _record(request)
    linked = preview.linked_now(app, label, record)
    return shown(
        request,
        "admin/notify/hot_limit.html",
        title="Set a link limit",
        crumbs=_crumbs(request),
        customer=customer,
        label=label,
        form=form,
        children=children,
        now=in_force,
        linked=linked,
        is_most=record is None,
        room=0 if children is None or linked is None else children - linked.n,
        mirrors=label in MIRROR_LABELS,
        preview=None if children is None else preview.of_limit(app, label, children),
        parents_max=preview.PARENTS_MAX,
        back=_back_path(request, app, record),
    )


def limit_cell(request: HttpRequest, app: UUID, record: UUID, full: FullLinks) -> str:
    """A cell of a list with the limit that the record has reached, and a link to see or set it."""
    text = f"{full.linked:,} linked by {full.label}, limit {full.limit:,}"
    if request.user.has_perm("notify.add_linklimit"):
        path = f"{reverse('admin:hot_limit', args=[app, full.label])}?record={record}"
        return format_html('{}: <a href="{}">Set limit…</a>', text, path)
    if request.user.has_perm("notify.view_app"):
        path = reverse("admin:app_usage", args=[app])
        return format_html('<a href="{}">{}</a>', path, text)
    return text


def _limit_form(request: HttpRequest, in_force: int, *, is_preview: bool) -> LimitForm:
    """The form as it was sent, or one that starts with the limit in force.

    A preview needs no reason yet, so only an invalid number is an error.
    """
    if not is_preview:
        return LimitForm(request.POST or None, initial={"children": in_force})
    form = LimitForm(request.POST)
    form.fields["reason"].required = False
    return form


def _children(form: LimitForm) -> int | None:
    """The limit to preview; None if the form has no valid number."""
    if not form.is_bound:
        return int(form.get_initial_for_field(form.fields["children"], "children"))
    form.is_valid()
    found: int | None = form.cleaned_data.get("children")
    return found


def _limit_said(version: LinkLimit) -> str:
    return f"The limit by {version.label} is now {count(version.children)}. It takes effect within seconds."


def _record(request: HttpRequest) -> UUID | None:
    try:
        return UUID(request.GET.get("record", ""))
    except ValueError:
        return None


def _add(request: HttpRequest, form: OrderForm, version: SkipRule | LinkLimit) -> None:
    """Save the version with its entry in the audit trail, as the pages of policy do: both or none."""
    version.expires_at = form.ends()
    version.reason = form.cleaned_data["reason"]
    version.author = request.user.get_username()
    assert request.user.pk is not None, "the admin lets nobody in who is not logged in"
    with transaction.atomic():
        version.save()
        LogEntry.objects.log_actions(
            request.user.pk, [version], ADDITION, [{"added": {}}], single_object=True
        )


def _crumbs(request: HttpRequest) -> list[tuple[str, str]]:
    may = request.user.has_perm("notify.view_hot")
    return [("Hot records", reverse(_LIST))] if may else []


def _back(request: HttpRequest, app: UUID, record: UUID | None) -> HttpResponse:
    return HttpResponseRedirect(_back_path(request, app, record))


def _back_path(request: HttpRequest, app: UUID, record: UUID | None) -> str:
    """The hot page with the record, or what the user may see instead."""
    may_see = request.user.has_perm("notify.view_hot")
    return page_of(app, record) if may_see else reverse("admin:index")
