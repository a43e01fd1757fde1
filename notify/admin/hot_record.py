"""The chosen record on the page Hot records: whether it is skipped, and its updates over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Sum

from notify.admin import history
from notify.admin.charts import Spark
from notify.domain.records.update import MIRROR_LABELS
from notify.models import App, SkipCount, SkipRule
from notify.monitoring.preview import SkipPreview, of_skip
from notify.monitoring.snapshot import run


@dataclass(frozen=True, slots=True)
class ChosenRecord:
    """The record; `rule` is what skips it now, `hits` how many updates that dropped so far."""

    app: UUID
    record: UUID
    #: None: not one of ours.
    name: str | None
    rule: SkipRule | None
    hits: int
    minute: SkipPreview
    chart: Spark
    #: The label to limit, empty if nothing is mirrored to it by links.
    label: str


def chosen(app: UUID, record: UUID, now: datetime) -> ChosenRecord:
    """The record's present state, by a fixed number of indexed queries."""
    rule = SkipRule.now_of(app, record)
    linked = run("linked", apps=[app], records=[record])
    return ChosenRecord(
        app=app,
        record=record,
        name=App.objects.filter(id=app).values_list("name", flat=True).first(),
        rule=rule,
        hits=_hits(rule),
        minute=of_skip(app, record),
        chart=history.of_record(app, record, now),
        label=label_to_limit({row[2]: row[3] for row in linked}),
    )


def label_to_limit(linked: Mapping[str, int]) -> str:
    """The mirroring label by which most records are linked to it; empty if none are."""
    mirroring = [label for label in linked if label in MIRROR_LABELS]
    return max(mirroring, key=lambda label: linked[label], default="")


def _hits(rule: SkipRule | None) -> int:
    if rule is None:
        return 0
    found = SkipCount.objects.filter(rule=rule.rule).order_by().aggregate(n=Sum("hits"))
    return int(found["n"] or 0)
