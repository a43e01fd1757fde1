"""The domain stands alone: importing all of it loads no framework."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "notify" / "domain").rglob("*.py")
    if path.stem != "__init__"
)
FRAMEWORKS = ("django", "celery", "kombu", "kafka", "redis", "psycopg", "structlog")


def _loaded(*modules: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after importing these modules."""
    script = f"import {', '.join(modules)}, sys; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-B", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.partition(".")[0] for name in ran.stdout.split()}


def test_the_domain_loads_no_framework() -> None:
    assert {"notify.domain.records.decide", "notify.domain.records.update"} <= set(MODULES)
    assert _loaded(*MODULES).isdisjoint(FRAMEWORKS)


def test_a_framework_that_is_loaded_would_be_seen() -> None:
    assert "structlog" in _loaded("notify.telemetry.logs")
