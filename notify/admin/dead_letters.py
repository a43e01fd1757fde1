"""Dead letters: writes that PostgreSQL refused and invalid messages, which can be replayed or deleted."""

import re
from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from notify.admin import dropped_groups, reasons
from notify.admin.filters import AppFilter, TimeFilter
from notify.admin.listing import ReadOnlyAdmin, moment
from notify.admin.masking import masked
from notify.admin.pages import page, shown
from notify.domain.records import replay
from notify.domain.records.decide import MALFORMED, MISROUTED
from notify.domain.records.replay import CannotReplay
from notify.domain.records.update import Update
from notify.kafka.producer import KafkaUnavailable, Overloaded
from notify.models import DeadLetter
from notify.operations import replays

_KINDS: Final = {
    MALFORMED: Q(error__startswith=f"{MALFORMED}:"),
    MISROUTED: Q(error__startswith=f"{MISROUTED}:"),
}
_REFUSED: Final = "refused"
_LIST: Final = "admin:notify_deadletter_changelist"
_REPLAY: Final = "notify.replay_deadletter"
_DELETE: Final = "notify.delete_deadletter"
_CODE: Final = re.compile(r"[0-9A-Z]{5}")
#: Letters that a confirmation shows.
_SHOWN: Final = 20


class KindFilter(admin.SimpleListFilter):
    """Filters by what was wrong."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The two reasons of the bridge, and "refused by PostgreSQL"."""
        return [
            (MALFORMED, "malformed"),
            (MISROUTED, "misrouted"),
            (_REFUSED, "refused by PostgreSQL"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The letters with that reason, or whose error begins with the reason of a group."""
        reason = self.value() or ""
        if reason == _REFUSED:
            return queryset.exclude(_KINDS[MALFORMED] | _KINDS[MISROUTED])
        if "\0" in reason:  # PostgreSQL takes no such text
            return queryset.none()
        return queryset.filter(error__startswith=reason) if reason else queryset


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """The pages of dead letters. The values in messages are masked."""

    list_display = ("when", "whose", "error_start", "partition", "offset")
    list_filter = (KindFilter, TimeFilter, AppFilter)
    fields = (
        "at",
        "partition",
        "offset",
        "named_app",
        "record",
        "error",
        "masked_message",
    )
    readonly_fields = fields
    note = (
        "Updates that could not be applied: the newest 1,000 that match. They did not stop other updates. "
        "A dead letter is one write to one record. A replay applies it to that record only, as its newest "
        "update. A malformed message that this release can read is sent whole."
    )
    change_form_template = "admin/notify/dead_letter.html"
    list_before_template = "admin/notify/dead_letter_groups.html"
    actions = ("replay_many", "delete_many")  # type: ignore[assignment] # the other lists have none

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list, with groups above the letters on its first, unfiltered page."""
        above: dict[str, Any] = {}
        if not request.GET and request.method == "GET" and self.has_view_permission(request):
            groups = dropped_groups.read(dropped_groups.DEAD_LETTERS)
            above = {
                "groups": [(each, _words(each.reason), "", "") for each in groups.shown],
                "groups_all": groups.all,
                "since": groups.since,
                "rows_read": dropped_groups.ROWS_READ,
            }
        return super().changelist_view(request, above | (extra_context or {}))

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Whether the user may replay letters."""
        return request.user.has_perm(_REPLAY)

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Whether the user may delete letters. It is a separate action, since Django's asks for no reason."""
        return request.user.has_perm(_DELETE)

    @admin.action(description="Replay…", permissions=["replay"])
    def replay_many(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """The action that asks for a reason and replays the chosen letters."""
        return _asked(request, queryset, "replay")

    @admin.action(description="Delete…", permissions=["discard"])
    def delete_many(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """The action that asks for a reason and deletes the chosen letters."""
        return _asked(request, queryset, "delete")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Adds the buttons to replay and to delete, for users who may."""
        letter = context.get("original")
        if letter is not None:
            buttons = []
            if self.has_replay_permission(request):
                buttons.append(("Replay…", f"{reverse('admin:replay_letters')}?ids={letter.pk}"))
            if self.has_discard_permission(request):
                buttons.append(("Delete…", f"{reverse('admin:delete_letters')}?ids={letter.pk}"))
            context["new_versions"] = buttons
        return super().render_change_form(request, context, *args, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leaves out the messages, which only a letter's own page needs."""
        return super().get_queryset(request).defer("message")

    @admin.display(description="at")
    def when(self, letter: DeadLetter) -> str:
        """When the update became a dead letter."""
        return moment(letter.at)

    @admin.display(description="error")
    def error_start(self, letter: DeadLetter) -> str:
        """The beginning of the error."""
        return letter.error if len(letter.error) <= 90 else f"{letter.error[:89]}…"

    @admin.display(description="message")
    def masked_message(self, letter: DeadLetter) -> str:
        """The keys of the message, with the types of their values."""
        return format_html("<pre>{}</pre>", masked(bytes(letter.message)))


def _words(reason: str) -> str:
    return f"refused by PostgreSQL: {reason}" if _CODE.fullmatch(reason) else reason


class LettersForm(forms.Form):
    """Asks for a reason to replay or delete the chosen letters."""

    ids = forms.CharField(widget=forms.HiddenInput())
    reason = reasons.ReasonField()

    def clean_ids(self) -> list[int]:
        """The ids of the chosen letters, at most NOTIFY_REPLAY_MESSAGES."""
        ids = _numbers(self.cleaned_data["ids"])
        if not ids:
            raise forms.ValidationError("Choose letters in the list.")
        if len(ids) > settings.NOTIFY_REPLAY_MESSAGES:
            raise forms.ValidationError(_too_many())
        return ids


def _numbers(text: str) -> list[int]:
    """The valid ids in `text`, each once."""
    words = dict.fromkeys(word.strip() for word in text.split(","))
    return [int(word) for word in words if word.isdecimal() and len(word) <= 18]


def _too_many() -> str:
    return f"You can choose at most {settings.NOTIFY_REPLAY_MESSAGES:,} letters at a time: choose fewer."


def _asked(request: HttpRequest, letters: QuerySet[Any], what: str) -> HttpResponse | None:
    """The page that asks about the letters chosen in the list. With too many: None, and a message."""
    most = settings.NOTIFY_REPLAY_MESSAGES
    ids = list(letters.order_by("-id").values_list("id", flat=True)[: most + 1])
    if len(ids) > most:
        messages.error(request, _too_many())
        return None
    form = LettersForm(initial={"ids": ",".join(map(str, ids))})
    return _question(request, form, ids, what)


@page("dead-letters/replay/", name="replay_letters", permission=_REPLAY)
def replay_letters(request: HttpRequest) -> HttpResponse:
    """The page that replays letters. Each is deleted after Kafka's ack."""
    return _ask_and_do(request, "replay")


@page("dead-letters/delete/", name="delete_letters", permission=_DELETE)
def delete_letters(request: HttpRequest) -> HttpResponse:
    """The page that deletes letters. Their updates are lost."""
    return _ask_and_do(request, "delete")


def _ask_and_do(request: HttpRequest, what: str) -> HttpResponse:
    if request.method != "POST":
        given = request.GET.get("ids", "")
        return _question(request, LettersForm(initial={"ids": given}), _numbers(given), what)
    form = LettersForm(request.POST)
    if not form.is_valid():
        return _question(request, form, _numbers(request.POST.get("ids", "")), what)
    do = _replay if what == "replay" else _delete
    do(request, form.cleaned_data["ids"], form.cleaned_data["reason"])
    may_look = request.user.has_perm("notify.view_deadletter")
    return HttpResponseRedirect(reverse(_LIST if may_look else "admin:index"))


def _question(
    request: HttpRequest, form: LettersForm, ids: Sequence[int], what: str
) -> HttpResponse:
    if not request.user.has_perm(_REPLAY if what == "replay" else _DELETE):
        raise PermissionDenied
    letters = list(DeadLetter.objects.filter(id__in=ids[:_SHOWN]))
    DeadLetterAdmin(DeadLetter, admin.site).attach(letters)
    rows = [
        {"letter": letter, "refused": _refusal(letter) if what == "replay" else ""}
        for letter in letters
    ]
    return shown(
        request,
        "admin/notify/dead_letters_ask.html",
        title=f"{what.capitalize()} {_counted(len(ids))}",
        crumbs=[("Dead letters", reverse(_LIST))],
        form=form,
        rows=rows,
        more=max(0, len(ids) - len(letters)) if len(ids) > _SHOWN else 0,
        gone=len(ids) > 0 and not letters,
        is_replay=what == "replay",
        action=reverse(f"admin:{what}_letters"),
        seen_hours=settings.NOTIFY_SEEN_HOURS,
    )


def _counted(n: int) -> str:
    return "1 dead letter" if n == 1 else f"{n:,} dead letters"


def _refusal(letter: DeadLetter) -> str:
    try:
        replay.encoded(replays.of_letter(letter))
    except CannotReplay as error:
        return str(error)
    return ""


def _replay(request: HttpRequest, ids: Sequence[int], reason: str) -> None:
    """Replays the letters app by app, so that an error does not undo those of earlier apps."""
    done, refused = 0, []
    apps = dict.fromkeys(
        DeadLetter.objects.filter(id__in=ids).order_by("id").values_list("app", flat=True)
    )
    for app in apps:
        try:
            sent, not_sent = _replay_of_app(request, app, ids, reason)
        except (Overloaded, KafkaUnavailable) as error:
            messages.error(
                request,
                f"Kafka did not accept these letters, so they stay in the list: {error} Try again: what "
                "Kafka already has is counted once.",
            )
            break
        done += sent
        refused += not_sent
    if done:
        messages.success(
            request,
            f"{_counted(done)} replayed: each is applied within seconds as the newest update.",
        )
    for text in refused[:_SHOWN]:
        messages.error(request, text)
    if len(refused) > _SHOWN:
        messages.error(request, f"{len(refused) - _SHOWN:,} more could not be replayed.")
    if not apps:
        messages.warning(
            request, "These letters no longer exist: somebody replayed or deleted them."
        )


def _replay_of_app(
    request: HttpRequest, app: Any, ids: Sequence[int], reason: str
) -> tuple[int, list[str]]:
    """How many were sent, and why each of the others was not.

    Sent and acked, then deleted with their entries in the audit trail in one transaction: between
    ack and COMMIT the letters' messages may be sent twice, under the same message ids.
    """
    refused: list[str] = []
    sent: list[tuple[DeadLetter, Update]] = []
    #: By app: a letter that could not be read when it came names none.
    values: dict[str, list[bytes]] = {}
    with transaction.atomic():
        letters = DeadLetter.objects.select_for_update().filter(id__in=ids, app=app)
        for letter in letters.order_by("id"):
            try:
                update = replays.of_letter(letter)
                value = replay.encoded(update)
            except CannotReplay as error:
                refused.append(f"The letter of {letter} cannot be replayed: {error}.")
            else:
                sent.append((letter, update))
                values.setdefault(update.app, []).append(value)
        for whose, messages_of_app in values.items():
            try:
                replays.send(whose, messages_of_app)
            except CannotReplay as error:
                return 0, [f"Nothing was replayed: {error}."]
        for letter, update in sent:
            did = f"Replayed to record {update.record} of app {update.app}."
            reasons.note(request, letter, did=did, reason=reason, flag=CHANGE)
        DeadLetter.objects.filter(id__in=[letter.pk for letter, _ in sent]).delete()
    return len(sent), refused


def _delete(request: HttpRequest, ids: Sequence[int], reason: str) -> None:
    with transaction.atomic():
        letters = list(DeadLetter.objects.select_for_update().filter(id__in=ids).defer("message"))
        for letter in letters:
            did = f"Deleted: record {letter.record} of app {letter.app}."
            reasons.note(request, letter, did=did, reason=reason, flag=DELETION)
        DeadLetter.objects.filter(id__in=[letter.pk for letter in letters]).delete()
    messages.success(request, f"{_counted(len(letters))} deleted.")
