"""The incident, with real processes under load: support alone finds the culprit and cures it.

Every step happens, or a test is red; how long each takes is what `make rehearse` measures.
"""

import uuid
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.qa.rehearsal import play
from tests.qa.rehearsal.play import Measured, Stage
from tests.qa.rehearsal.staff import NAME

pytestmark = pytest.mark.timeout(900)
SERVICES = ("postgres", "redis_url", "kafka")


@pytest.mark.parametrize("cure", ["skip", "limit"])
@pytest.mark.usefixtures(*SERVICES)
def test_one_record(chromium: Browser, tmp_path: Path, cure: str) -> None:
    with play.staged(tmp_path, play.QUICK) as stage:
        measured = play.one_record(stage, chromium, cure=cure)
        app = stage.apps[measured.culprit]
        named(measured)
        assert None not in (measured.webhook_s, measured.mail_s)
        alert = measured.alert
        assert (alert["event"], alert["kind"]) == ("opened", "hot_record")
        assert (alert["app"], alert["record"]) == (app, measured.record)
        assert "linked to it by email address" in alert["text"]
        assert alert["url"] == (
            f"{stage.web_url}/admin/notify/hot/?app={app}&record={measured.record}"
        )
        assert measured.cured_s is not None, "writes to the record did not end"
        assert author(stage, cure) == [(uuid.UUID(app), NAME)]


@pytest.mark.usefixtures(*SERVICES)
def test_one_app_over_many_records(chromium: Browser, tmp_path: Path) -> None:
    with play.staged(tmp_path, play.QUICK) as stage:
        measured = play.one_app(stage, chromium)
        named(measured)
        assert measured.record == "", "a row was blamed for what an app did"
        assert measured.cured_s is not None, "its updates did not end"
        assert measured.refuses_s is not None, "nobody is told that the app is refused"
        refused = 'SELECT DISTINCT app::text, "limit" FROM refused_sample'
        assert stage.run.rows(refused) == [(stage.apps[measured.culprit], "app_requests")]


@pytest.mark.usefixtures(*SERVICES)
def test_a_backlog(chromium: Browser, tmp_path: Path) -> None:
    with play.staged(tmp_path, play.QUICK) as stage:
        measured = play.behind(stage, chromium)
        assert measured.page_s is not None
        assert measured.cured_s is not None, "writes to the record did not end"
        assert stage.run.rows("SELECT 1 FROM stream WHERE frontier <> planned") == []


def named(measured: Measured) -> None:
    """Page and log named the culprit."""
    assert measured.page_s is not None
    assert measured.log_s is not None


def author(stage: Stage, cure: str) -> list[tuple[object, ...]]:
    """Who gave the order, by app."""
    if cure == "skip":
        return stage.run.rows("SELECT app_id, author FROM skip_rule")
    return stage.run.rows("SELECT app_id, author FROM link_limit WHERE children = 5")
