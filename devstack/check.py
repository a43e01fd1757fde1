"""`make check`: the static checks, each with its time."""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from devstack import ROOT

BIN: Final = Path(sys.executable).parent
PYTHON: Final = sys.executable
COMPOSE: Final = "compose*.y*ml"
#: Settings as in production: `manage.py check --deploy` must report nothing.
PRODUCTION: Final = {
    "NOTIFY_SECRET_KEY": secrets.token_urlsafe(64),
    "NOTIFY_KEY_PEPPER": secrets.token_urlsafe(48),
    "NOTIFY_DEBUG": "0",
    "NOTIFY_TLS": "1",
    "NOTIFY_ALLOWED_HOSTS": "notify.example.com",
    "NOTIFY_CSRF_TRUSTED_ORIGINS": "https://notify.example.com",
}


@dataclass(frozen=True, slots=True)
class CheckStep:
    """A command, which passes with exit code 0; or the reason why it is skipped."""

    name: str
    argv: Sequence[str | Path] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    skipped: str = ""


def steps() -> list[CheckStep]:
    """The checks, in order."""
    return [
        CheckStep("ruff check", [BIN / "ruff", "check", "--quiet", "."]),
        CheckStep("ruff format", [BIN / "ruff", "format", "--check", "--quiet", "."]),
        CheckStep("mypy", [BIN / "mypy"]),
        CheckStep("import rules", [BIN / "lint-imports", "--no-logo"]),
        CheckStep(
            "migrations",
            [
                # Without a database Django only warns that it cannot check the history.
                *(PYTHON, "-W", "ignore::RuntimeWarning", "manage.py"),
                *("makemigrations", "--check", "--dry-run"),
            ],
        ),
        CheckStep(
            "deployment",
            [PYTHON, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
            PRODUCTION,
        ),
        *_compose_steps(),
    ]


def _compose_steps() -> list[CheckStep]:
    files = sorted((ROOT / "docker").glob(COMPOSE))
    if not files:
        return [CheckStep("compose", skipped=f"there is no file docker/{COMPOSE}")]
    docker = shutil.which("docker")
    if docker is None:
        return [CheckStep("compose", skipped="docker is not on PATH")]
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return [CheckStep("compose", skipped="docker has no compose plugin")]
    return [
        CheckStep(f"compose {file.name}", [docker, "compose", "-f", file, "config", "--quiet"])
        for file in files
    ]


def main() -> int:
    """Runs all steps and prints the output of those that fail. Returns 0 if all passed."""
    failed = 0
    for step in steps():
        if step.skipped:
            print(f"skipped  {step.name}: {step.skipped}", flush=True)
            continue
        started = time.monotonic()
        done = subprocess.run(
            step.argv,
            cwd=ROOT,
            env=os.environ | step.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        failed += done.returncode != 0
        word = "FAILED" if done.returncode else "ok"
        print(f"{word:<8} {step.name} ({time.monotonic() - started:.1f} s)", flush=True)
        if done.returncode:
            print(done.stdout, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
