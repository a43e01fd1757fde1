"""The systemd units say what the code, the chart and the compose file say."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from django.core.management import get_commands

from devstack import ROOT
from notify.security.required_secrets import USED

SYSTEMD: Final = ROOT / "docker" / "systemd"
FACTS: Final[dict[str, Any]] = yaml.safe_load(
    (ROOT / "docker" / "chart" / "files" / "processes.yaml").read_text()
)
SERVICES: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())[
    "services"
]
UNITS: Final = {
    re.split(r"notify-|@?\.service", file.name)[1]: file for file in SYSTEMD.glob("*.service")
}
#: Units by the name of their process in the compose file.
PROCESSES: Final = {name: ("setup" if name == "migrate" else name) for name in UNITS}
COMMON: Final = (SYSTEMD / "notify-.service.d" / "common.conf").read_text()


def _values(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def _megabytes(text: str) -> int:
    number, unit = int(text[:-1]), text[-1].lower()
    return number * {"m": 1, "g": 1024}[unit]


def _environment_files(text: str) -> list[str]:
    return [Path(each).name for each in _values(text, "EnvironmentFile")]


def _given(file: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", (SYSTEMD / "env" / file).read_text(), re.MULTILINE))


def test_each_process_has_a_unit() -> None:
    assert set(PROCESSES.values()) == {*FACTS, "setup"}


def test_each_command_is_one_that_the_release_installs() -> None:
    installed = {each.name for each in entry_points(group="console_scripts")}
    for name, file in UNITS.items():
        commands = re.findall(
            r"/opt/notify/(?:current|%i)/bin/(\w+)(?: -A notify)? (\w+|--\w+)", file.read_text()
        )
        assert commands, name
        for program, word in commands:
            assert program != "notify" or word in get_commands(), (name, word)
            assert program == "notify" or program in installed, (name, program)


def test_processes_start_as_in_the_chart() -> None:
    for process in ("web", "worker", "flower"):
        (start,) = _values(UNITS[process].read_text(), "ExecStart")
        own = ("--host=", "--port=", "--address=")
        for word in FACTS[process]["args"]:
            assert word.startswith(own) or word in start, (process, word)
    for process in ("bridge", "watch"):
        (start,) = _values(UNITS[process].read_text(), "ExecStart")
        assert start.endswith(f"/notify {FACTS[process]['command'][-1]}")
    (before,) = _values(UNITS["web"].read_text(), "ExecStartPre")
    assert "check --deploy --fail-level ERROR" in before


def test_migrate_does_what_setup_does_in_the_compose_file() -> None:
    shell = SERVICES["setup"]["command"][-1].replace("\\\n", " ")
    theirs = [line.split()[2:] for line in shell.splitlines() if line]
    ours = [each.split()[1:] for each in _values(UNITS["migrate"].read_text(), "ExecStart")]
    assert ours == theirs


def test_operators_are_told_commands_that_there_are() -> None:
    """In each installation: a command that reads, one of the owner's, a restart, and a log."""
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text.partition("\n## Run a command\n")[2].partition("\n## ")[0]
    blocks = [each.splitlines() for each in re.findall(r"```\n(.*?)```", section, re.DOTALL)]
    systemd, compose, kubernetes, checkout = (" ".join(block) for block in blocks)
    for each in (systemd, compose, kubernetes, checkout):
        for command in ("status", "stream resume 3"):
            assert re.search(rf"(notify-as \w+|python manage\.py) {command}\b", each), each
    assert set(re.findall(r"notify-(\w+)@", systemd)) <= set(UNITS)
    assert set(re.findall(r"notify-as (\w+)", systemd)) <= set(PROCESSES.values())
    named = re.findall(r"(?:exec|--rm|restart|logs) ([a-z]+)", compose)
    assert len(named) == 4
    assert set(named) <= set(SERVICES)
    workloads = set(re.findall(r"deploy/notify-(\w+)|component=(\w+)", kubernetes))
    assert {name for pair in workloads for name in pair if name} <= set(FACTS)


def test_memory_and_stop_times_are_those_of_containers() -> None:
    for name, process in PROCESSES.items():
        text = UNITS[name].read_text()
        (memory,) = _values(text, "MemoryMax")
        # Of web there are two containers with a process each, and one unit with two processes.
        same = [SERVICES[each] for each in (process, f"{process}-2") if each in SERVICES]
        limits = [_megabytes(each["deploy"]["resources"]["limits"]["memory"]) for each in same]
        assert _megabytes(memory) == sum(limits), name
        if process != "setup":
            assert _values(text, "TimeoutStopSec") == [str(FACTS[process]["grace_s"])], name
            assert _values(text, "Restart") == ["always"], name


def test_a_process_gets_its_own_secrets_and_no_others() -> None:
    for process, fact in FACTS.items():
        text = UNITS[process].read_text()
        loaded = dict(each.split(":") for each in _values(text, "LoadCredential"))
        assert set(loaded) == {*fact["secrets"], *fact["optional"]}, process
        assert set(loaded) >= set(USED[process])
        assert all(
            path == f"/etc/notify/credentials/{process}/{name}" for name, path in loaded.items()
        )
        empty = {each.partition(":")[0] for each in _values(text, "SetCredential")}
        assert empty == set(fact["optional"]), process
        files = dict(re.findall(r"^Environment=(\w+)_FILE=%d/(\w+)$", text, re.MULTILINE))
        assert set(files) == set(loaded) - {"FLOWER_BASIC_AUTH"}
        assert all(name == file for name, file in files.items())
        assert ("kafka.env" in _environment_files(text)) == ("kafka" in fact["connects"]), process
        assert _values(text, "User") == [f"notify-{process}"]


def test_each_file_of_settings_is_there_and_has_settings_alone() -> None:
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "settings.md").read_text()))
    secrets = {name for fact in FACTS.values() for name in (*fact["secrets"], *fact["optional"])}
    for name, file in UNITS.items():
        text = file.read_text()
        named = set(re.findall(r"\$\{?([A-Z_]+)", text))
        for each in _environment_files(text):
            given = _given(each).keys()
            # What is no setting of ours is an argument of the unit's command.
            assert given - documented <= named, (name, each)
            assert not given & secrets, each
    used = {each for file in UNITS.values() for each in _environment_files(file.read_text())}
    used |= {*_environment_files(COMMON), "haproxy.env"}
    assert used == {file.name for file in (SYSTEMD / "env").iterdir()}


def test_the_admin_answers_where_the_documents_open_it() -> None:
    """Through a tunnel the browser names the tunnel's end, not the host."""
    install = (ROOT / "docs" / "install.md").read_text()
    (host, port) = re.findall(r"https://([\d.]+):(\d+)/admin/", install)[0]
    assert _given("haproxy.env")["OPERATORS"] == f"{host}:{port}"
    assert host in _given("web.env")["NOTIFY_ALLOWED_HOSTS"].split(",")
    assert f"https://{host}:{port}" in _given("web.env")["NOTIFY_CSRF_TRUSTED_ORIGINS"].split(",")


def test_the_proxys_file_has_each_variable_that_it_needs() -> None:
    proxy = (ROOT / "docker" / "haproxy.cfg").read_text()
    needed = set(re.findall(r'"\$\{(\w+)', proxy)) - set(re.findall(r"presetenv (\w+)", proxy))
    assert _given("haproxy.env").keys() - {"EXTRAOPTS"} == needed


def test_a_process_is_confined_and_stops_as_a_whole() -> None:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(COMMON)
    common = parser["Service"]
    for name in (
        "DynamicUser",
        "NoNewPrivileges",
        "PrivateTmp",
        "PrivateUsers",
        "RestrictNamespaces",
    ):
        assert common[name] == "yes"
    assert common["ProtectSystem"] == "strict"
    assert common["CapabilityBoundingSet"] == ""
    # SIGTERM to a worker's children would end them in the middle of a batch.
    assert common["KillMode"] == "mixed"
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    for process, fact in FACTS.items():
        text = UNITS[process].read_text()
        runtime = [path for path in fact["writes"] if path != "/tmp"]
        assert _values(text, "RuntimeDirectory") == [f"notify-{process}-%i" for _ in runtime]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze: install systemd to verify the units")
    for file in SYSTEMD.iterdir():
        if file.suffix in (".service", ".target"):
            # The programs are not here: systemd looks whether they are.
            text = re.sub(r"/opt/notify/(current|%i)/bin/\w+", "/bin/true", file.read_text())
            (tmp_path / file.name).write_text(text)
    shutil.copytree(SYSTEMD / "notify-.service.d", tmp_path / "notify-.service.d")
    names = [
        f"{tmp_path}/{file.name.replace('@.', '@8000.')}"
        for file in tmp_path.iterdir()
        if file.suffix == ".service"
    ]
    done = subprocess.run(
        [analyze, "verify", "--man=no", *names],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "notify" in line]
    assert done.returncode == 0, done.stderr
    assert not ours
