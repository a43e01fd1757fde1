"""The tables, by subject. Import a model from here."""

from notify.models.alerts import Alert, Watcher
from notify.models.apps import App, AppKey, IdentityKey
from notify.models.dropped import DeadLetter, Replay, SkipCount, Skipped
from notify.models.policy import (
    LinkLimit,
    LinkLimitInForce,
    PolicyHead,
    PolicyVersion,
    SkipRule,
    SkipRuleInForce,
)
from notify.models.protocol import (
    Lane,
    Link,
    LinkCount,
    Parent,
    Plan,
    PlanLog,
    Record,
    Stream,
    Topic,
)
from notify.models.samples import (
    AppSample,
    BridgeStart,
    Hot,
    LaneSample,
    LeftOutSample,
    QueueSample,
    RefusedSample,
    StreamSample,
    UnavailableSample,
    WorkerSample,
)

__all__ = [
    "Alert",
    "App",
    "AppKey",
    "AppSample",
    "BridgeStart",
    "DeadLetter",
    "Hot",
    "IdentityKey",
    "Lane",
    "LaneSample",
    "LeftOutSample",
    "Link",
    "LinkCount",
    "LinkLimit",
    "LinkLimitInForce",
    "Parent",
    "Plan",
    "PlanLog",
    "PolicyHead",
    "PolicyVersion",
    "QueueSample",
    "Record",
    "RefusedSample",
    "Replay",
    "SkipCount",
    "SkipRule",
    "SkipRuleInForce",
    "Skipped",
    "Stream",
    "StreamSample",
    "Topic",
    "UnavailableSample",
    "Watcher",
    "WorkerSample",
]
