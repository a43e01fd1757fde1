"""Alert rules and dashboards: they name what is exported, and each rule fires in a simulated case."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import REGISTRY

from devstack import ROOT
from notify.monitoring.findings import KINDS, POSTGRES_AWAY
from notify.telemetry import metrics  # noqa: F401 - registers all names
from tests.unit.project.test_docs import _anchors, _rows

RULES: Final = ROOT / "docker" / "prometheus"
GRAFANA: Final = ROOT / "docker" / "grafana"
#: Names that exporters give.
FOREIGN: Final = r"(?:pg|kafka|redis|haproxy|node)_\w+"
DASHBOARDS: Final = sorted((GRAFANA / "dashboards").glob("*.json"))


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in _yaml(RULES / name)["groups"] for rule in group["rules"]]


def _exported() -> set[str]:
    """The names that a scrape can show: _total, _bucket, _sum and _count among them."""
    found: set[str] = set()
    for family in REGISTRY.collect():
        if family.name.startswith("notify_"):
            suffixes = {
                "counter": ("_total",),
                "gauge": ("",),
                "histogram": ("_bucket", "_sum", "_count"),
            }
            found |= {family.name + suffix for suffix in suffixes[family.type]}
    return found


def _recorded() -> set[str]:
    return {rule["record"] for rule in _rules("recording.yml")}


def _panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            yield file.stem, panel


def _expressions() -> Iterator[tuple[str, str]]:
    """Everything that asks Prometheus, by where it stands."""
    for rule in [*_rules("recording.yml"), *_rules("alerts.yml")]:
        name = rule.get("alert") or rule["record"]
        yield name, rule["expr"]
        for text in rule.get("annotations", {}).values():
            for asked in re.findall(r'query "([^"]+)"', text):
                yield name, asked
    for board, panel in _panels():
        for target in panel["targets"]:
            yield f"{board}: {panel['title']}", target["expr"]


def test_every_name_in_rules_and_dashboards_is_exported() -> None:
    exported, recorded = _exported(), _recorded()
    assert exported
    for where, expression in _expressions():
        assert set(re.findall(r"\bnotify_\w+", expression)) <= exported, where
        assert set(re.findall(r"\bnotify:[\w:]+", expression)) <= recorded, where


def test_every_label_in_rules_and_dashboards_is_exported() -> None:
    labels = {"le", "job", "instance", "alertname", "alertstate"}
    labels |= {"topic", "proxy", "mountpoint", "fstype"}  # of exporters
    for collector in REGISTRY._names_to_collectors.values():
        labels |= set(getattr(collector, "_labelnames", ()))
    for where, expression in _expressions():
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            assert {each.strip() for each in grouped.split(",")} <= labels, where
        for matched in re.findall(r"\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)[=!]", matched)) <= labels, where


def test_every_exported_name_is_asked_for() -> None:
    shown = " ".join(expression for _, expression in _expressions())
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in _exported()}
    assert {name for name in families if name not in shown} == set()


def test_every_alarm_says_what_to_do() -> None:
    anchors = _anchors(ROOT / "docs" / "operations.md")
    for rule in _rules("alerts.yml"):
        severities = ("none",) if rule["alert"] == "Watchdog" else ("critical", "warning")
        assert rule["labels"]["severity"] in severities, rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md"
        assert anchor in anchors, rule["alert"]


def test_every_rule_names_its_sender_and_the_watcher_sends_what_it_finds() -> None:
    """Each cause is sent once."""
    told = {rule["alert"]: rule["labels"] for rule in _rules("alerts.yml")}
    assert {labels["sent_by"] for labels in told.values()} == {"watch", "alertmanager", "nobody"}
    for name, labels in told.items():
        assert ("finding" in labels) == (labels["sent_by"] == "watch"), name
        assert labels.get("finding", POSTGRES_AWAY) in {*KINDS, POSTGRES_AWAY}, name


@pytest.mark.parametrize("name", ["alerts.yml", "recording.yml"])
def test_the_chart_has_the_same_rules(name: str) -> None:
    """They are links: an edit that replaces a link by a copy leaves it with old rules."""
    chart, rules = (ROOT / "docker" / part / name for part in ("chart/files", "prometheus"))
    assert chart.read_text() == rules.read_text()


def test_alertmanager_names_alarms_that_there_are() -> None:
    text = (ROOT / "docker" / "alertmanager" / "alertmanager.yml").read_text()
    named = {
        name
        for pattern in re.findall(r'alertname=~?"([\w|]+)"', text)
        for name in pattern.split("|")
    }
    assert named
    assert named <= {rule["alert"] for rule in _rules("alerts.yml")}


def test_names_that_are_not_ours_are_those_that_exporters_have() -> None:
    """The file has what the exporters said of real services; see its first lines."""
    recorded = (ROOT / "tests" / "fixtures" / "exporters.txt").read_text()
    samples = dict(re.findall(r"^(\w+)(\{.*\})? \S+$", recorded, re.MULTILINE))
    for rule in _rules("alerts.yml"):
        expression = re.sub(r'"[^"]*"', '""', rule["expr"])
        for name, matched in re.findall(rf"\b({FOREIGN})(?:\{{([^}}]*)\}})?", expression):
            assert name in samples, f"{rule['alert']}: {name}"
            for label in re.findall(r"(\w+)[=!]", matched):
                assert f'{label}="' in samples[name], f"{rule['alert']}: {name} has no {label}"


def test_the_documents_list_every_alarm_as_it_is() -> None:
    listed = {row[0]: row[1:] for row in _alarm_rows()}
    assert listed.pop("Alarm")
    rules = _rules("alerts.yml")
    assert listed.keys() == {rule["alert"] for rule in rules}
    for rule in rules:
        when, severity, _, sender, link = listed[rule["alert"]]
        waits = f" for {rule['for']}" if "for" in rule else ""
        assert when == f"`{rule['expr']}`{waits}"
        assert severity == rule["labels"]["severity"]
        finding = rule["labels"].get("finding")
        assert sender == rule["labels"]["sent_by"] + (f": `{finding}`" if finding else "")
        assert f"({rule['annotations']['runbook'].removeprefix('docs/')})" in link


def _alarm_rows() -> Iterator[list[str]]:
    """An expression may hold a bar, which a table writes with a backslash."""
    text = (ROOT / "docs" / "metrics.md").read_text().partition("\n## Alarms\n")[2]
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|-"):
            cells = line.strip("|").replace(r"\|", "\0").split("|")
            yield [cell.strip().replace("\0", "|") for cell in cells]


def test_the_documents_list_every_figure() -> None:
    listed = {row[0].strip("`") for row in _rows("metrics.md", under="Figures")} - {"Figure"}
    assert listed == _recorded()


def test_every_alarm_has_a_case_and_is_judged_in_the_calm() -> None:
    cases = _yaml(RULES / "tests.yml")["tests"]
    calm = next(case for case in cases if case["name"] == "calm")
    names = rf"\bnotify_\w+|\bup\b|\b{FOREIGN}"
    judged = set(re.findall(names, str(calm["input_series"])))
    for rule in _rules("alerts.yml"):
        name = rule["alert"]
        assert any(name in case["name"].split(",")[0].split() for case in cases), name
        assert set(re.findall(names, rule["expr"])) <= judged, name
    for rule in _rules("recording.yml"):
        assert set(re.findall(r"\bnotify_\w+", rule["expr"])) <= judged, rule["record"]


def _promtool(*words: str | Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert not os.environ.get("CI"), "promtool is missing: install Debian's package prometheus"
        pytest.skip("there is no promtool: Debian's package prometheus has it")
    done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alarm_fires_in_its_case_and_none_in_the_calm() -> None:
    _promtool("test", "rules", RULES / "tests.yml")


def test_a_rule_that_never_fires_is_found(tmp_path: Path) -> None:
    """The cases can fail: with every threshold far off, they do."""
    for name in ("recording.yml", "tests.yml"):
        shutil.copy(RULES / name, tmp_path)
    text = (RULES / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(re.sub(r"> [\d.]+$", "> 1e9", text, flags=re.MULTILINE))
    with pytest.raises(AssertionError, match="FAILED"):
        _promtool("test", "rules", tmp_path / "tests.yml")


@pytest.mark.parametrize("name", ["prometheus.yml", "systemd.yml"])
def test_prometheus_takes_its_file(name: str) -> None:
    _promtool("check", "config", RULES / name)


def test_the_units_that_the_documents_start_are_scraped() -> None:
    theirs, ours = _yaml(RULES / "prometheus.yml"), _yaml(RULES / "systemd.yml")
    for part in ("global", "rule_files"):
        assert ours[part] == theirs[part]
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in ours["scrape_configs"]
    }
    # The rules name jobs.
    assert targets.keys() <= {job["job_name"] for job in theirs["scrape_configs"]}
    install = (ROOT / "docs" / "install.md").read_text()
    (enabled,) = re.findall(r"^systemctl enable (notify\.target .*)$", install, re.MULTILINE)
    for process in ("web", "bridge", "worker"):
        ports = re.findall(rf"notify-{process}@(\d+)", enabled)
        assert targets.pop(process) == [f"127.0.0.1:{port}" for port in ports]
    watch = (ROOT / "docker" / "systemd" / "notify-watch.service").read_text()
    (port,) = re.findall(r"NOTIFY_METRICS_PORT=(\d+)", watch)
    assert targets.pop("watch") == [f"127.0.0.1:{port}"]
    proxy = (ROOT / "docker" / "haproxy.cfg").read_text()
    assert targets.pop("proxy") == re.findall(r"presetenv METRICS (\S+)", proxy)
    assert targets == {"host": ["127.0.0.1:9100"]}


def test_prometheus_takes_what_the_panels_ask(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, (_, expression) in enumerate(_expressions())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    _promtool("check", "rules", file)


def test_high_lag_low_cpu_is_one_panel_and_one_alarm() -> None:
    assert [board for board, panel in _panels() if panel["title"] == "High lag, low CPU"] == [
        "pipeline"
    ]
    found = [rule for rule in _rules("alerts.yml") if rule["alert"] == "HighLagLowCpu"]
    assert len(found) == 1


def test_dashboards_ask_the_source_that_is_provisioned() -> None:
    files = (GRAFANA / "provisioning" / "datasources").glob("*.yaml")
    sources = {source["uid"] for file in files for source in _yaml(file)["datasources"]}
    boards = [json.loads(file.read_text()) for file in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len(boards) >= 2
    for _, panel in _panels():
        asked = [panel, *panel["targets"]]
        assert {each["datasource"]["uid"] for each in asked} <= sources, panel["title"]


def test_compose_mounts_what_the_files_name() -> None:
    services = _yaml(ROOT / "docker" / "compose.yaml")["services"]
    folder = _yaml(GRAFANA / "provisioning" / "dashboards" / "files.yaml")
    path = folder["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in services["grafana"]["volumes"]
    assert "./prometheus:/etc/prometheus:ro" in services["prometheus"]["volumes"]
    ports = {
        job["job_name"]: job["dns_sd_configs"][0]["port"]
        for job in _yaml(RULES / "prometheus.yml")["scrape_configs"]
        if "dns_sd_configs" in job
    }
    assert set(ports) <= services.keys()
    for name, port in ports.items():
        assert services[name]["environment"]["NOTIFY_METRICS_PORT"] == port
        assert f"localhost:{port}/healthz/progress" in str(services[name]["healthcheck"])
