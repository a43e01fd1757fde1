"""Reasons: every change in the admin needs one, and the change's entry in the audit trail keeps it.

The entry's text is what was done and, on a line of its own, the reason. Versions of skip rules and link
limits store their reason themselves, so their entries have none.
"""

import json
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from notify.admin.unfolded import Textarea

FIELD: Final = "reason"
#: Characters of a reason.
REASON_MAX: Final = 1_000
_MARK: Final = "\nReason: "


class ReasonField(forms.CharField):
    """The reason of a change: never empty."""

    def __init__(self, **kwargs: Any) -> None:
        given: dict[str, Any] = {
            "max_length": REASON_MAX,
            "widget": Textarea(attrs={"rows": 2}),
            "help_text": "Why you make this change. Colleagues read it in the audit trail.",
        }
        super().__init__(**(given | kwargs))


class ReasonForm(forms.ModelForm):  # type: ignore[type-arg] # ModelForm[...] fails at run time
    """A form that asks why. The reason is not among the fields that were changed."""

    reason = ReasonField()

    @property
    def changed_data(self) -> list[str]:
        """The names of the fields whose values are new."""
        return [name for name in super().changed_data if name != FIELD]


def note(
    request: HttpRequest, row: Model, *, did: str, reason: str, flag: int = CHANGE
) -> LogEntry:
    """Adds an entry to the audit trail: what the user did to the row, and why.

    `did` is one line in the past tense, such as "Lifted.". For changes that no form of Django's admin
    makes. Call it in the transaction of the change, before a deletion. Raises ValueError without a reason.
    """
    if not reason.strip():
        raise ValueError("a change needs a reason: ask for it in the form")
    return LogEntry.objects.log_actions(
        user_id=_who(request),
        queryset=[row],
        action_flag=flag,
        change_message=_joined(did, reason),
        single_object=True,
    )


def _who(request: HttpRequest) -> int:
    pk = request.user.pk
    assert pk is not None, "the admin lets nobody in who is not logged in"
    return pk


def with_reason(changes: Any, form: forms.BaseForm) -> str:
    """Django's description of the changes, followed by the form's reason."""
    said = LogEntry(change_message=json.dumps(changes)).get_change_message()
    return _joined(said, form.cleaned_data.get(FIELD, ""))


def change_and_reason(entry: LogEntry) -> tuple[str, str]:
    """What was done and why, from an entry; the reason is empty if it has none."""
    did, _, reason = entry.get_change_message().partition(_MARK)
    return did, reason


def _joined(did: str, reason: str) -> str:
    line = " ".join(did.split())
    return f"{line}{_MARK}{reason.strip()}" if reason.strip() else line


class ReasonedAdmin:
    """A mixin, placed before ModelAdmin, that asks for a reason in forms (ReasonForm) and deletions."""

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Adds the reason as the last field, for users who may save."""
        sets: Any = super().get_fieldsets(request, obj)  # type: ignore[misc]
        admin: Any = self
        may = (
            admin.has_add_permission(request)
            if obj is None
            else admin.has_change_permission(request, obj)
        )
        return [*sets, (None, {"fields": (FIELD,)})] if may else sets

    def construct_change_message(
        self, request: HttpRequest, form: Any, *args: Any, **kw: Any
    ) -> Any:
        """The text of the entry: the changes and the reason."""
        changes: Any = super().construct_change_message(request, form, *args, **kw)  # type: ignore[misc]
        return changes if isinstance(changes, str) else with_reason(changes, form)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Django's page, but a deletion without a reason is not carried out."""
        admin: Any = self
        told = request.POST.get(FIELD, "").strip()
        if request.method == "POST" and not told and admin.has_delete_permission(request):
            messages.error(request, "Nothing was deleted: enter a reason.")
            return HttpResponseRedirect(request.get_full_path())
        answer: HttpResponse = super().delete_view(request, *args, **kwargs)  # type: ignore[misc]
        return answer

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Adds the entries of a deletion, with its reason."""
        reason = request.POST.get(FIELD, "")[:REASON_MAX]
        return LogEntry.objects.log_actions(
            user_id=_who(request),
            queryset=queryset,
            action_flag=DELETION,
            change_message=_joined("Deleted.", reason),
        )
