"""The text and the JSON of an alert, the same for webhook and e-mail."""

import json
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from notify.monitoring.findings import cure_of

Event = Literal["opened", "closed"]
OPENED: Final = "opened"
CLOSED: Final = "closed"


class DueAlert(NamedTuple):
    """An alert with an event that one channel has not delivered yet, as of `read_at`."""

    id: int
    key: str
    kind: str
    level: str
    text: str
    app: UUID | None
    app_name: str | None
    record: UUID | None
    path: str
    opened_at: datetime
    closed_at: datetime | None
    opening_sent: bool
    read_at: datetime

    def events(self) -> list[Event]:
        """The events to send, in order: both, if the alert closed before the first one was sent."""
        unsent: list[Event] = [] if self.opening_sent else [OPENED]
        return unsent if self.closed_at is None else [*unsent, CLOSED]


def fields(alert: DueAlert, event: Event, *, admin_url: str) -> dict[str, Any]:
    """The object that the webhook gets. `id` is the same for both events of an alert. `key` is the same
    for all alerts with one cause, from all watchers."""
    return {
        "id": alert.id,
        "key": alert.key,
        "event": event,
        "kind": alert.kind,
        "level": alert.level,
        "text": alert.text,
        "cure": cure_of(alert.kind, alert.text),
        "app": alert.app and str(alert.app),
        "app_name": alert.app_name,
        "record": alert.record and str(alert.record),
        "url": link(alert, admin_url=admin_url),
        "opened_at": alert.opened_at.isoformat(),
        "closed_at": alert.closed_at.isoformat() if alert.closed_at and event == CLOSED else None,
    }


def body(alert: DueAlert, event: Event, *, admin_url: str) -> bytes:
    """The object of `fields` as JSON in UTF-8."""
    return json.dumps(fields(alert, event, admin_url=admin_url), ensure_ascii=False).encode()


def link(alert: DueAlert, *, admin_url: str) -> str:
    """The URL of the page that shows and fixes the problem; only its path if NOTIFY_ADMIN_URL is empty."""
    return admin_url.rstrip("/") + alert.path


def subject(alert: DueAlert, event: Event) -> str:
    """The subject of an e-mail: one line, even if an app's name has line breaks."""
    head = "resolved" if event == CLOSED else alert.level
    return " ".join(f"[notify {head}] {alert.text}".split())[:150]


def letter(alert: DueAlert, event: Event, *, admin_url: str) -> str:
    """The text of an e-mail."""
    cure = cure_of(alert.kind, alert.text)
    lines = [
        "This problem is resolved:" if event == CLOSED else "There is a problem:",
        "",
        alert.text,
        *([f"What to do: {cure}"] if cure and event == OPENED else []),
        "",
        f"Details: {link(alert, admin_url=admin_url)}",
        f"Opened: {alert.opened_at:%Y-%m-%d %H:%M:%S} UTC",
    ]
    if event == CLOSED and alert.closed_at:
        lines.append(f"Closed: {alert.closed_at:%Y-%m-%d %H:%M:%S} UTC")
    if alert.app:
        lines.append(f"App: {alert.app_name or '?'} ({alert.app})")
    if alert.record:
        lines.append(f"Record: {alert.record}")
    return "\n".join([*lines, ""])
