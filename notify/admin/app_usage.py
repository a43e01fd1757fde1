"""The page of an app's usage: limits and their source, rates, skip rules, keys and history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone

from notify.admin import history
from notify.admin.history import Day, floor
from notify.admin.pages import page, shown
from notify.databases import queries
from notify.domain.records.update import LABELS
from notify.models import Alert, App, AppKey, IdentityKey, LinkLimit, SkipRule
from notify.monitoring.link_limits import limit_versions, policy_of

_QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "app_usage.sql")
#: Rows of each list of the page.
MOST: Final = 10
#: Entries of the history.
HISTORY_MOST: Final = 20
_BUCKET_S: Final = 10
_MINUTE_S: Final = 60
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class LimitNow:
    """A limit in force, from the app's own `version`, from that of all apps, or built in (None)."""

    label: str
    children: int
    source: str
    version: LinkLimit | None


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit a second (None: no limit), and where it comes from."""

    per_s: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The app's last `seconds`. `is_counted`: it was among the apps with most updates. `refused` requests
    got 429, and `refused_day` in the last day. `left_out`: values of its requests that were over a limit
    or could not be stored in the last day, by what they were."""

    seconds: float
    updates: int
    mirrored: int
    share: float
    is_counted: bool
    dropped: Sequence[tuple[str, int]]
    refused: int
    refused_day: int
    left_out: Sequence[tuple[str, int]]

    @property
    def per_s(self) -> float:
        """The updates a second."""
        return self.updates / self.seconds

    @property
    def mirrored_per_s(self) -> float:
        """The writes to parents a second."""
        return self.mirrored / self.seconds


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A change of the app or of its policy."""

    at: datetime
    who: str
    what: str
    why: str


@page("app/<uuid:app>/usage/", name="app_usage", permission="notify.view_app")
def show(request: HttpRequest, app: UUID) -> HttpResponse:
    """The app's page. A fixed number of queries, each bounded by days, lists or labels."""
    customer = get_object_or_404(App, id=app)
    now = timezone.now()
    may = request.user.has_perm
    return shown(
        request,
        "admin/notify/app_usage.html",
        title=customer.name,
        crumbs=[
            ("Apps", reverse("admin:notify_app_changelist")),
            ("App", reverse("admin:notify_app_change", args=[app])),
        ],
        as_of=now,
        app=customer,
        limits=limits_now(app) if may("notify.view_linklimit") else None,
        rates=[("Requests", _requests(customer)), ("Updates", _updates())],
        usage=usage(app, now),
        day=day(app, now),
        hot_hours=min(24, settings.NOTIFY_HOT_HOURS),
        most_linked=_rows("most_linked", app=app, most=MOST),
        rules=_rows("rules", app=app, most=MOST) if may("notify.view_skiprule") else None,
        keys=_newest(AppKey, app) if may("notify.view_appkey") else None,
        public_keys=_newest(IdentityKey, app) if may("notify.view_identitykey") else None,
        history=changes(
            customer, rules=may("notify.view_skiprule"), limits=may("notify.view_linklimit")
        ),
        alerts=Alert.objects.filter(app=app).order_by("-opened_at")[:MOST]
        if may("notify.view_alert")
        else None,
    )


def limits_now(app: UUID) -> list[LimitNow]:
    """The limit in force for each label, and where it comes from."""
    found = limit_versions([app])
    policy = policy_of(found)
    return [
        LimitNow(label, policy.limit(str(app), label), *_source(found, app, label))
        for label in LABELS
    ]


def _source(
    found: Mapping[tuple[UUID | None, str], LinkLimit], app: UUID, label: str
) -> tuple[str, LinkLimit | None]:
    if (app, label) in found:
        return "this app's own", found[app, label]
    if (None, label) in found:
        return "for all apps", found[None, label]
    return "built in", None


def _requests(app: App) -> Rate:
    if app.requests_per_s is None:
        return Rate(
            settings.NOTIFY_LIMIT_REQUESTS_PER_S or None,
            "NOTIFY_LIMIT_REQUESTS_PER_S, for all apps",
        )
    return Rate(app.requests_per_s or None, "this app's own")


def _updates() -> Rate:
    return Rate(
        settings.NOTIFY_LIMIT_UPDATES_PER_S or None, "NOTIFY_LIMIT_UPDATES_PER_S, for all apps"
    )


def usage(app: UUID, now: datetime) -> Usage:
    """The usage of the last minute, including the bucket that is still being filled."""
    since = floor(now, _BUCKET_S) - timedelta(seconds=_MINUTE_S - _BUCKET_S)
    ((messages,),) = _rows("messages", since=since)
    ((updates, mirrored, counted),) = _rows("minute", app=app, since=since)
    yesterday = now - timedelta(seconds=_DAY_S)
    ((refused_day, refused),) = _rows("refused", app=app, since=yesterday, lately=since)
    return Usage(
        seconds=(now - since).total_seconds(),
        updates=updates,
        mirrored=mirrored,
        share=min(1.0, updates / messages) if messages else 0.0,
        is_counted=bool(counted),
        dropped=[(reason, n) for reason, n in _rows("dropped", app=app, since=since)],
        refused=refused,
        refused_day=refused_day,
        left_out=[(what, n) for what, n in _rows("left_out", app=app, since=yesterday)],
    )


def day(app: UUID, now: datetime) -> Day:
    """The app's last day. One query."""
    return history.day(partial(_rows, "day", app=app), now)


def changes(app: App, *, rules: bool, limits: bool) -> list[HistoryEntry]:
    """The newest HISTORY_MOST changes of the app and, if asked for, of its policy."""
    found = [
        HistoryEntry(each.action_time, each.user.get_username(), *_said(each))
        for each in LogEntry.objects.select_related("user")
        .filter(content_type=ContentType.objects.get_for_model(App), object_id=str(app.pk))
        .order_by("-action_time")[:HISTORY_MOST]
    ]
    if rules:
        versions = SkipRule.objects.filter(app=app).order_by("-version")[:HISTORY_MOST]
        found += [HistoryEntry(each.at, each.author, _rule(each), each.reason) for each in versions]
    if limits:
        changes = LinkLimit.objects.filter(app=app).order_by("-version")[:HISTORY_MOST]
        found += [
            HistoryEntry(each.at, each.author, _change(each), each.reason) for each in changes
        ]
    return sorted(found, key=lambda entry: entry.at, reverse=True)[:HISTORY_MOST]


def _said(entry: LogEntry) -> tuple[str, str]:
    what, _, why = entry.get_change_message().partition("\nReason: ")
    return what or "Added.", why


def _rule(version: SkipRule) -> str:
    if not version.active:
        return f"Lifted the rule that skips {version.record}."
    return f"Skips {version.get_scope_display()} of {version.record}{_until(version.expires_at)}."


def _change(version: LinkLimit) -> str:
    if version.children is None:
        return f"Lifted the link limit of {version.label}."
    return f"Limits links by {version.label} to {version.children:,}{_until(version.expires_at)}."


def _until(at: datetime | None) -> str:
    return "" if at is None else f" until {timezone.localtime(at):%Y-%m-%d %H:%M}"


def _newest(model: Any, app: UUID) -> list[Any]:
    return list(model.objects.filter(app_id=app).order_by("-created_at", "-id")[:MOST])


def _rows(name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return queries.rows(_QUERIES[name], parameters)
