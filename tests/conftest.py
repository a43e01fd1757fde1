"""Services and how tests ask for them.

`make test` starts PostgreSQL, Redis and a Kafka broker and sets DATABASE_URL, REDIS_URL and
KAFKA_BOOTSTRAP_SERVERS; without them, tests that need one are skipped with a reason, in CI they fail.
"""

import logging
import os
import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests import parallel
from tests.browser.executable import MISSING, arguments, executable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.running import Running

#: Seeds of a run begin below this.
SEEDS_FROM_MAX = 10**9

settings.register_profile(
    "default",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("default")
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture
def logs_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For a test that calls `logs.configure`, which is for a whole process."""
    monkeypatch.setattr("notify.telemetry.logs._logger", None)
    before = structlog.get_config()
    root = logging.getLogger()
    handlers = root.handlers[:]
    loggers = [
        root,
        *(each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)),
    ]
    levels = {logger: logger.level for logger in loggers}
    yield
    root.handlers[:] = handlers
    for logger, level in levels.items():
        logger.setLevel(level)
    structlog.configure(**before)


def _need(variable: str, service: str) -> str:
    url = os.environ.get(variable)
    if url:
        return url
    reason = f"no {service}: {variable} is not set; run `make test`, which starts it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the simulation's seeds once; worker processes inherit the environment."""
    os.environ.setdefault("NOTIFY_SIMULATE_FROM", str(secrets.randbelow(SEEDS_FROM_MAX)))


def pytest_report_header(config: pytest.Config) -> str:
    """How to repeat this run's schedules."""
    first = os.environ["NOTIFY_SIMULATE_FROM"]
    return f"simulation: seeds from {first} on (NOTIFY_SIMULATE_FROM={first} repeats them)"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """See parallel.workers."""
    return parallel.workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> parallel.SlowFirst:
    """See parallel.SlowFirst."""
    return parallel.SlowFirst(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Long suites run where they are named."""
    return parallel.is_left_out(collection_path, config.args) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with Django's database needs PostgreSQL."""
    parallel.slow_first(items)
    if os.environ.get("DATABASE_URL"):
        return
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if {"db", "transactional_db", "live_server"} & set(fixtures) or item.get_closest_marker(
            "django_db"
        ):
            # First, so that it skips before pytest-django connects. A marker would come too late.
            item.fixturenames.insert(0, "postgres")  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def postgres() -> str:
    """The URL of a PostgreSQL server that the test may make databases in."""
    return _need("DATABASE_URL", "PostgreSQL")


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The URL of a Redis that the test may use with a namespace of its own."""
    return _need("REDIS_URL", "Redis")


@pytest.fixture(scope="session")
def kafka() -> list[str]:
    """Bootstrap servers of a broker that the test may make topics in."""
    return _need("KAFKA_BOOTSTRAP_SERVERS", "Kafka broker").split(",")


@pytest.fixture
def namespace() -> str:
    """A prefix for topic, group and Redis keys that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="module")
def stack(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[tuple[Running, str]]":
    """One web, one bridge, one worker, and web's URL."""
    from tests.running import running

    with running(tmp_path_factory.mktemp("stack"), f"t{uuid.uuid4().hex[:10]}") as run:
        yield run, run.start()


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """One browser for all tests; each page has a context of its own."""
    from playwright.sync_api import sync_playwright

    path = executable()
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    if path is None:
        pytest.skip(MISSING)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's loop runs in the thread of the tests, which use the database as ever.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=path, args=arguments())
        yield browser
        browser.close()
