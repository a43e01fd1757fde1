"""The documents list what the code has: each setting, metric and log event, and nothing else."""

import ast
import re
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from devstack import ROOT
from notify import env
from notify.domain.engine import window
from notify.management import exit_codes
from notify.monitoring.findings import CURES, KINDS, POSTGRES_AWAY
from notify.telemetry import logs
from notify.web import ack_log
from workers.apply import Outcome

DOCS: Final = ROOT / "docs"
STAGES: Final = ("notify", "ingest", "workers")
TEXTS: Final = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
READERS: Final = ("text", "secret", "texts", "header", "address", "log_level", "integer", "flag")
LEVELS: Final = ("debug", "info", "warning", "error", "exception", "critical")
Cells = list[str]


def _trees(*folders: str) -> Iterator[ast.Module]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield ast.parse(file.read_text(), str(file))


def _calls(*folders: str) -> Iterator[ast.Call]:
    for tree in _trees(*folders):
        yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _first_text(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _rows(page: str, *, under: str = "") -> Iterator[Cells]:
    """The rows of the page's tables, of those below the heading `under` if one is given."""
    heading = ""
    for line in (DOCS / page).read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|") and not re.match(r"\|-", line) and under in ("", heading):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _named(page: str, *, under: str = "") -> dict[str, Cells]:
    """The rows whose first cell names one thing in code font, by that name; each is there once."""
    rows = [row for row in _rows(page, under=under) if re.fullmatch(r"`\w+`", row[0])]
    names = [row[0].strip("`") for row in rows]
    assert len(names) == len(set(names)), f"{page} lists one twice"
    return dict(zip(names, rows, strict=True))


def _defaults(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, object]:
    """What notify/settings.py asks env for, with the defaults that it gives."""
    asked: dict[str, object] = {}

    def text(name: str, default: str) -> str:
        asked[name] = default
        return default

    def texts(name: str, default: str) -> list[str]:
        return text(name, default).split(",")

    def integer(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        asked[name] = default
        return default

    def flag(name: str, *, default: bool) -> bool:
        asked[name] = int(default)
        return default

    for reader in (text, texts, integer, flag):
        monkeypatch.setattr(env, reader.__name__, reader)
    runpy.run_path(str(ROOT / "notify" / "settings.py"))
    return asked


def _devstack_variables() -> set[str]:
    reads = (call for call in _calls("devstack") if isinstance(call.func, ast.Attribute))
    names = {_first_text(call) for call in reads if ast.unparse(call.func).endswith("environ.get")}
    return {name for name in names if name and name.startswith("NOTIFY_")}


def test_every_setting_is_listed_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = _defaults(monkeypatch)
    listed = _named("settings.md")
    for name in _named("settings.md", under="Development stack"):
        del listed[name]
    assert listed.keys() == defaults.keys()
    for name, row in listed.items():
        assert len(row) == 4, name
        assert all(row), f"{name}: an empty cell"
        default = str(defaults[name])
        assert row[1] == (f"`{default}`" if default else "empty"), name


def test_only_settings_py_reads_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    read = {
        _first_text(call)
        for call in _calls(*STAGES)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in READERS
        and ast.unparse(call.func.value) == "env"
    }
    assert read - {"PROMETHEUS_MULTIPROC_DIR"} == set(_defaults(monkeypatch))  # a library's


def test_the_devstacks_variables_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = _named("settings.md", under="Development stack").keys()
    assert listed == _devstack_variables() - _defaults(monkeypatch).keys() - {"NOTIFY_DEVSTACK_OWN"}


def test_every_metric_is_listed_with_its_type_and_labels() -> None:
    kinds = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram"}
    found = {}
    for call in _calls("notify"):
        kind = call.func.id if isinstance(call.func, ast.Name) else ""
        name = _first_text(call)
        if kind in kinds and name:
            labels = ast.literal_eval(call.args[2]) if len(call.args) > 2 else []
            found[name] = [kinds[kind], ", ".join(labels)]
    assert found
    assert {name: row[1:3] for name, row in _named("metrics.md").items()} == found


def test_alarms_name_metrics_that_exist() -> None:
    listed = _named("metrics.md").keys()
    for alarm, *_ in _rows("metrics.md", under="Alarms"):
        assert set(re.findall(r"notify_\w+", alarm)) <= listed, alarm


def _logging_calls() -> Iterator[ast.Call]:
    for call in _calls(*STAGES):
        if isinstance(call.func, ast.Attribute):
            logs_it = call.func.attr in LEVELS and "logs.get()" in ast.unparse(call.func.value)
        else:
            logs_it = isinstance(call.func, ast.Name) and call.func.id in ("write", "log", "say")
        if logs_it and call.args:
            yield call


def _logged() -> tuple[set[str], set[str]]:
    """The events that are logged, and the fixed beginnings of those that are put together."""
    events, beginnings = set(), set()
    for call in _logging_calls():
        first = call.args[0]
        if isinstance(first, ast.JoinedStr):
            assert isinstance(first.values[0], ast.Constant)
            beginnings.add(str(first.values[0].value))
        else:
            events.add(ast.literal_eval(first))
    return events, beginnings


def test_every_log_event_is_listed() -> None:
    events, beginnings = _logged()
    assert beginnings == {"batch_"}
    events |= {f"batch_{outcome}" for outcome in (*Outcome, "unavailable", "failed")}
    events |= {ack_log.EVENT}
    assert _named("logs.md", under="Events").keys() == events


def test_no_field_is_logged_that_is_dropped_before_it_is_written() -> None:
    fields = {keyword.arg for call in _logging_calls() for keyword in call.keywords}
    assert fields - {None, "exc_info"} <= logs.FIELDS


def test_every_log_field_is_listed() -> None:
    cells = [row[0] for row in _rows("logs.md", under="Fields")]
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == logs.FIELDS


def test_exit_codes_are_listed() -> None:
    listed = {row[0] for row in _rows("operations.md", under="Exit codes")} - {"Code"}
    assert listed == {
        str(code)
        for code in (exit_codes.OK, exit_codes.ATTENTION, exit_codes.USAGE, exit_codes.AWAY)
    }


def test_the_protocols_rules_are_numbered() -> None:
    text = (DOCS / "protocol.md").read_text()
    assert re.findall(r"^### Rule (\d+):", text, re.MULTILINE) == [str(n) for n in range(1, 15)]


def test_the_window_is_as_the_protocol_says() -> None:
    bounds = " ".join(row[1] for row in _rows("protocol.md", under="Rule 14: Window"))
    for number in (
        window.WINDOW_OFFSETS,
        window.CHUNK_MESSAGES,
        window.SHORT_CHUNK_MESSAGES,
        window.TASK_ROWS,
        window.ISOLATED_OFFSETS,
    ):
        assert f"{number:,}" in bounds.split()


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(text: Path) -> None:
    prose = re.sub(r"```.*?```", "", text.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", prose):
        link = target[0] or target[1]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        file = text.parent / path if path else text
        assert file.exists(), f"{text.name} links to {link}"
        if anchor:
            assert anchor in _anchors(file), f"{text.name} links to {link}"


def _anchors(file: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    prose = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_every_document_is_linked() -> None:
    linked = set()
    for text in TEXTS:
        for link in re.findall(r"\]\(([^)#\s]+)", text.read_text()):
            linked.add((text.parent / link).resolve())
    texts = {file for file in DOCS.rglob("*.*") if file.is_file()} - set(
        (DOCS / "sphinx").rglob("*")
    )
    assert texts - linked == set()


def test_every_alert_has_a_section_with_its_cure_and_where_to_read_on() -> None:
    sections = re.split(r"^## ", (DOCS / "alerts.md").read_text(), flags=re.MULTILINE)[1:]
    found = {kind.strip(): text for kind, _, text in (each.partition("\n") for each in sections)}
    assert found.keys() == {*KINDS, POSTGRES_AWAY}
    for kind, text in found.items():
        assert f"> {CURES[kind]}\n" in text if kind in CURES else "link in the alert" in text, kind
        assert re.search(r"\]\(\w+\.md#", text), f"{kind}: no link to the steps"
