"""What is taken out of log lines, and what stays readable."""

import json
import subprocess
import sys

import pytest

from devstack import ROOT
from notify.telemetry.redaction import MASK, redacted

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("redis://user:word@host:1/0 is away", f"redis://user:{MASK}@host:1/0 is away"),
        ("redis://:word@host/0", f"redis://:{MASK}@host/0"),
        ("postgresql://u:w@ord@h/db", f"postgresql://u:{MASK}@h/db"),
        ("host=h user=u password=word dbname=d", f"host=h user=u password={MASK} dbname=d"),
        ("'sasl_plain_password': 'word', 'x': 1", f"'sasl_plain_password': {MASK}, 'x': 1"),
        ("Authorization: Key os_v2_app_abcdefghij", f"Authorization: Key {MASK}"),
        (f"token {JWT} has expired", f"token {MASK} has expired"),
        ("not for jo.e+x@mail.example.com!", f"not for {MASK}!"),
        ("Failing row\nDETAIL:  Key (a)=(word) exists.", f"Failing row\nDETAIL: {MASK}"),
        (
            'invalid input syntax for type uuid: "word"',
            f"invalid input syntax for type uuid: {MASK}",
        ),
    ],
)
def test_what_is_taken_out(text: str, left: str) -> None:
    assert "word" not in left.replace("password", "")
    assert redacted(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "worker@vm ready.",
        "Connected to redis://127.0.0.1:6379/0",
        "Kafka does not answer: KafkaTimeoutError",
        "lane 07 p0(12..40] 28 rows send 2",
        'relation "record" does not exist',
        "23505 UniqueViolation record_pkey",
        "Kafka refuses KAFKA_SASL_USERNAME and its password, or KAFKA_SASL_MECHANISM",
        "invalid username-password pair or user is disabled.",
    ],
)
def test_what_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "form",
    [
        *("a", "a@", "a@b.", "a:", "://", "://a:", "password", "password=", "token ", "key a"),
        *("bearer ", "eyJ", "eyJa.", "detail:", "for type ", "for type a ", " ", "@", "key_ "),
    ],
)
def test_no_text_takes_long(form: str) -> None:
    """A text of 200,000 characters, which quadratic work would not end in time."""
    redacted(f"{form * (200_000 // len(form))} @ :// key  eyJ password detail: for type ")


_PROGRAM = """
import django; django.setup()
import logging
from notify.telemetry import logs
logs.configure("test")
logs.get().warning("kafka_away", error="redis://u:word@h/0", reason="who@mail.example.com")
try:
    raise ValueError("password=word")
except ValueError as error:
    logs.get().error("view_failed", exc_info=error)
logging.getLogger("library").error("to %s", "redis://u:word@h/0", exc_info=None)
try:
    raise ValueError("postgresql://u:word@h/db")
except ValueError:
    logging.getLogger("library").exception("failed for who@mail.example.com")
logging.getLogger("axes").debug("nothing")
"""


def test_every_line_goes_through_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "notify.settings", "NOTIFY_LOG_LEVEL": "DEBUG"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len([each for each in lines if each["level"] in ("warning", "error")]) == 4
    assert "word@" not in done.stdout
    assert "=word" not in done.stdout
    assert "who@" not in done.stdout
