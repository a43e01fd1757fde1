"""How long a process waits for a name server."""

import os
import subprocess
import sys

import pytest

from devstack import ROOT


@pytest.mark.parametrize(
    ("given", "used"),
    [({}, "timeout:1 attempts:3"), ({"RES_OPTIONS": "timeout:9"}, "timeout:9")],
)
def test_a_look_up_ends_soon_unless_the_environment_says_otherwise(
    given: dict[str, str], used: str
) -> None:
    inherited = {name: text for name, text in os.environ.items() if name != "RES_OPTIONS"}
    # As a library sees it that is written in C.
    code = (
        "import ctypes, django; from django.conf import settings; settings.DEBUG; "
        "getenv = ctypes.CDLL(None).getenv; getenv.restype = ctypes.c_char_p; "
        "print(getenv(b'RES_OPTIONS').decode())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**inherited, "DJANGO_SETTINGS_MODULE": "notify.settings", **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == used
