"""When alerts open and close, how receivers are paced, and what messages say."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from notify.monitoring.findings import BAD, Finding
from notify.monitoring.watch.alerts import Alerts, OpenAlert, Steps
from notify.monitoring.watch.message import CLOSED, OPENED, DueAlert, body, letter, link, subject
from notify.monitoring.watch.pace import Pace

LAG = Finding("lag", BAD, "lag", "late")
STALLED = Finding("worker_stalled", BAD, "worker_stalled:w", "hangs")
NOBODY: dict[str, OpenAlert] = {}


def opened(*findings: Finding) -> dict[str, OpenAlert]:
    return {each.key: OpenAlert(n, each.key, each.kind) for n, each in enumerate(findings)}


def none(steps: Steps) -> bool:
    return not (steps.opens or steps.refreshes or steps.closes)


def test_opens_at_the_second_look_in_a_row() -> None:
    alerts = Alerts(close_after_s=30)
    assert none(alerts.step([LAG], NOBODY, now_s=0))
    assert none(alerts.step([], NOBODY, now_s=1))
    assert none(alerts.step([LAG], NOBODY, now_s=2))
    assert alerts.step([LAG], NOBODY, now_s=3).opens == [LAG]


def test_what_is_open_is_refreshed_and_not_opened_again() -> None:
    alerts = Alerts(close_after_s=30)
    for now_s in (0, 1, 2):
        steps = alerts.step([LAG], opened(LAG), now_s=now_s)
        assert (steps.opens, steps.closes) == ([], [])
        assert [(alert.id, finding) for alert, finding in steps.refreshes] == [(0, LAG)]


def test_closes_when_it_was_gone_for_long_enough() -> None:
    alerts = Alerts(close_after_s=30)
    alerts.step([LAG], opened(LAG), now_s=0)
    assert none(alerts.step([], opened(LAG), now_s=1))
    assert none(alerts.step([], opened(LAG), now_s=30.9))
    assert alerts.step([], opened(LAG), now_s=31).closes == [OpenAlert(0, "lag", "lag")]


def test_what_comes_back_meanwhile_stays_open() -> None:
    alerts = Alerts(close_after_s=30)
    alerts.step([], opened(LAG), now_s=0)
    alerts.step([LAG], opened(LAG), now_s=29)
    assert none(alerts.step([], opened(LAG), now_s=31))
    assert alerts.step([], opened(LAG), now_s=61).closes


def test_what_cannot_be_told_is_neither_opened_nor_closed() -> None:
    alerts = Alerts(close_after_s=0)
    for now_s in (0, 1):
        assert none(alerts.step([STALLED], NOBODY, now_s=now_s, unsure={"worker_stalled"}))
        assert none(alerts.step([], opened(STALLED), now_s=now_s, unsure={"worker_stalled"}))
    assert none(alerts.step([STALLED], NOBODY, now_s=2))
    assert alerts.step([STALLED], NOBODY, now_s=3).opens == [STALLED]


def test_what_opens_nothing_keeps_what_is_open() -> None:
    """A catch-up is no new alert, and no end of the one that told of the lag."""
    alerts = Alerts(close_after_s=30)
    falling = LAG._replace(opens=False)
    for now_s in (0, 1, 2):
        assert none(alerts.step([falling], NOBODY, now_s=now_s))
    assert none(alerts.step([LAG], NOBODY, now_s=3))
    assert none(alerts.step([falling], NOBODY, now_s=4))
    assert none(alerts.step([LAG], NOBODY, now_s=5))
    assert alerts.step([LAG], NOBODY, now_s=6).opens == [LAG]
    for now_s in (7, 99):
        steps = alerts.step([falling], opened(LAG), now_s=now_s)
        assert (steps.closes, len(steps.refreshes)) == ([], 1)


def test_after_another_acted_all_begins_anew() -> None:
    alerts = Alerts(close_after_s=10)
    alerts.step([LAG], opened(STALLED), now_s=0)
    alerts.forget()
    assert none(alerts.step([LAG], opened(STALLED), now_s=20))
    assert alerts.step([LAG], opened(STALLED), now_s=21).opens == [LAG]


def test_waits_double_up_to_a_minute() -> None:
    pace, now_s, waits = Pace(per_hour=9), 0.0, []
    for _ in range(9):
        pace.failed(7, now_s=now_s)
        wait = next(n for n in range(100) if pace.is_ready(7, now_s=now_s + n))
        waits.append(wait)
        now_s += wait
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pace.is_ready(8, now_s=0)
    assert pace.tries(7) == 9
    pace.keep([8])
    assert pace.tries(7) == 0


def test_so_many_messages_in_any_hour() -> None:
    pace = Pace(per_hour=2)
    for now_s in (0, 1_000):
        assert pace.has_room(now_s=now_s)
        pace.sent(now_s=now_s)
    assert not pace.has_room(now_s=3_599)
    assert pace.has_room(now_s=3_600)
    pace.sent(now_s=3_600)
    assert not pace.has_room(now_s=4_599)


AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
APP = uuid.UUID(int=1)


def due(*, closed: bool = False, told: bool = False, name: str = "Closely") -> DueAlert:
    return DueAlert(
        5, "hot_record:a:r", "hot_record", "bad", f"86% of {name}", APP, name, uuid.UUID(int=2),
        "/admin/notify/hot/", AT, AT + timedelta(minutes=2) if closed else None, told, AT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("closed", "told", "events"),
    [
        (False, False, [OPENED]),
        (True, False, [OPENED, CLOSED]),
        (True, True, [CLOSED]),
        (False, True, []),
    ],
)
def test_what_is_still_to_be_told(closed: bool, told: bool, events: list[str]) -> None:
    assert due(closed=closed, told=told).events() == events


def test_the_object_that_is_posted() -> None:
    assert json.loads(body(due(), OPENED, admin_url="https://n.example/")) == {
        "id": 5, "key": "hot_record:a:r", "event": "opened", "kind": "hot_record", "level": "bad",
        "text": "86% of Closely", "cure": "",
        "app": str(APP), "app_name": "Closely", "record": str(uuid.UUID(int=2)),
        "url": "https://n.example/admin/notify/hot/", "opened_at": "2026-11-23T03:00:00+00:00",
        "closed_at": None,
    }  # fmt: skip
    told = json.loads(body(due(closed=True), CLOSED, admin_url=""))
    assert (told["event"], told["closed_at"]) == ("closed", "2026-11-23T03:02:00+00:00")


def test_a_subject_is_one_line_whatever_an_app_is_called() -> None:
    said = subject(due(name="x\r\nBcc: everybody@example.com" + "y" * 200), OPENED)
    assert said.startswith("[notify bad] 86% of x Bcc: everybody@example.com")
    assert len(said) == 150
    assert subject(due(closed=True), CLOSED) == "[notify resolved] 86% of Closely"


def test_the_letter_says_what_where_and_when() -> None:
    said = letter(due(closed=True), CLOSED, admin_url="https://n.example")
    assert "86% of Closely" in said
    assert link(due(), admin_url="https://n.example") in said
    assert "Opened: 2026-11-23 03:00:00 UTC" in said
    assert "Closed: 2026-11-23 03:02:00 UTC" in said
    assert "What to do" not in said
    stalled = due()._replace(kind="stalled")
    assert "What to do: Check that a bridge runs" in letter(stalled, OPENED, admin_url="")
    assert "What to do" not in letter(stalled, CLOSED, admin_url="")
    assert (
        "celery"
        in json.loads(body(due()._replace(kind="no_workers"), OPENED, admin_url=""))["cure"]
    )
    assert "Closed:" not in letter(due(), OPENED, admin_url="")
