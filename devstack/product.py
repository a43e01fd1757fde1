"""Prepares and starts the product's processes on a stack, and waits until they are ready."""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from devstack import ROOT
from devstack.process import Child
from devstack.services import DevstackError
from devstack.stack import Stack

#: Joining the consumer group takes 3 s with Tansu; a slow machine needs most of the rest for imports.
READY_S: Final = 180.0
PYTHON: Final = sys.executable
APP: Final = "demo"
#: The login of the admin and of Flower. Both listen on loopback only, and `up` prints the login.
USER: Final = "demo"
PASSWORD: Final = "demo"  # noqa: S105
HEALTH: Final = ("/healthz/ready", "/healthz/pipeline")
#: The kinds of processes that log in to PostgreSQL, each with its own role.
LOGINS: Final = ("web", "bridge", "worker", "watch")
#: Secrets that only web gets.
OF_WEB: Final = ("NOTIFY_SECRET_KEY", "NOTIFY_KEY_PEPPER")


@dataclass(frozen=True, slots=True)
class DemoApp:
    """An app to send updates as."""

    app_id: str
    key: str


def configure(stack: Stack) -> None:
    """Adds to the stack's `env` what the processes need besides URLs, unless the environment sets it.

    Secrets are created once for the stack's directory, so that the keys and sessions in its database stay
    valid.
    """
    defaults = {"NOTIFY_TLS": "0", **{name: _secret(stack, name) for name in OF_WEB}}
    stack.env |= {name: value for name, value in defaults.items() if name not in stack.env}


def _secret(stack: Stack, name: str) -> str:
    """A secret of the stack, in a file that only its owner may read. Creates it if it is missing."""
    file = stack.directory / name.lower()
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(48))
    return file.read_text()


def login_password(stack: Stack) -> str:
    """The password of the processes' roles in PostgreSQL. DATABASE_URL has the tables' owner instead."""
    return _secret(stack, "database_password")


def grant_logins(stack: Stack) -> tuple[tuple[str, ...], dict[str, str]]:
    """The arguments of `manage.py` that create those roles, and what to add to its environment."""
    variable = "LOGIN_PASSWORD"
    words = ("database", "roles", "--login", *(f"{each}={variable}" for each in LOGINS))
    return words, {variable: login_password(stack)}


def _own(
    stack: Stack, process: str, env: Mapping[str, str] | None, code: Path
) -> Mapping[str, str] | None:
    """`env` with the process's own role in DATABASE_URL, and without secrets of other processes.

    A DATABASE_URL with another user than the owner is not changed. A release without roles gets `env` as it
    is.
    """
    if not (code / "notify" / "management" / "commands" / "database.py").exists():
        return env
    own = {} if process == "web" else dict.fromkeys(OF_WEB, "")
    given = {**stack.env, **(env or {})}
    owner = conninfo_to_dict(stack.env["DATABASE_URL"]).get("user")
    if process not in LOGINS:
        own["DATABASE_URL"] = ""
    elif conninfo_to_dict(given["DATABASE_URL"]).get("user") == owner:
        own["DATABASE_URL"] = make_conninfo(
            given["DATABASE_URL"],
            user=f"{given.get('NOTIFY_NAMESPACE', 'notify')}_{process}",
            password=login_password(stack),
        )
    return {**(env or {}), **own}


def prepare(stack: Stack, known: DemoApp | None = None) -> DemoApp:
    """Creates tables, roles, topic, an app and a login, so that processes can start.

    Returns the `known` app if the database has it. If the broker starts with an empty log, an existing
    database gets a new topic, and updates of the old one that were not applied are abandoned. Raises
    DevstackError with the output of a command that fails.
    """
    manage(stack, "migrate", "--no-input", "--verbosity=0")
    words, env = grant_logins(stack)
    manage(stack, *words, env=env)
    abandon = ["--abandon"] if any(each.empty for each in stack.services.values()) else []
    manage(stack, "topic", "create", "--if-missing", *abandon)
    _login(stack)
    return _demo_app(stack, known)


def manage(
    stack: Stack, *words: str, env: Mapping[str, str] | None = None, code: Path = ROOT
) -> str:
    """Runs `manage.py WORDS` in `code` and returns its output. Raises DevstackError if it fails."""
    done = subprocess.run(
        [PYTHON, "manage.py", *words],
        cwd=code,
        env=stack.env | dict(env or {}) | {"PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        output = f"{done.stdout}{done.stderr}".strip()
        raise DevstackError(f"manage.py {' '.join(words)} failed: {output}")
    return done.stdout


def _login(stack: Stack) -> None:
    env = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    words = ("createsuperuser", "--no-input", f"--username={USER}", "--email=demo@example.com")
    try:
        manage(stack, *words, env=env)
    except DevstackError as error:
        if "already taken" not in str(error):
            raise


def _demo_app(stack: Stack, known: DemoApp | None) -> DemoApp:
    """The known app; else the app APP: created, or with a new key, since a key cannot be read."""
    apps = json.loads(manage(stack, "app", "list", "--json"))["apps"]
    if known and any(app["id"] == known.app_id for app in apps):
        return known
    words = ("rotate-key", APP) if any(app["name"] == APP for app in apps) else ("create", APP)
    made: dict[str, Any] = json.loads(manage(stack, "app", *words, "--json"))
    return DemoApp(made["id"], made["key"])


def start_web(
    stack: Stack,
    name: str = "web",
    *,
    port: int = 0,
    env: Mapping[str, str] | None = None,
    code: Path = ROOT,
) -> str:
    """Starts Granian and returns its URL. Does not wait until it answers. Without `port`, it uses the
    stack's. `code`, here and below, is the checkout whose code the process runs."""
    port = port or stack.port(name)
    stack.spawn(
        name,
        [
            *(PYTHON, "-m", "granian", "--interface", "wsgi", "notify.wsgi:application"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--blocking-threads", "24"),
            # docs/limits.md, "Slow senders"
            *("--http", "1", "--no-ws"),
        ],
        env=_own(stack, "web", env, code),
        code=code,
    )
    return f"http://127.0.0.1:{port}"


def start_bridge(
    stack: Stack,
    name: str = "bridge",
    *,
    env: Mapping[str, str] | None = None,
    code: Path = ROOT,
) -> Child:
    """Starts a bridge. All bridges are in one consumer group."""
    return stack.spawn(
        name, [PYTHON, "manage.py", "bridge"], env=_own(stack, "bridge", env, code), code=code
    )


def start_worker(
    stack: Stack, name: str, *, env: Mapping[str, str] | None = None, code: Path = ROOT
) -> Child:
    """Starts a Celery worker with one process, which serves every lane."""
    return stack.spawn(
        name,
        [
            *(PYTHON, "-m", "celery", "-A", "notify", "worker"),
            *("--concurrency", "1", "--hostname", f"{name}@%h"),
        ],
        env=_own(stack, "worker", env, code),
        code=code,
    )


def start_watch(
    stack: Stack, name: str = "watch", *, env: Mapping[str, str] | None = None
) -> Child:
    """Starts a watcher. Links in its alerts begin with NOTIFY_ADMIN_URL of `env`."""
    return stack.spawn(name, [PYTHON, "manage.py", "watch"], env=_own(stack, "watch", env, ROOT))


def start_flower(
    stack: Stack, name: str = "flower", *, env: Mapping[str, str] | None = None
) -> str:
    """Starts Flower with the login USER and PASSWORD, and returns its URL. Does not wait until it answers."""
    port = stack.port(name)
    stack.spawn(
        name,
        [
            *(PYTHON, "-m", "celery", "-A", "notify", "flower"),
            *("--address=127.0.0.1", f"--port={port}", f"--basic-auth={USER}:{PASSWORD}"),
            "--tasks_columns=name,kwargs,state,received,runtime,worker",
        ],
        env=_own(stack, "flower", env, ROOT),
    )
    return f"http://127.0.0.1:{port}"


def answers(url: str, *, status: int = 200) -> bool:
    """Whether a GET of the URL gets an answer with the status within two seconds."""
    try:
        with urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http URLs
            return bool(answer.status == status)
    except HTTPError as error:
        return error.code == status
    except (OSError, HTTPException):
        return False


def wait_ready(
    stack: Stack, web_url: str, *, flower_url: str = "", timeout_s: float = READY_S
) -> None:
    """Waits until web accepts updates and the pipeline works: both paths of HEALTH answer 200.

    With a `flower_url`, also waits until Flower answers. Raises DevstackError with the end of a log if a
    process exits, or after the timeout.
    """
    deadline = time.monotonic() + timeout_s
    waiting = [("web", web_url + HEALTH[0], 200), ("bridge", web_url + HEALTH[1], 200)]
    if flower_url:
        waiting.append(("flower", flower_url, 401))
    while waiting:
        for name in stack.ended():
            raise DevstackError(
                f"{name} exited. The end of its log, {stack.log(name)}:\n{stack.tail(name)}"
            )
        if time.monotonic() > deadline:
            name, url, status = waiting[0]
            raise DevstackError(
                f"{url} does not answer {status} after {timeout_s:.0f} s: {problem(url)}\n"
                f"The end of the log of {name}, {stack.log(name)}:\n{stack.tail(name)}"
            )
        waiting = [each for each in waiting if not answers(each[1], status=each[2])]
        time.sleep(0.2)


def problem(url: str) -> str:
    """The answer of the URL if it is not 200, or why there is none; empty if it is 200."""
    try:
        with urlopen(url, timeout=2):  # noqa: S310 - our own http URLs
            return ""
    except HTTPError as error:
        return f"{error.code} {error.read(2000).decode(errors='replace')}"
    except (OSError, HTTPException) as error:
        return str(error)
