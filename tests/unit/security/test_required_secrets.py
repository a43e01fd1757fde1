"""Processes do not start with secrets for development, and need none that they do not use."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from pytest_django import Settings

from devstack import ROOT
from notify import env
from notify.security import required_secrets
from notify.security.required_secrets import USED, missing, problem

GOOD: Final = {
    "NOTIFY_SECRET_KEY": "a-secret-key-of-production",
    "NOTIFY_KEY_PEPPER": "a-pepper-of-production",
    "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x",
    "REDIS_URL": "redis://u:p@127.0.0.1:1/0",
}
COMMANDS: Final = {
    "web": ("-c", "import notify.wsgi"),
    "bridge": ("manage.py", "bridge"),
    "worker": ("-m", "celery", "-A", "notify", "worker", "--concurrency=1"),
    "watch": ("manage.py", "watch"),
    "flower": ("-m", "celery", "-A", "notify", "flower", "--address=127.0.0.1", "--port=1"),
    "an app key": ("manage.py", "app", "create", "Closely"),
}


def _set(settings: Settings, monkeypatch: pytest.MonkeyPatch, given: Sequence[str]) -> None:
    """These have what production sets, the others what settings.py makes of nothing."""
    settings.SECRET_KEY = f"{required_secrets.INSECURE}development-key"
    settings.NOTIFY_KEY_PEPPER = ""
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    for name in given:
        monkeypatch.setenv(name, GOOD[name])
        if name.startswith("NOTIFY_"):
            setattr(settings, name.replace("NOTIFY_SECRET", "SECRET"), GOOD[name])


@pytest.mark.parametrize("process", USED)
def test_a_process_needs_what_it_uses_and_nothing_else(
    process: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(settings, monkeypatch, USED[process])
    assert problem(process) == ""
    for name in USED[process]:
        _set(settings, monkeypatch, [each for each in USED[process] if each != name])
        assert missing(process) == [name]
        assert f"{process} needs {name}: " in problem(process)


def test_development_says_so_and_needs_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(settings, monkeypatch, ())
    assert problem("web")
    settings.DEBUG = True
    assert problem("web") == ""


@pytest.mark.parametrize("value", ["insecure-development-key", "insecure-anything"])
def test_a_value_for_development_is_none(value: str, settings: Settings) -> None:
    settings.SECRET_KEY = settings.NOTIFY_KEY_PEPPER = value
    assert set(missing("web")) >= {"NOTIFY_SECRET_KEY", "NOTIFY_KEY_PEPPER"}


def test_an_empty_secret_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files say VARIABLE: ${VARIABLE:-}."""
    monkeypatch.setenv("X", "")
    assert env.secret("X", "insecure-x") == "insecure-x"
    assert not env.is_given("X")


def test_a_file_is_as_good(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _set(settings, monkeypatch, ["DATABASE_URL"])
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "url"))
    assert missing("worker") == []


def _start(process: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, *COMMANDS[process]],
        cwd=ROOT,
        env=kept | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("process", COMMANDS)
def test_the_process_itself_refuses_to_start(process: str) -> None:
    used = USED[process]
    given = {name: value for name, value in GOOD.items() if name != used[0]}
    ended = _start(process, **given)
    assert ended.returncode != 0
    assert f"{process} needs {used[0]}: " in ended.stderr
    assert "NOTIFY_DEBUG=1" in ended.stderr
    assert not any(value in ended.stderr + ended.stdout for value in given.values())
