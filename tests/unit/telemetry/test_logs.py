"""How our log lines are written: in one form, with the fields of the schema, at the level of the settings."""

import io
import json
import logging
from contextlib import redirect_stdout

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from notify import env
from notify.telemetry import logs


class _FullDisk(io.StringIO):
    """Standard output on a full disk."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


pytestmark = pytest.mark.usefixtures("logs_as_before")


def _configured(stream: io.StringIO) -> None:
    with redirect_stdout(stream):
        logs.configure("bridge")


def test_a_line_has_the_fields_of_the_schema_alone() -> None:
    written = io.StringIO()
    _configured(written)
    logs.get().info("batch_sent", lane=3, rows=None, body="secret", reason="r" * 1_000)
    line = json.loads(written.getvalue())
    assert line.keys() == {
        *("event", "level", "timestamp", "process", "host", "pid"),
        *("lane", "reason"),
    }
    assert (line["event"], line["level"], line["process"]) == ("batch_sent", "info", "bridge")
    assert len(line["reason"]) == logs.TEXT_MAX


def test_lines_of_ours_and_of_libraries_have_the_same_spaces() -> None:
    """One search finds lines of all processes."""
    written = io.StringIO()
    _configured(written)
    logs.get().warning("redis_away")
    logging.getLogger("library").warning("redis_away")
    assert written.getvalue().count('"event": "redis_away", "level": "warning"') == 2


def test_a_value_of_any_type_is_written() -> None:
    written = io.StringIO()
    _configured(written)
    logs.get().error("surprise", reason={1, 2})
    assert json.loads(written.getvalue())["reason"] == "{1, 2}"


@pytest.mark.parametrize(("level", "written"), [("DEBUG", 3), ("INFO", 2), ("ERROR", 1)])
def test_the_level_of_the_settings_decides(settings: Settings, level: str, written: int) -> None:
    settings.NOTIFY_LOG_LEVEL = level
    stream = io.StringIO()
    _configured(stream)
    logs.get().debug("batch_sent")
    logs.get().info("batch_applied")
    logs.get().error("surprise")
    assert len(stream.getvalue().splitlines()) == written


@pytest.mark.parametrize(
    ("given", "level"), [("debug", "DEBUG"), ("WARN", "WARNING"), ("fatal", "CRITICAL")]
)
def test_levels_are_those_of_logging(
    monkeypatch: pytest.MonkeyPatch, given: str, level: str
) -> None:
    monkeypatch.setenv("NOTIFY_LOG_LEVEL", given)
    assert env.log_level("NOTIFY_LOG_LEVEL", "INFO") == level


@pytest.mark.parametrize("given", ["", "LOUD", "NOTSET", "10"])
def test_another_level_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("NOTIFY_LOG_LEVEL", given)
    with pytest.raises(ImproperlyConfigured, match=f"NOTIFY_LOG_LEVEL='{given}': set it to DEBUG"):
        env.log_level("NOTIFY_LOG_LEVEL", "INFO")


def test_a_full_disk_does_not_stop_the_caller() -> None:
    _configured(_FullDisk())
    logs.get().error("surprise")


def test_a_closed_standard_output_does_not_stop_the_caller() -> None:
    stream = io.StringIO()
    _configured(stream)
    stream.close()
    logs.get().error("surprise")


@pytest.mark.parametrize("name", ["celery.worker.strategy", "celery.app.trace"])
def test_celery_has_no_lines_for_each_task(name: str) -> None:
    """Ours say more. A task's traceback is an error, and stays."""
    _configured(io.StringIO())
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger(name).isEnabledFor(logging.ERROR)
