"""System checks: each finds its fault, production's settings have none, and secrets come from files."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from devstack import ROOT
from devstack.check import PRODUCTION
from notify import env
from notify.celery import verified
from notify.domain.engine.lanes import LANES_MAX
from notify.kafka.kafka_security import Security, arguments

PLAIN = Security("SASL_PLAINTEXT", "PLAIN", "user", "secret-word")


def _found() -> set[str]:
    """Ids of our own findings, of a deployment."""
    messages: list[CheckMessage] = run_checks(include_deployment_checks=True)
    return {str(each.id) for each in messages if str(each.id).startswith("notify.")}


@pytest.fixture
def good(settings: Settings) -> Settings:
    """Settings with which none of our checks finds anything."""
    settings.SECRET_KEY = "a" * 30 + "bcdefghijklmnopqrstuvwxyz"
    settings.NOTIFY_KEY_PEPPER = "pepper"
    assert not _found()
    return settings


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("SECRET_KEY", "insecure-development-key", "notify.E001"),
        ("NOTIFY_KEY_PEPPER", "", "notify.E002"),
        ("NOTIFY_LANES", LANES_MAX + 1, "notify.E003"),
        ("NOTIFY_CHUNK_MESSAGES", 10**9, "notify.E004"),
        ("NOTIFY_CHUNK_MESSAGES", 200, "notify.W001"),
        ("NOTIFY_SHORT_CHUNK_MESSAGES", 200, "notify.W001"),
        ("KAFKA_SECURITY", arguments(PLAIN), "notify.E005"),
        (
            "KAFKA_SECURITY",
            arguments(Security("SSL", check_hostname=False)),
            "notify.E006",
        ),
        ("REDIS_URL", "rediss://h/0?ssl_cert_reqs=CERT_NONE", "notify.E007"),
        ("REDIS_URL", "rediss://h/0?ssl_cert_reqs=none", "notify.E007"),
        ("REDIS_URL", "rediss://h/0?ssl_check_hostname=False", "notify.E007"),
        ("KAFKA_SECURITY", arguments(Security("SSL", cafile="/missing.pem")), "notify.E008"),
    ],
)
def test_each_fault_is_found(good: Settings, setting: str, value: Any, found: str) -> None:
    setattr(good, setting, value)
    assert _found() == {found}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("NOTIFY_SHORT_CHUNK_MESSAGES", 201),
        ("KAFKA_SECURITY", arguments(Security("SSL"))),
        ("KAFKA_SECURITY", arguments(Security("SASL_PLAINTEXT", "SCRAM-SHA-256", "u", "p"))),
        ("REDIS_URL", "rediss://h/0?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem"),
    ],
)
def test_what_is_right_is_not_found(good: Settings, setting: str, value: Any) -> None:
    setattr(good, setting, value)
    assert not _found()


def _manage(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=kept | PRODUCTION | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_productions_settings_are_clean() -> None:
    done = _manage("check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"NOTIFY_SECRET_KEY": "insecure-development-key"}, "notify.E001"),
        ({"NOTIFY_TLS": "0"}, "security.W"),
        ({"KAFKA_SASL_PASSWORD": "secret-word"}, "KAFKA_SASL_PASSWORD would have no effect"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "without KAFKA_SASL_MECHANISM"),
        ({"KAFKA_SASL_PASSWORD_FILE": "/missing"}, "KAFKA_SASL_PASSWORD_FILE=/missing"),
    ],
)
def test_what_is_wrong_is_refused_in_words(environ: dict[str, str], said: str) -> None:
    done = _manage("check", "--deploy", "--fail-level", "WARNING", **environ)
    assert done.returncode != 0
    assert said in done.stderr
    assert "secret-word" not in done.stderr


def test_every_secret_may_come_from_a_file(tmp_path: Path) -> None:
    names = {
        "NOTIFY_SECRET_KEY": "k" * 20 + "0123456789abcdefghijklmnopqrstuvwxyz",
        "NOTIFY_KEY_PEPPER": "pepper of the file",
        "DATABASE_URL": "postgresql://u:word-of-postgres@there/notify",
        "REDIS_URL": "redis://u:word-of-redis@there/0",
        "KAFKA_SASL_PASSWORD": "word-of-kafka",
        "KAFKA_SSL_KEY_PASSWORD": "word-of-the-key",
    }
    files = {}
    for name, text in names.items():
        file = tmp_path / name
        file.write_text(f"{text}\n")
        files[f"{name}_FILE"] = str(file)
    more = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "u",
        "KAFKA_SSL_CERTFILE": "c",
        "KAFKA_SSL_KEYFILE": "k",
    }
    without = {name: text for name, text in PRODUCTION.items() if name not in names}
    program = (
        "from notify import settings as s; print([s.SECRET_KEY, s.NOTIFY_KEY_PEPPER, "
        "s.DATABASES['default']['PASSWORD'], s.REDIS_URL, s.KAFKA_SECURITY['sasl_plain_password'], "
        "s.KAFKA_SECURITY['ssl_password']])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=without | files | more,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [*names.values()]
    expected[2] = "word-of-postgres"
    assert done.stdout.strip() == str(expected)


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("secret-word")
    monkeypatch.setenv("X_FILE", str(tmp_path / "file"))
    assert env.secret("X", "") == "secret-word"
    monkeypatch.setenv("X", "")
    assert env.secret("X", "") == "secret-word"
    monkeypatch.setenv("X", "another-word")
    with pytest.raises(ImproperlyConfigured, match="X and X_FILE are both set") as raised:
        env.secret("X", "")
    assert "word" not in str(raised.value)


def test_a_file_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"secret-word\xff")
    monkeypatch.setenv("X_FILE", str(tmp_path / "file"))
    with pytest.raises(ImproperlyConfigured, match="cannot be read as text") as raised:
        env.secret("X", "")
    assert "secret-word" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("redis://h/0", "redis://h/0"),
        ("rediss://u:p@h/0", "rediss://u:p@h/0?ssl_cert_reqs=required"),
        (
            "rediss://h/0?ssl_ca_certs=/ca",
            "rediss://h/0?ssl_ca_certs=/ca&ssl_cert_reqs=required",
        ),
        ("rediss://h/0?ssl_cert_reqs=none", "rediss://h/0?ssl_cert_reqs=none"),
    ],
)
def test_a_redis_of_tls_is_checked_unless_told_not_to(url: str, made: str) -> None:
    assert verified(url) == made
