"""Redis behind passwords, a user of least privilege for each process, and TLS: the whole way, refusals."""

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import psycopg
import pytest
import redis
from redis.exceptions import NoPermissionError

from devstack import ROOT, product
from devstack.process import Launch
from devstack.services import Service, _answers, _redis_binary, free_port
from devstack.stack import Stack
from tests.certificates import Authority
from tests.databases import own_database
from tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

#: A limit below 20 is leased in no slices: each request is counted in Redis.
COUNTED = {"NOTIFY_LIMIT_REQUESTS_PER_S": "19"}

PASSWORD: Final = "a-password-of-redis"
#: Of Redis; an older one does not start with a user who may do what it does not know.
SETINFO_SINCE: Final = (7, 2)
ACL: Final = (ROOT / "docker" / "redis.acl").read_text()
#: Allowed and not seen in an ordinary run, with what needs them.
RARE: Final = {
    **dict.fromkeys(
        ("hget", "hset", "hdel", "zrem", "zrange", "get", "set", "rpush", "watch", "unwatch"),
        "a worker of the release before, which keeps in Redis what it has taken and puts it back",
    ),
    "exists": "within kombu's script that tidies old bindings",
    "smembers": "kombu's table of queues, where it has not just read it",
    "discard": "a transaction of redis-py that fails",
    "eval": "redis-py, where a script was forgotten",
    "info": "Flower's page of the broker",
    "select": "a REDIS_URL with another database than 0",
    "client|setinfo": "redis-py says its name, depending on its version",
    "client|setname": "a name for the connection in REDIS_URL",
    "expire": "limits of requests",
    "ttl": "the same",
    "punsubscribe": "a worker that ends",
}


class Guarded:
    """A Redis of our own with the users of docker/redis.acl, and a stack that uses it."""

    def __init__(self, stack: Stack, directory: Path, namespace: str) -> None:
        self.stack = stack
        self.namespace = namespace
        self.port = free_port()
        self.tls_port = free_port()
        self.authority = Authority(directory)
        self.other = Authority(directory, "other-ca")
        certificate, key = self.authority.sign("redis", hosts=["127.0.0.1"])
        users = directory / "users.acl"
        binary, source = _redis_binary(stack.env)
        filled = re.sub(r"PASSWORD_OF_\w+", PASSWORD, ACL).replace("NAMESPACE", namespace)
        if _version(binary) < SETINFO_SINCE:
            filled = filled.replace(" +client|setinfo", "")
        lines = [line for line in filled.splitlines() if not line.startswith("#")]
        users.write_text("\n".join([*lines, "user root on >root ~* &* +@all", ""]))
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(directory),
            "save": "",
            "aclfile": str(users),
        }
        self.has_tls = os.environ.get("NOTIFY_EMBEDDED") != "1"
        if self.has_tls:
            options |= {
                "tls-port": str(self.tls_port),
                "tls-cert-file": str(certificate),
                "tls-key-file": str(key),
                "tls-ca-cert-file": str(self.authority.file),
                "tls-auth-clients": "no",
            }
        argv = [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]
        launch = Launch(argv, stack.env, directory / "redis.log")
        url = self.url("root", password="root")
        stack.add(
            Service("redis", "Redis", "REDIS_URL", url, source, lambda: _answers(url), launch)
        )

    def url(self, user: str, *, password: str = PASSWORD) -> str:
        """Without TLS."""
        return f"redis://{user}:{password}@127.0.0.1:{self.port}/0"

    def env(
        self, process: str, *, password: str = PASSWORD, ca: Path | None = None
    ) -> dict[str, str]:
        """The process's own user, with TLS if a CA is given."""
        user = f"{self.namespace}_{process}"
        url = self.url(user, password=password)
        if ca is not None:
            url = f"rediss://{user}:{password}@127.0.0.1:{self.tls_port}/0?ssl_ca_certs={ca}"
        return {"REDIS_URL": url}

    def root(self) -> "redis.Redis":
        """A client that may do all."""
        return redis.Redis.from_url(self.url("root", password="root"), decode_responses=True)

    def commands(self) -> set[str]:
        """All that Redis was asked for, within scripts too."""
        found = self.root().info("commandstats")
        return {name.removeprefix("cmdstat_").lower() for name in found}

    def log(self, name: str) -> str:
        """What the process has logged."""
        return self.stack.log(name).read_text(errors="replace")

    def apply_one(self, web: str, app: product.DemoApp) -> None:
        """Send an update, and delete another record; returns when the first is a row."""
        record = str(uuid.uuid4())
        _delete(web, app, str(uuid.uuid4()))
        _update(web, app, record)
        with psycopg.connect(self.stack.env["DATABASE_URL"], autocommit=True) as sql:
            wait_for(
                lambda: bool(sql.execute("SELECT 1 FROM record WHERE id = %s", [record]).fetchall())
            )

    def wait_watched(self) -> None:
        """Returns when the watcher has seen the queues' depths, who reads them, and a worker."""
        seen = (
            "SELECT 1 FROM queue_sample, worker_sample, watcher "
            "WHERE queue_sample.workers > 0 AND queue_sample.tasks IS NOT NULL"
        )
        with psycopg.connect(self.stack.env["DATABASE_URL"], autocommit=True) as sql:
            wait_for(lambda: bool(sql.execute(seen).fetchall()))


@contextmanager
def _guarded(postgres: str, directory: Path) -> Iterator[Guarded]:
    name = f"t{uuid.uuid4().hex[:10]}"
    with own_database(postgres, name) as url:
        environ = {
            **{key: text for key, text in os.environ.items() if key != "REDIS_URL"},
            "DATABASE_URL": url,
            "NOTIFY_NAMESPACE": name,
            "NOTIFY_PARTITIONS": "2",
            "NOTIFY_STALLED_AFTER_MS": "3000",
            "NOTIFY_RESEND_AFTER_MS": "500",
            "DJANGO_SETTINGS_MODULE": "notify.settings",
        }
        with Stack(directory / "stack", environ=environ, say=lambda line: None) as stack:
            product.configure(stack)
            made = Guarded(stack, directory, name)
            stack.start_services()
            del stack.env["REDIS_URL"]  # each process is given its own
            yield made


@pytest.fixture
def guarded(postgres: str, redis_url: str, kafka: list[str], tmp_path: Path) -> Iterator[Guarded]:
    """A stack for one test, with tables and topic."""
    with _guarded(postgres, tmp_path) as made:
        yield made


def _update(web: str, app: product.DemoApp, record: str) -> None:
    request = Request(
        f"{web}/api/v1/players/{record}",
        json.dumps({"app_id": app.app_id, "tags": {"by": "acl"}}).encode(),
        {"Authorization": f"Key {app.key}", "Content-Type": "application/json"},
        method="PUT",
    )
    urlopen(request, timeout=180).close()


def _delete(web: str, app: product.DemoApp, record: str) -> None:
    key = {"Authorization": f"Key {app.key}"}
    path = f"{web}/api/v1/players/{record}?app_id={app.app_id}"
    urlopen(Request(path, None, key, method="DELETE"), timeout=180).close()


def _version(binary: str) -> tuple[int, int]:
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    (found,) = re.findall(r"v=(\d+)\.(\d+)", told.stdout)
    return int(found[0]), int(found[1])


def _allowed() -> set[str]:
    """What the users may do, taken together."""
    lines = re.findall(r"^user NAMESPACE_\w+ (.*)$", ACL, re.MULTILINE)
    return {word[1:] for line in lines for word in line.split() if word.startswith("+")}


def test_the_users_of_least_privilege_are_enough_and_no_more(guarded: Guarded) -> None:
    stack = guarded.stack
    app = product.prepare(stack)
    guarded.root().config_resetstat()
    web = product.start_web(stack, env=COUNTED | guarded.env("web"))
    product.start_bridge(stack, env=guarded.env("bridge"))
    product.start_worker(stack, "worker", env=guarded.env("worker"))
    flower = product.start_flower(stack, env=guarded.env("flower"))
    product.wait_ready(stack, web, flower_url=flower, timeout_s=300)
    guarded.apply_one(web, app)
    product.start_watch(stack, env=guarded.env("watch"))
    guarded.wait_watched()
    # A worker that is killed and one that ends in order; the next goes on.
    stack.kill("worker")
    stack.restart("worker")
    guarded.apply_one(web, app)
    stack.child("worker").stop()
    stack.restart("worker")
    guarded.apply_one(web, app)
    root = guarded.root()
    assert not root.acl_log()
    # Some are for what a process does once in a while.
    wait_for(lambda: _allowed() - guarded.commands() <= RARE.keys())
    seen = guarded.commands()
    assert "incrby" in seen  # web counted requests
    assert {"xadd", "xread"} <= seen  # and said that something was deleted
    own = {"auth", "config|resetstat", "acl|log"}  # of the test's root, and what needs no right
    assert seen - own <= _allowed()
    assert PASSWORD not in "".join(
        guarded.log(name) for name in ("web", "bridge", "worker", "watch")
    )


#: Of every user; NAMESPACE is the stack's.
NOBODY_MAY: Final = (
    ("get", "another.key"),
    ("keys", "*"),
    ("flushall",),
    ("config", "get", "*"),
    ("acl", "list"),
    ("publish", "another./0.celery.pidbox", "x"),
    ("script", "flush"),
)
#: Who may put tasks into queues, take them out, stop workers, or use up an app's limit.
MAY_NOT: Final = {
    "web": (
        ("lpush", "NAMESPACE.lane.00", "x"),
        ("brpop", "NAMESPACE.lane.00", "1"),
        ("publish", "NAMESPACE./0.celery.pidbox", "x"),
        ("psubscribe", "NAMESPACE./0.celeryev/*"),
    ),
    "bridge": (
        ("brpop", "NAMESPACE.lane.00", "1"),
        ("publish", "NAMESPACE./0.celery.pidbox", "x"),
        ("incrby", "NAMESPACE.limits/x", "1"),
    ),
    "worker": (("get", "NAMESPACE.limits/x"), ("del", "NAMESPACE.limits/x")),
    "watch": (
        ("lpush", "NAMESPACE.lane.00", "x"),
        ("brpop", "NAMESPACE.lane.00", "1"),
        ("del", "NAMESPACE.lane.00"),
        ("del", "NAMESPACE.limits/x"),
    ),
    "flower": (
        ("lpush", "NAMESPACE.lane.00", "x"),
        ("brpop", "NAMESPACE.lane.00", "1"),
        ("del", "NAMESPACE.lane.00"),
        ("del", "NAMESPACE.limits/x"),
    ),
}


def test_what_users_may_not(guarded: Guarded) -> None:
    for process, commands in MAY_NOT.items():
        (url,) = guarded.env(process).values()
        with redis.Redis.from_url(url) as client:
            assert client.ping()
            for command in (*NOBODY_MAY, *commands):
                words = [word.replace("NAMESPACE", guarded.namespace) for word in command]
                with pytest.raises(NoPermissionError):
                    client.execute_command(*words)


def test_a_refused_password_is_said_and_right_later_needs_no_restart(guarded: Guarded) -> None:
    stack, wrong = guarded.stack, "not-yet-the-password"
    app = product.prepare(stack)
    web = product.start_web(stack, env=guarded.env("web", password=wrong))
    product.start_bridge(stack, env=guarded.env("bridge", password=wrong))
    product.start_worker(stack, "worker", env=guarded.env("worker", password=wrong))
    wait_for(lambda: product.answers(f"{web}/healthz/ready"))
    record = str(uuid.uuid4())
    _update(web, app, record)
    said = re.compile("invalid username-password pair")
    for name in ("bridge", "worker"):
        wait_for(lambda name=name: bool(said.search(guarded.log(name))))  # type: ignore[misc]
    wait_for(lambda: product.answers(f"{web}/healthz/pipeline", status=503))
    root: Any = guarded.root()
    for process in ("web", "bridge", "worker"):
        root.execute_command("ACL", "SETUSER", f"{guarded.namespace}_{process}", f">{wrong}")
    wait_for(lambda: product.answers(f"{web}/healthz/pipeline"))
    guarded.apply_one(web, app)
    assert wrong not in "".join(guarded.log(name) for name in ("web", "bridge", "worker"))


def test_tls_is_spoken_and_the_certificate_is_checked(guarded: Guarded) -> None:
    if not guarded.has_tls:
        pytest.skip("the wheel's Valkey has no TLS: unset NOTIFY_EMBEDDED")
    stack = guarded.stack
    app = product.prepare(stack)
    right = guarded.authority.file
    web = product.start_web(stack, env=COUNTED | guarded.env("web", ca=right))
    product.start_bridge(stack, env=guarded.env("bridge", ca=right))
    product.start_worker(stack, "worker-wrong", env=guarded.env("worker", ca=guarded.other.file))
    wait_for(lambda: "CERTIFICATE_VERIFY_FAILED" in guarded.log("worker-wrong"))
    stack.child("worker-wrong").stop()
    product.start_worker(stack, "worker", env=guarded.env("worker", ca=right))
    wait_for(lambda: product.answers(f"{web}/healthz/pipeline"))
    guarded.apply_one(web, app)
    assert "incrby" in guarded.commands()  # web counted requests
    assert PASSWORD not in "".join(guarded.log(name) for name in ("bridge", "worker-wrong"))
