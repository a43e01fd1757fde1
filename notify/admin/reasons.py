"""Why: every change in the admin says it, and the log entry of the change keeps it.

An entry's text is what was done and, on a line of its own, the reason. Versions of policy have a
reason of their own, so their entries need none.
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
            "help_text": "Why: the next person reads this, in the audit trail.",
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
    """Write down that the user did this to the row, and why. `did` is one line, in the past tense.

    For changes that no admin form makes; call it in the transaction of the change, before a
    deletion. Raises ValueError without a reason.
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
    """What Django says of the changes, and the form's reason."""
    said = LogEntry(change_message=json.dumps(changes)).get_change_message()
    return _joined(said, form.cleaned_data.get(FIELD, ""))


def told(entry: LogEntry) -> tuple[str, str]:
    """What was done and why; the reason is empty if the entry has none."""
    did, _, reason = entry.get_change_message().partition(_MARK)
    return did, reason


def _joined(did: str, reason: str) -> str:
    line = " ".join(did.split())
    return f"{line}{_MARK}{reason.strip()}" if reason.strip() else line


class ReasonedAdmin:
    """A mixin before ModelAdmin, for forms that ask why (ReasonForm); deletions ask, too."""

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """The reason comes last, for who may save."""
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
        """The entry's text."""
        changes: Any = super().construct_change_message(request, form, *args, **kw)  # type: ignore[misc]
        return changes if isinstance(changes, str) else with_reason(changes, form)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """A deletion without a reason is asked for one."""
        admin: Any = self
        told = request.POST.get(FIELD, "").strip()
        if request.method == "POST" and not told and admin.has_delete_permission(request):
            messages.error(request, "Nothing was deleted: say why.")
            return HttpResponseRedirect(request.get_full_path())
        answer: HttpResponse = super().delete_view(request, *args, **kwargs)  # type: ignore[misc]
        return answer

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """With the reason."""
        reason = request.POST.get(FIELD, "")[:REASON_MAX]
        return LogEntry.objects.log_actions(
            user_id=_who(request),
            queryset=queryset,
            action_flag=DELETION,
            change_message=_joined("Deleted.", reason),
        )
