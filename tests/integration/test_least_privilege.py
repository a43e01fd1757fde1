"""The pipeline as real processes, each with its own role and secrets, and what the roles are refused."""

import json
import uuid
from collections.abc import Iterator
from typing import Final
from urllib.request import Request, urlopen

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from devstack import product
from devstack.services import DevstackError
from tests.running import Running, running

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

PROCESSES: Final = ("web", "bridge", "worker", "watch", "flower")
RECORD: Final = "0d000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def fleet(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """One process of each kind, which have applied an update."""
    namespace = f"t{uuid.uuid4().hex[:10]}"
    with running(tmp_path_factory.mktemp("fleet"), namespace) as run:
        web = product.start_web(run.stack)
        product.start_bridge(run.stack)
        product.start_worker(run.stack, "worker")
        product.start_watch(run.stack)
        flower = product.start_flower(run.stack)
        product.wait_ready(run.stack, web, flower_url=flower, timeout_s=300)
        body = {"app_id": run.app.app_id, "tags": {"by": "roles"}}
        request = Request(
            f"{web}/players/{RECORD}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method="PUT",
        )
        urlopen(request, timeout=180).close()
        run.wait_applied(1)
        run.wait("the watcher looks", lambda: bool(run.rows("SELECT 1 FROM watcher")))
        yield run


def login(run: Running, process: str) -> str:
    """The process's own URL."""
    return make_conninfo(
        run.stack.env["DATABASE_URL"],
        user=f"{run.stack.env['NOTIFY_NAMESPACE']}_{process}",
        password=product.login_password(run.stack),
    )


def test_each_process_is_logged_in_as_its_own_role(fleet: Running) -> None:
    """So all tests with processes are tests of least privilege."""
    ours = (
        "SELECT DISTINCT usename FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    roles = {f"{fleet.stack.env['NOTIFY_NAMESPACE']}_{each}" for each in product.LOGINS}
    seen: set[str] = set()

    def all_seen() -> bool:
        seen.update(name for (name,) in fleet.rows(ours))
        return seen >= roles

    fleet.wait("a session of each role", all_seen)
    assert seen == roles


def test_no_process_has_a_secret_of_others(fleet: Running) -> None:
    env = fleet.stack.env
    owner = str(conninfo_to_dict(env["DATABASE_URL"])["password"])
    of_web = [env[name] for name in product.OF_WEB]
    for name in PROCESSES:
        given = " ".join(psutil.Process(fleet.stack.child(name).pid).environ().values())
        assert owner not in given, name
        for secret in of_web:
            assert (secret in given) is (name == "web"), name
        assert (product.login_password(fleet.stack) in given) is (name != "flower"), name


def test_no_role_is_refused_what_it_needs(fleet: Running) -> None:
    """Nor by what runs in the background: samples, tidying, alerts."""
    for path in fleet.logs():
        assert "permission denied" not in path.read_text(), path.stem
    assert fleet.events("housekeeping_failed", "check_failed", "postgres_away") == []
    for table in ("stream_sample", "bridge_start", "worker_sample", "queue_sample"):
        fleet.wait(table, lambda table=table: bool(fleet.rows(f"SELECT 1 FROM {table}")))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("process", "statement"),
    [
        ("worker", "SELECT digest FROM app_key"),
        ("worker", "SELECT password FROM auth_user"),
        ("bridge", "UPDATE auth_user SET is_superuser = true"),
        ("bridge", "INSERT INTO record (app, id) VALUES (gen_random_uuid(), gen_random_uuid())"),
        ("watch", "UPDATE record SET deleted = true"),
        ("watch", "DELETE FROM skipped"),
        ("web", "UPDATE stream SET planned = 0"),
        ("web", "DELETE FROM plan"),
        ("web", "DROP TABLE record"),
    ],
)
def test_a_process_that_was_taken_over_is_refused(
    fleet: Running, process: str, statement: str
) -> None:
    with (
        psycopg.connect(login(fleet, process)) as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        session.execute(statement.encode())


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("stream", "list"),
        ("topic", "check"),
        ("app", "list"),
        ("app", "create", "By web's role"),
        ("trail", "--record", RECORD, "--app", "APP", "--logs", "LOGS"),
        ("axes_reset_username", "nobody"),
        ("createsuperuser", "--no-input", "--username=somebody", "--email=s@example.com"),
    ],
)
def test_commands_that_look_run_as_webs_role(fleet: Running, words: tuple[str, ...]) -> None:
    env = {"DATABASE_URL": login(fleet, "web"), "DJANGO_SUPERUSER_PASSWORD": "correct-horse-9"}
    named = {"APP": fleet.app.app_id, "LOGS": str(fleet.stack.directory / "logs" / "web.log")}
    product.manage(fleet.stack, *(named.get(word, word) for word in words), env=env)


def test_commands_that_change_streams_say_who_may(fleet: Running) -> None:
    env = {"DATABASE_URL": login(fleet, "web")}
    with pytest.raises(
        DevstackError, match=r"(?s)permission denied.*Run the command as the user that"
    ):
        product.manage(fleet.stack, "lanes", "--to", "3", env=env)
