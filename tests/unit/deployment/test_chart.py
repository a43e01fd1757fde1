"""The Helm chart: what it says of processes is what the code does. Helm itself is asked where it is there."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from django.conf import settings
from django.urls import resolve

from devstack import ROOT, chart
from notify.kafka.producer_clients import CONNECT_TIMEOUT_MS
from notify.security.database_roles import PROCESSES
from notify.security.required_secrets import USED
from notify.telemetry import probes

CHART: Final = ROOT / "docker" / "chart"
FACTS: Final[dict[str, Any]] = yaml.safe_load((CHART / "files" / "processes.yaml").read_text())
VALUES: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Final[dict[str, Any]] = json.loads((CHART / "values.schema.json").read_text())
TEMPLATES: Final = {file.name: file.read_text() for file in (CHART / "templates").iterdir()}
IMAGE: Final = (ROOT / "docker" / "Dockerfile").read_text()
PROXY: Final = (ROOT / "docker" / "haproxy.cfg").read_text()
SETTINGS: Final = (ROOT / "notify" / "settings.py").read_text()
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())

#: Variables that libraries read, not our settings.
LIBRARIES: Final = {"PROMETHEUS_MULTIPROC_DIR", "FLOWER_BASIC_AUTH"}
KAFKAS: Final = {"KAFKA_SASL_PASSWORD", "KAFKA_SSL_KEY_PASSWORD"}
#: What a process may have beside what it must have: the last column of docs/security.md, Secrets.
OPTIONAL: Final[dict[str, set[str]]] = {
    "web": {*KAFKAS, "NOTIFY_LOKI_URL"},
    "bridge": KAFKAS,
    "worker": set(),
    "watch": {
        *KAFKAS,
        *("NOTIFY_ALERT_WEBHOOK_URL", "NOTIFY_ALERT_WEBHOOK_SECRET"),
        *("NOTIFY_EMAIL_URL", "NOTIFY_WATCH_HEARTBEAT_URL"),
    },
    "flower": set(),
}


def _examples() -> list[Path]:
    return sorted((CHART / "examples").glob("*.yaml"))


def _given(values: dict[str, Any]) -> set[str]:
    """Every setting in the values."""
    found = set(values.get("settings", ()))
    for each in values.values():
        if isinstance(each, dict):
            found |= set(each.get("settings", ()))
    return found


def test_its_processes_are_those_that_need_secrets_to_start() -> None:
    assert set(FACTS) == set(USED) - {"an app key"}


def test_each_process_gets_the_secrets_that_it_uses_and_no_others() -> None:
    for process, fact in FACTS.items():
        own = {"FLOWER_BASIC_AUTH"} if process == "flower" else set()
        assert set(fact["secrets"]) == {*USED[process], *own}, process
        assert set(fact["optional"]) == OPTIONAL[process], process
        assert ("kafka" in fact["connects"]) == (set(fact["optional"]) >= KAFKAS), process
        assert ("postgresql" in fact["connects"]) == ("DATABASE_URL" in fact["secrets"]), process
    named = [VALUES[process]["secret"] for process in (*FACTS, "setup")]
    assert len(set(named)) == len(named)


def test_every_variable_is_a_setting() -> None:
    known = set(re.findall(r'env\.\w+\(\s*"(\w+)"', SETTINGS)) | LIBRARIES
    used = {
        name
        for fact in FACTS.values()
        for name in (*fact["secrets"], *fact["optional"], *fact["settings"])
    }
    used |= _given(VALUES).union(
        *(_given(yaml.safe_load(file.read_text())) for file in _examples())
    )
    used |= set(re.findall(r"^([A-Z_]+): \{\{", TEMPLATES["_helpers.tpl"], re.MULTILINE))
    assert used
    assert used <= known


def test_a_secret_is_refused_among_the_settings() -> None:
    refused = set(SCHEMA["definitions"]["settings"]["propertyNames"]["not"]["enum"])
    read = set(re.findall(r'env\.secret\(\s*"(\w+)"', SETTINGS))
    given = {name for fact in FACTS.values() for name in (*fact["secrets"], *fact["optional"])}
    assert refused == read | given


def test_the_schema_names_every_value() -> None:
    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        schema = (
            SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        )
        if "properties" not in schema:
            return
        assert schema["additionalProperties"] is False, path
        assert values.keys() == schema["properties"].keys() - {"global"}, path
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, schema["properties"][name], f"{path}.{name}")

    compare(VALUES, SCHEMA, "values")


@pytest.mark.parametrize("process", ["bridge", "worker", "watch"])
def test_probes_ask_for_pages_that_are_there(process: str) -> None:
    fact = FACTS[process]
    port = probes.serve(0, scrape=lambda: b"", content_type="text/plain", problem=lambda: None)
    for page in (fact["live"], fact["ready"], fact["metrics"]):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=60) as answer:
            assert answer.status == HTTPStatus.OK
    assert fact["settings"]["NOTIFY_METRICS_PORT"] == str(fact["port"])


def test_webs_probes_ask_for_pages_that_are_there() -> None:
    fact = FACTS["web"]
    assert resolve(fact["live"]).kwargs == resolve(fact["ready"]).kwargs == {}
    assert resolve(fact["metrics"])
    assert f"--port={fact['port']}" in fact["args"]


def test_nothing_restarts_because_the_pipeline_stands_still() -> None:
    for fact in FACTS.values():
        assert fact["live"] in ("/healthz/live", "/healthcheck")
        assert "pipeline" not in fact["ready"]
    assert "path: {{ $fact.live }}" in TEMPLATES["deployments.yaml"].partition("livenessProbe")[2]


def test_processes_start_as_in_the_compose_file() -> None:
    services = COMPOSE["services"]
    for process in ("bridge", "watch"):
        assert FACTS[process]["command"] == services[process]["command"]
    for process in ("web", "worker"):
        fact = FACTS[process]
        ours = {*fact["args"], f"{fact['processes']}="}
        theirs = {re.sub(r"=\$\{.*", "=", word) for word in services[process]["command"]}
        assert ours == theirs
    shell = services["flower"]["command"][-1]
    assert f"exec {' '.join(FACTS['flower']['args'])}\n" in shell
    assert "${FLOWER_BASIC_AUTH:?" in FACTS["flower"]["command"][2]


def test_setup_does_what_it_does_in_the_compose_file() -> None:
    def commands(text: str) -> list[str]:
        return re.findall(r"python manage\.py (\w+ (?:--)?[\w-]+)", text)

    theirs = commands(COMPOSE["services"]["setup"]["command"][-1])
    assert commands(TEMPLATES["setup.yaml"]) == theirs
    roles = re.findall(r"\$roles := list (.*?) \}\}", TEMPLATES["setup.yaml"])[0]
    assert roles.replace('"', "").split() == list(PROCESSES)


def test_each_process_has_longer_to_stop_than_it_takes() -> None:
    request_s = (settings.NOTIFY_ACK_TIMEOUT_MS + CONNECT_TIMEOUT_MS) / 1000
    takes_s = {
        "web": FACTS["web"]["linger_s"] + request_s,
        "bridge": settings.NOTIFY_DRAIN_MS / 1000,
        "worker": settings.NOTIFY_POSTGRES_DEADLINE_MS / 1000,
        "watch": 2,
        "flower": 0,
    }
    for process, least_s in takes_s.items():
        assert FACTS[process]["grace_s"] > least_s, process


def test_it_runs_as_the_images_user_on_a_file_system_that_is_read_only() -> None:
    ((uid,),) = [re.findall(r"--uid (\d+)", IMAGE)]
    assert f"runAsUser: {uid}" in TEMPLATES["_helpers.tpl"]
    assert "readOnlyRootFilesystem: true" in TEMPLATES["_helpers.tpl"]
    for fact in FACTS.values():
        multiprocess = fact["settings"].get("PROMETHEUS_MULTIPROC_DIR")
        assert ("processes" in fact) == (multiprocess is not None)
        assert multiprocess is None or multiprocess in fact["writes"]


def test_the_ingress_lets_through_what_the_proxy_does() -> None:
    paths = yaml.safe_load((CHART / "files" / "paths.yaml").read_text())
    groups = re.findall(r"is_public path,url_dec -m reg \^/\(api/v1/\)\?\((.*?)\)", PROXY)
    public = [name for group in groups for name in group.split("|")]
    (exact,) = re.findall(r"is_public path,url_dec -m str (.*)$", PROXY, re.MULTILINE)
    (operators,) = re.findall(r"is_for_operators path,url_dec -m reg \^/\((.*?)\)", PROXY)
    assert paths == {
        "public": {
            "Prefix": [f"{start}/{name}" for start in ("", "/api/v1") for name in public],
            "Exact": exact.split(),
        },
        "operators": {"Prefix": [f"/{name}" for name in operators.split("|")]},
    }


def test_prometheus_gets_the_rules_of_the_compose_stack_themselves() -> None:
    for name in ("alerts.yml", "recording.yml"):
        file = CHART / "files" / name
        assert file.is_symlink()
        assert file.resolve() == ROOT / "docker" / "prometheus" / name


def test_autoscaling_reads_figures_that_are_recorded() -> None:
    recorded = set(re.findall(r"record: (\S+)", (CHART / "files" / "recording.yml").read_text()))
    asked = set(re.findall(r"notify:\w+:\w+", TEMPLATES["autoscaling.yaml"]))
    assert asked
    assert asked <= recorded


def _helm(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("there is no helm: install it to render the chart (helm.sh/docs/intro/install)")
    return subprocess.run(
        [helm, *arguments, "--kube-version", chart.KUBERNETES[0]],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("example", _examples(), ids=lambda file: file.stem)
def test_helm_renders_each_example(example: Path) -> None:
    done = _helm("template", "notify", CHART, "--values", example)
    assert done.returncode == 0, done.stderr
    for each in filter(None, yaml.safe_load_all(done.stdout)):
        if each["kind"] == "Deployment":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            names = [variable["name"] for variable in container["env"]]
            assert len(set(names)) == len(names)
            kafka = any(name.startswith("KAFKA_") for name in names)
            assert kafka == ("kafka" in FACTS[container["name"]]["connects"])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "settings.KAFKA_BOOTSTRAP_SERVERS is empty: set it"),
        (["settings.NOTIFY_KEY_PEPPER=x"], "NOTIFY_KEY_PEPPER"),
        (["web.replica=3"], "replica"),
        (["ingress.public.enabled=true"], "ingress.public.host is empty: set it"),
        (["web.secret="], "web.secret is empty: name the Secret"),
    ],
)
def test_helm_refuses_what_is_wrong(values: list[str], says: str) -> None:
    given = [f"--set={each}" for each in values]
    if values:
        given.append("--set=settings.KAFKA_BOOTSTRAP_SERVERS=kafka:9092")
    done = _helm("template", "notify", CHART, *given)
    assert done.returncode != 0
    assert says in done.stderr


def test_make_chart_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("PATH", "")
    assert chart.main() == 1
    assert "install helm" in capsys.readouterr().err
