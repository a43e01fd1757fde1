"""Find a record by what a customer knows of it, and the record's page: where it is, what comes for it.

The search is a POST that leads on to an id, so that no address is in a URL, a log or a history.
"""

from functools import partial
from typing import Any, Final
from uuid import UUID

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from notify.admin import history, record_seen
from notify.admin.app_field import AppField
from notify.admin.pages import page, shown
from notify.admin.record_find import Found, find, rows
from notify.admin.unfolded import TextInput
from notify.domain.errors import Malformed
from notify.domain.records import ids
from notify.domain.records.policy import SCOPE_ALL
from notify.domain.records.update import MIRROR_LABELS, VALUE_CHARS_MAX
from notify.models import App, SkipRule

_FIND: Final = "Find a record"


class FindForm(forms.Form):
    """The form of Find a record: an app, and what is known about one of its records."""

    app = AppField(help_text="The app's name or UUID.")
    what = forms.CharField(
        label="Record",
        max_length=VALUE_CHARS_MAX,
        strip=False,
        widget=TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Its UUID, an email address, a phone number, a push token, or a user's external id.",
    )

    found: list[Found]

    def clean_what(self) -> str:
        """Raises ValidationError if it is blank."""
        text: str = self.cleaned_data["what"]
        if not text.strip():
            raise forms.ValidationError(
                "Enter the record's UUID, address, number, push token or external id."
            )
        return text

    def clean(self) -> dict[str, Any]:
        """Finds the records. Raises ValidationError if there are none."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        app, text = given.get("app"), given.get("what")
        if app is None or not text:
            return given
        try:
            self.found = find(app.id, text)
        except Malformed as error:
            raise forms.ValidationError(f"No record can have this: {error}.") from None
        if not self.found:
            raise forms.ValidationError(
                f"{app.name} has no such record: no update with this UUID, address, number, push token "
                "or external id was ever applied, linked or refused. Check the app and the spelling: "
                "external ids and tokens are case-sensitive."
            )
        return given


@page("record/", name="record", permission="notify.view_record")
def ask(request: HttpRequest) -> HttpResponse:
    """The page Find a record. One result opens at once, several are listed. ?app= fills in the app."""
    is_asked = request.method == "POST"
    form = FindForm(
        request.POST if is_asked else None,
        initial={"app": request.GET.get("app", "")},
        label_suffix="",
    )
    found: list[Found] = []
    if is_asked and form.is_valid():
        app, found = form.cleaned_data["app"], form.found
        if len(found) == 1:
            return HttpResponseRedirect(reverse("admin:record_of", args=[app.id, found[0].record]))
    return shown(
        request,
        "admin/notify/record_find.html",
        title=_FIND,
        form=form,
        found=found,
        app=form.cleaned_data["app"] if found else None,
    )


@page("record/<uuid:app>/<uuid:record>/", name="record_of", permission="notify.view_record")
def show(request: HttpRequest, app: UUID, record: UUID) -> HttpResponse:
    """The page of a record; 404 if the app has no such record. A fixed number of indexed queries."""
    now = timezone.now()
    may = request.user.has_perm
    name = App.objects.filter(id=app).values_list("name", flat=True).first()
    crumbs = [(_FIND, f"{reverse('admin:record')}?app={app}")]
    if not rows("known", app=app, ids=[record]):
        return shown(
            request,
            "admin/notify/record_none.html",
            title="No such record",
            crumbs=crumbs,
            status=404,
            app=app,
            name=name,
            record=record,
        )
    rule = SkipRule.now_of(app, record)
    children = record_seen.children_of(app, record)
    most = {"app": app, "record": record, "most": record_seen.MOST}
    return shown(
        request,
        "admin/notify/record.html",
        title="Record",
        crumbs=crumbs,
        as_of=now,
        app=app,
        name=name,
        record=record,
        is_alias=ids.is_alias(str(record)),
        row=record_seen.row_of(app, record),
        links=record_seen.links_of(app, record),
        children=children,
        lane=record_seen.lane_seen(app, record),
        changes=history.day(
            partial(rows, "changes", app=app, record=record), now, draws_mirrored=True
        ),
        hot_hours=min(24, settings.NOTIFY_HOT_HOURS),
        rule=rule,
        skipped=rows("skipped", **most) if may("notify.view_skipped") else None,
        dead=rows("dead", **most) if may("notify.view_deadletter") else None,
        versions=_versions(app, record) if may("notify.view_skiprule") else None,
        cures=_cures(request, app, record, children, is_skipped=_is_skipped(rule)) if name else [],
        trail=f"manage.py trail --app {app} --record {record}",
    )


def _versions(app: UUID, record: UUID) -> list[SkipRule]:
    """The versions of the record's skip rule, newest first."""
    found = SkipRule.objects.filter(app_id=app, record=record).order_by("-version")
    return list(found[: record_seen.MOST])


def _is_skipped(rule: Any) -> bool:
    return rule is not None and rule.scope == SCOPE_ALL


def _cures(
    request: HttpRequest,
    app: UUID,
    record: UUID,
    children: list[record_seen.Children],
    *,
    is_skipped: bool,
) -> list[tuple[str, str, str]]:
    """The label, address and CSS class of each button that this reader may use."""
    wanted: list[tuple[str, str, list[UUID | str], str, str]] = []
    if request.user.has_perm("notify.add_skiprule") and not is_skipped:
        wanted.append(("Skip…", "hot_skip", [app, record], "", "is-danger"))
    label = next((each.label for each in children if each.label in MIRROR_LABELS), "")
    if request.user.has_perm("notify.add_linklimit") and label:
        wanted.append(("Set limit…", "hot_limit", [app, label], f"?record={record}", ""))
    found = []
    for text, name, args, query, level in wanted:
        try:
            found.append((text, reverse(f"admin:{name}", args=args) + query, level))
        except NoReverseMatch:  # that page is not of this installation
            continue
    return found
