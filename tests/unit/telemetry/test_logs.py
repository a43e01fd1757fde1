"""How a line of ours is written: in one form, without what the schema does not have, and never in the way."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stdout

import pytest
import structlog

from notify.telemetry import logs


class _Broken(io.StringIO):
    """Standard output on a full disk."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`configure` is for a whole process."""
    monkeypatch.setattr(logs, "_logger", None)
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


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


def test_the_level_of_the_settings_decides(settings: object) -> None:
    written = io.StringIO()
    _configured(written)
    logs.get().debug("batch_sent")
    assert written.getvalue() == ""


def test_a_full_disk_stops_nobody() -> None:
    _configured(_Broken())
    logs.get().error("surprise")


@pytest.mark.parametrize("name", ["celery.worker.strategy", "celery.app.trace"])
def test_celery_has_no_lines_for_each_task(name: str) -> None:
    """Ours say more. A task's traceback is an error, and stays."""
    _configured(io.StringIO())
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger(name).isEnabledFor(logging.ERROR)
