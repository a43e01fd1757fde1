"""Hot records: which records and apps get most updates and why, in the last 1, 10 or 60 minutes."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from notify.admin.hot_record import chosen, label_to_limit
from notify.admin.listing import ReadOnlyAdmin
from notify.admin.pages import shown
from notify.admin.record_seen import Children
from notify.domain.engine.lanes import lane_of, partition_of
from notify.domain.records.policy import SCOPE_ALL, Policy
from notify.models import Hot, Stream, Topic
from notify.monitoring.findings import HOT_APP, HOT_RECORD, find
from notify.monitoring.link_limits import limits_of
from notify.monitoring.snapshot import HotRecord, Snapshot, fresh_for_s, read

#: Label and seconds of each window that can be chosen; the first is shown unless asked otherwise.
SPANS: Final = {"1min": ("1 min", 60), "10min": ("10 min", 600), "1h": ("1 h", 3_600)}
#: Records and apps that the page shows.
TOP: Final = 20


@dataclass(frozen=True, slots=True)
class HotListRow:
    """A record in the list. Its shares are of all messages in the window."""

    hot: HotRecord
    name: str
    #: The app is one of ours: it can have rules.
    is_known: bool
    lane: str
    children: tuple[Children, ...]
    direct_share: float
    mirrored_share: float
    is_chosen: bool

    @property
    def over(self) -> list[str]:
        """The labels by which it is over a limit."""
        return [each.label for each in self.children if each.is_over]

    @property
    def label(self) -> str:
        """The one to limit; see label_to_limit."""
        return label_to_limit(self.hot.linked)

    @property
    def is_skipped(self) -> bool:
        """Whether all its updates are dropped."""
        return self.hot.skipped == SCOPE_ALL


@admin.register(Hot)
class HotAdmin(ReadOnlyAdmin):
    """The page Hot records, in place of a list of rows."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The top records and apps of the window, in a fixed number of queries."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        span = request.GET.get("span", "")
        span = span if span in SPANS else next(iter(SPANS))
        seen = read(seconds=SPANS[span][1], top=TOP)
        asked = _asked(request)
        may = request.user.has_perm
        return shown(
            request,
            "admin/notify/hot.html",
            title="Hot records",
            as_of=seen.at,
            seen=seen,
            is_old=seen.sampled_ago_s is None or seen.sampled_ago_s > fresh_for_s(),
            culprits=_culprits(seen),
            chosen=None if asked is None else chosen(*asked, seen.at),
            rows=_rows(seen, asked),
            apps=[
                {"hot": each, "name": seen.name(each.app), "is_known": each.app in seen.names}
                | {"per_s": each.per_s}
                for each in seen.hot_apps
            ],
            spans=[
                (_address(request, key), label, key == span) for key, (label, _) in SPANS.items()
            ],
            may_skip=may("notify.add_skiprule"),
            may_limit=may("notify.add_linklimit"),
        )


def _asked(request: HttpRequest) -> tuple[UUID, UUID] | None:
    """The app and the record in the URL, if there are any."""
    try:
        return UUID(request.GET.get("app", "")), UUID(request.GET.get("record", ""))
    except ValueError:
        return None


def _address(request: HttpRequest, span: str) -> str:
    query = request.GET.copy()
    query["span"] = span
    return f"?{query.urlencode()}"


def _culprits(seen: Snapshot) -> list[dict[str, Any]]:
    """The present findings about hot records and hot apps."""
    now = read()
    found = [each for each in find(now) if each.kind in (HOT_RECORD, HOT_APP)]
    labels = {f"{each.app}:{each.record}": label_to_limit(each.linked) for each in now.hot}
    return [
        {"finding": each, "label": labels.get(f"{each.app}:{each.record}", "")}
        | {"is_known": each.app in now.names}
        for each in found
    ]


def _rows(seen: Snapshot, asked: tuple[UUID, UUID] | None) -> list[HotListRow]:
    limits = limits_of({each.app for each in seen.hot})
    lanes = _Lanes()
    whole = max(1, seen.messages)
    return [
        HotListRow(
            hot=each,
            name=seen.name(each.app),
            is_known=each.app in seen.names,
            lane=lanes.of(each.app, each.record),
            children=_children(each, limits),
            direct_share=min(1.0, each.direct / whole),
            mirrored_share=min(1.0, each.mirrored / whole),
            is_chosen=(each.app, each.record) == asked,
        )
        for each in seen.hot
    ]


def _children(hot: HotRecord, limits: Policy) -> tuple[Children, ...]:
    """The children by label, the largest number first."""
    most_first = sorted(hot.linked.items(), key=lambda item: -item[1])
    return tuple(Children(label, n, limits.limit(str(hot.app), label)) for label, n in most_first)


class _Lanes:
    """Finds the partition and the lane of records, with two queries."""

    def __init__(self) -> None:
        topic = Topic.objects.filter(active=True).first()
        self._partitions = topic.partitions if topic else 0
        streams = Stream.objects.filter(topic_id=topic.id) if topic else Stream.objects.none()
        self._lanes = dict(streams.values_list("partition", "lanes"))

    def of(self, app: UUID, record: UUID) -> str:
        """The partition and lane as text, "3 / 07"; empty before there is a topic."""
        if not self._partitions:
            return ""
        partition = partition_of(str(app), self._partitions)
        lanes = self._lanes.get(partition)
        return f"{partition} / {lane_of(str(app), str(record), lanes):02d}" if lanes else ""


def page_of(app: UUID, record: UUID | None = None) -> str:
    """The address of the page on which the record is shown."""
    path = f"{reverse('admin:notify_hot_changelist')}?app={app}"
    return f"{path}&record={record}" if record else path
