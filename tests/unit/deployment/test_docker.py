"""The image and the compose file: what is in them fits the documents and the lock."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from django.conf import settings
from django.urls import URLPattern

from devstack import ROOT, apache_kafka
from notify.kafka.producer_clients import CONNECT_TIMEOUT_MS
from notify.security.database_roles import PROCESSES
from notify.security.required_secrets import USED
from notify.web.urls import urlpatterns

DOCKER: Final = ROOT / "docker"
COMPOSE: Final = (DOCKER / "compose.yaml").read_text()
PROXY: Final = (DOCKER / "haproxy.cfg").read_text()
#: Bytes of a request before its body.
HEADERS_MAX: Final = 32 * 1024
IMAGE: Final = (DOCKER / "Dockerfile").read_text()
EXAMPLE: Final = (DOCKER / "env.example").read_text()
SECRETS: Final = (
    "NOTIFY_SECRET_KEY",
    "NOTIFY_KEY_PEPPER",
    "POSTGRES_PASSWORD",
    *(f"{process.upper()}_POSTGRES_PASSWORD" for process in PROCESSES),
    *(f"{process.upper()}_REDIS_PASSWORD" for process in (*PROCESSES, "flower")),
    "FLOWER_BASIC_AUTH",
    "GRAFANA_PASSWORD",
)
_ALERTS: Final = {
    *("NOTIFY_ALERT_WEBHOOK_URL", "NOTIFY_ALERT_WEBHOOK_SECRET", "NOTIFY_EMAIL_URL"),
    "NOTIFY_WATCH_HEARTBEAT_URL",
}
_WEB: Final = {
    *("NOTIFY_SECRET_KEY", "NOTIFY_KEY_PEPPER"),
    *("WEB_POSTGRES_PASSWORD", "WEB_REDIS_PASSWORD"),
}
#: Of Alertmanager.
_OTHERS: Final = {
    *("ALERTMANAGER_WEBHOOK_URL", "ALERTMANAGER_HEARTBEAT_URL", "ALERTMANAGER_SMTP_PASSWORD"),
}
#: The secrets of each service, and no others.
SECRETS_OF: Final = {
    "web-2": _WEB,
    "postgres": {"POSTGRES_PASSWORD"},
    "redis": {name for name in SECRETS if name.endswith("_REDIS_PASSWORD")},
    "setup": {name for name in SECRETS if name.endswith("POSTGRES_PASSWORD")},
    "web": _WEB,
    "bridge": {"BRIDGE_POSTGRES_PASSWORD", "BRIDGE_REDIS_PASSWORD"},
    "worker": {"WORKER_POSTGRES_PASSWORD", "WORKER_REDIS_PASSWORD"},
    "watch": {"WATCH_POSTGRES_PASSWORD", "WATCH_REDIS_PASSWORD", *_ALERTS},
    "flower": {"FLOWER_REDIS_PASSWORD", "FLOWER_BASIC_AUTH"},
    "grafana": {"GRAFANA_PASSWORD"},
    "alertmanager": _OTHERS,
    "postgres-exporter": {"EXPORTER_POSTGRES_PASSWORD"},
    "redis-exporter": {"EXPORTER_REDIS_PASSWORD"},
}
#: What may stay empty: nobody is told of alerts then.
OPTIONAL: Final = (
    "NOTIFY_ALERT_WEBHOOK_URL",
    "NOTIFY_ALERT_WEBHOOK_SECRET",
    "NOTIFY_ALERT_EMAILS",
    "NOTIFY_EMAIL_URL",
    "NOTIFY_WATCH_HEARTBEAT_URL",
    "ALERTMANAGER_WEBHOOK_URL",
    "ALERTMANAGER_EMAILS",
    "ALERTMANAGER_SMTP",
    "ALERTMANAGER_SMTP_USER",
    "ALERTMANAGER_SMTP_PASSWORD",
    "ALERTMANAGER_HEARTBEAT_URL",
)


def _images() -> dict[str, str]:
    """Name to tag, of all that is pulled."""
    pulled = re.findall(r"^ +image: (\S+):(\S+)$", COMPOSE, re.MULTILINE)
    return dict(pulled + re.findall(r"^FROM ([^\s:]+):(\S+)", IMAGE, re.MULTILINE))


def _run(*, environ: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("there is no docker")
    found = subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("docker has no compose plugin")
    return subprocess.run(
        [docker, "compose", "-f", DOCKER / "compose.yaml", "config", "--quiet"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("filled", [True, False])
def test_compose_takes_the_file(filled: bool) -> None:
    plain = {key: value for key, value in os.environ.items() if key not in SECRETS}
    done = _run(environ=plain | (dict.fromkeys(SECRETS, "x") if filled else {}))
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_images_are_those_of_the_documents() -> None:
    documented = (ROOT / "docs" / "operations.md").read_text()
    listed = re.findall(r"^\| `([^`]+)` \| (\S+) \|$", documented, re.MULTILINE)
    assert dict(listed) == _images()


def test_kafka_is_the_one_that_is_tested() -> None:
    assert _images()["apache/kafka"] == apache_kafka.VERSION


def test_every_variable_is_in_the_example() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE))
    given = dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert used == given.keys()
    assert {name for name, value in given.items() if not value} == {*SECRETS, *OPTIONAL}


def test_the_proxy_takes_its_file() -> None:
    haproxy = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if haproxy is None:
        pytest.skip("there is no haproxy")
    names = ("BIND", "OPERATORS", "METRICS", "WEB_1", "WEB_2")
    addresses = dict.fromkeys(names, "127.0.0.1:1") | {"ADMIN": "/x.sock"}
    done = subprocess.run(
        [haproxy, "-c", "-f", DOCKER / "haproxy.cfg"],
        env=os.environ | addresses,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_proxy_holds_a_whole_batch_and_outwaits_web() -> None:
    held = int(re.findall(r"tune.bufsize (\d+)$", PROXY, re.MULTILINE)[0])
    assert held >= settings.NOTIFY_BATCH_BYTES + HEADERS_MAX
    waits_ms = int(re.findall(r"timeout server (\d+)s$", PROXY, re.MULTILINE)[0]) * 1000
    assert waits_ms > settings.NOTIFY_ACK_TIMEOUT_MS + CONNECT_TIMEOUT_MS


def test_the_proxy_fits_its_container_when_all_its_buffers_are_full() -> None:
    size, buffers = (
        int(re.findall(rf"tune.{name} (\d+)$", PROXY, re.MULTILINE)[0])
        for name in ("bufsize", "buffers.limit")
    )
    limit = _services()["haproxy"]["deploy"]["resources"]["limits"]["memory"]
    assert size * buffers < int(limit.removesuffix("m")) * 2**20
    # One address cannot take them all.
    one = int(re.findall(r"presetenv ADDRESS_CONNECTIONS (\d+)$", PROXY, re.MULTILINE)[0])
    assert buffers >= 2 * one


def test_web_is_reached_through_the_proxy_alone() -> None:
    services = _services()
    assert services["web"] == services["web-2"]
    assert "ports" not in services["web"]
    assert (
        services["haproxy"]["environment"].items()
        >= {"WEB_1": "web:8000", "WEB_2": "web-2:8000"}.items()
    )
    assert services["haproxy"]["environment"]["BIND_OPTIONS"] == (
        "${PROXY_BIND_OPTIONS-ssl crt /etc/haproxy/tls/site.pem}"
    )
    assert "./tls:/etc/haproxy/tls:ro" in services["haproxy"]["volumes"]
    binds = re.findall(r"^    bind .*$", PROXY, re.MULTILINE)
    assert [line.endswith(' "${BIND_OPTIONS[*]}"') for line in binds] == [True, True, False]


def test_the_proxy_lets_every_route_through() -> None:
    let_through = re.findall(r"acl is_\w+ path,url_dec -m reg (\S+)$", PROXY, re.MULTILINE)
    let_through += [r"/(openapi\.json|metrics)$"]  # metrics: past the proxy, to scrapers inside
    paths = [f"/{each.pattern}" for each in urlpatterns if isinstance(each, URLPattern)]
    assert "/players" in paths
    assert [path for path in paths if not any(re.match(each, path) for each in let_through)] == []


def test_the_proxy_finds_a_web_that_has_another_address() -> None:
    server = re.findall(r"^    default-server (.*)$", PROXY, re.MULTILINE)[0]
    # One that is made anew may get the address that the other one had before.
    assert "resolvers system resolve-opts allow-dup-ip " in server


def test_every_service_has_a_bound_of_memory_and_processors() -> None:
    for name, service in _services().items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"memory", "cpus"} <= limits.keys(), name


def test_redis_refuses_before_its_container_is_out_of_memory() -> None:
    redis = _services()["redis"]
    held = int(re.findall(r"--maxmemory (\d+)mb ", redis["command"][-1])[0])
    assert held < int(redis["deploy"]["resources"]["limits"]["memory"].removesuffix("m"))


def test_every_process_takes_settings_and_files_of_its_own() -> None:
    for name in ("setup", *PROCESSES[:4], "flower"):
        files = _services()[name]["env_file"]
        assert [each["path"] for each in files] == ["settings.env", f"{name}.env"]
        assert not any(each["required"] for each in files)


def test_kafkas_health_check_starts_no_java() -> None:
    check = " ".join(_services()["kafka"]["healthcheck"]["test"])
    assert "/dev/tcp/127.0.0.1/9092" in check
    assert ".sh" not in check


def test_the_proxy_sends_again_only_what_web_never_got() -> None:
    assert re.findall(r"retry-on (.*)$", PROXY, re.MULTILINE) == ["conn-failure"]


def test_no_secret_has_a_default() -> None:
    for name in SECRETS:
        assert set(re.findall(rf"\$\{{{name}(.*?)\}}", COMPOSE)) <= {
            ":-",
            ":?set it in docker/.env",
        }


def _services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
    return found


def test_each_service_gets_the_secrets_that_it_uses_and_no_others() -> None:
    for name, service in _services().items():
        used = set(re.findall(r"(?<!\$)\$\{(\w+)", yaml.safe_dump(service, width=10_000)))
        assert used & {*SECRETS, *_ALERTS, *_OTHERS} == SECRETS_OF.get(name, set()), name


def test_each_process_is_a_user_of_its_own() -> None:
    for process in ("web", "bridge", "worker", "watch", "flower"):
        environment = _services()[process]["environment"]
        for variable, scheme in (("DATABASE_URL", "postgresql"), ("REDIS_URL", "redis")):
            if variable in USED[process]:
                assert environment[variable].startswith(f"{scheme}://notify_{process}:"), process
            else:
                assert variable not in environment
        # What the process needs to start is there.
        assert set(USED[process]) <= environment.keys()


def test_exporters_are_users_of_their_own() -> None:
    services = _services()
    assert services["postgres-exporter"]["environment"]["DATA_SOURCE_USER"] == "notify_exporter"
    assert services["redis-exporter"]["environment"]["REDIS_USER"] == "notify_exporter"


def test_setup_makes_a_login_for_each_role() -> None:
    setup = _services()["setup"]
    words = re.findall(r"(\w+)=(\w+_POSTGRES_PASSWORD)", setup["command"][-1])
    assert dict(words) == {each: f"{each.upper()}_POSTGRES_PASSWORD" for each in PROCESSES}
    assert set(dict(words).values()) <= setup["environment"].keys()
    assert "check --deploy" in _services()["web"]["entrypoint"][-2]


@pytest.mark.parametrize("missing", ["", "WATCH_REDIS_PASSWORD"])
def test_redis_starts_with_a_password_for_each_user(tmp_path: Path, missing: str) -> None:
    redis = _services()["redis"]
    script = redis["command"][-1].replace("$$", "$").replace("/tmp/", f"{tmp_path}/")
    script = script.replace("/etc/redis.acl", str(DOCKER / "redis.acl"))
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    passwords = {name: f"word-of-{name}" for name in redis["environment"] if name != missing}
    done = subprocess.run(
        ["sh", "-ec", script],
        env=passwords | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if missing:
        assert done.returncode
        assert f"set {missing} in docker/.env" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    users = (tmp_path / "users.acl").read_text()
    assert not re.search("PASSWORD_OF|NAMESPACE|^#", users, re.MULTILINE)
    assert dict(re.findall(r"^user notify_(\w+) on >(\S+) ", users, re.MULTILINE)) == {
        name.partition("_")[0].lower(): word for name, word in passwords.items()
    }


def test_every_service_has_a_health_check_but_the_one_that_ends() -> None:
    assert {name for name, each in _services().items() if "healthcheck" not in each} == {"setup"}


def test_the_image_installs_the_lock_and_does_not_run_as_root() -> None:
    assert "--require-hashes --no-deps -r /lock.txt" in IMAGE
    assert "ARG LOCK=base\nCOPY requirements/${LOCK}.txt /lock.txt" in IMAGE
    stages = IMAGE.split("\nFROM ")
    # A number: with a name Kubernetes refuses to start it under runAsNonRoot.
    assert re.findall(r"^USER (.+)$", stages[-1], re.MULTILINE) == ["10001:10001"]
    assert stages[-1].rindex("\nUSER ") > stages[-1].rindex("\nRUN ")


def test_in_a_container_metrics_and_probes_are_reached_from_outside() -> None:
    """Outside the image only the host itself reaches them."""
    assert settings.NOTIFY_METRICS_HOST == "127.0.0.1"
    assert "NOTIFY_METRICS_HOST=0.0.0.0\n" in IMAGE.split("\nFROM ")[-1]
    containers = [*yaml.safe_load(COMPOSE)["services"].values()]
    assert not any("NOTIFY_METRICS_HOST" in (each.get("environment") or {}) for each in containers)


def test_the_image_is_built_without_secrets() -> None:
    assert re.findall(r"^ARG (\w+)", IMAGE, re.MULTILINE) == ["LOCK"]
    assert not re.search(r"--mount=type=secret|SECRET|PEPPER|PASSWORD", IMAGE)


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text()
    copied = re.findall(r"^COPY ((?!--)\S+) ", IMAGE, re.MULTILINE)
    lock, *rest = copied
    for path in (
        *(lock.replace("${LOCK}", each) for each in ("base", "librdkafka", "otel")),
        *rest,
    ):
        assert (ROOT / path).exists()
        assert f"!{path}\n" in ignored


def _alloy() -> str:
    return (DOCKER / "alloy" / "config.alloy").read_text()


def _loki() -> str:
    return (DOCKER / "loki" / "loki.yaml").read_text()


def _service(name: str) -> str:
    """The text of one service."""
    services = COMPOSE.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    parts = re.split(r"^  ([\w-]+):$", services, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[name]


def test_labels_of_log_lines_are_process_and_level_and_no_other() -> None:
    labels = re.findall(r"stage\.labels \{\s+values = \{(.*)\}", _alloy())
    kept = re.findall(r"stage\.label_keep \{\s+values = \[(.*)\]", _alloy())
    assert [re.findall(r'"(\w+)" = ""', each) for each in labels] == [["process", "level"]]
    assert kept == ['"process", "level"']
    assert "static_labels" not in _alloy()
    assert "structured_metadata" not in _alloy()
    assert re.findall(r"max_label_names_per_series: (\d+)$", _loki(), re.MULTILINE) == ["2"]
    assert "discover_service_name: []" in _loki()


def test_alloy_takes_the_lines_of_every_process_and_every_level() -> None:
    named = {
        name
        for folder in ("notify", "ingest", "workers")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r'logs\.configure\("(\w+)"\)', file.read_text())
    }
    selected = {
        label: set(values.split("|"))
        for label, values in re.findall(r'selector = "\{(\w+)!~\\"([\w|]+)\\"\}"', _alloy())
    }
    assert named <= selected["process"]
    assert selected["level"] == {"debug", "info", "warning", "error", "critical"}


def test_how_long_lines_are_kept_is_one_setting() -> None:
    assert re.findall(r"^LOG_RETENTION_DAYS=(\d+)$", EXAMPLE, re.MULTILINE) == ["30"]
    assert "LOG_RETENTION_DAYS: ${LOG_RETENTION_DAYS:-30}" in _service("loki")
    assert "-config.expand-env=true" in _service("loki")
    assert "retention_period: ${LOG_RETENTION_DAYS:-30}d" in _loki()
    assert "retention_enabled: true" in _loki()


def test_alloy_loki_and_grafana_find_each_other() -> None:
    assert (
        'url = coalesce(sys.env("LOKI_PUSH_URL"), "http://loki:3100/loki/api/v1/push")' in _alloy()
    )
    assert "http_listen_port: ${LOKI_PORT:-3100}" in _loki()
    source = (DOCKER / "grafana/provisioning/datasources/loki.yaml").read_text()
    assert re.findall(r"^ +url: (http\S+)$", source, re.MULTILINE) == ["http://loki:3100"]
    assert "NOTIFY_LOKI_URL: http://loki:3100" in COMPOSE


def test_no_request_waits_for_a_log_and_logs_fill_no_disk() -> None:
    product = COMPOSE.partition("x-product:")[2].partition("\nx-")[0]
    options = re.findall(r"options: \{(.*)\}", product)[0]
    for option in ("mode: non-blocking", "max-size: ", "max-file: "):
        assert option in options


def test_the_log_store_listens_on_loopback_and_alloy_has_no_docker_socket() -> None:
    assert re.findall(r"ports: \[(.*)\]", _service("loki")) == ['"127.0.0.1:3100:3100"']
    assert "docker.sock" not in COMPOSE
    assert "/var/lib/docker/containers:/var/lib/docker/containers:ro" in _service("alloy")


def test_loki_takes_its_file() -> None:
    loki = shutil.which("loki")
    if loki is None:
        pytest.skip("there is no loki")
    file = f"-config.file={DOCKER / 'loki' / 'loki.yaml'}"
    done = subprocess.run(
        [loki, file, "-config.expand-env=true", "-verify-config"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
