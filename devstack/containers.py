"""`make containers`: the stack of docker/compose.yaml, run by Docker or by podman, and one update through it.

Images are pulled. Where that fails, stand-ins are built from Debian's packages (docker/standins), and
services that have none are left out, by name. Everything can be repeated; data stays until `--reset`.
"""

import argparse
import json
import os
import re
import resource
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from devstack import ROOT, apache_kafka
from devstack.services import DevstackError

DOCKER: Final = ROOT / "docker"
COMPOSE: Final = DOCKER / "compose.yaml"
ENV: Final = DOCKER / ".env"
CERTIFICATE: Final = DOCKER / "tls" / "site.pem"
STANDINS: Final = DOCKER / "standins"
#: Debian of which the stand-ins are made: it has the Python of docker/Dockerfile.
DEBIAN: Final = "trixie"
BASE: Final = f"localhost/notify-standin-debian:{DEBIAN}"
PROJECT: Final = "notify"
API: Final = "https://localhost:8080"
STORES: Final = ("kafka", "postgres", "redis")
#: Until a container is healthy, and until an update is in PostgreSQL.
HEALTHY_S: Final = 180
APPLIED_S: Final = 60
PULL_S: Final = 600
#: What a stack on this machine has instead of the values of env.example.
LOCAL: Final = {
    "NOTIFY_ALLOWED_HOSTS": "",
    "NOTIFY_CSRF_TRUSTED_ORIGINS": "https://localhost:8081",
    "NOTIFY_ADMIN_URL": "https://localhost:8081",
}


@dataclass(frozen=True, slots=True)
class Engine:
    """Docker or podman: `binary` for containers and images, `compose` for services."""

    binary: str
    compose: tuple[str, ...]
    environ: Mapping[str, str]

    def run(self, *argv: str, timeout_s: float | None = None) -> str:
        """What the engine printed. Raises DevstackError with its last words."""
        return _run([self.binary, *argv], self.environ, timeout_s)

    def succeeds(self, *argv: str) -> bool:
        """Whether the engine ended with 0."""
        return _ended([self.binary, *argv], self.environ).returncode == 0

    def service(self, *argv: str) -> str:
        """As `run`, of compose."""
        return _run([*self.compose, "-f", str(COMPOSE), *argv], self.environ)

    def containers(self, service: str) -> list[str]:
        """The names of its containers that are there, running or not."""
        labels = {"project": PROJECT, "service": service}
        filters = [
            word
            for label, value in labels.items()
            for word in ("--filter", f"label=com.docker.compose.{label}={value}")
        ]
        found = self.run("ps", "--all", "--format", "{{.Names}}", *filters)
        return sorted(found.split())

    def is_healthy(self, container: str) -> bool:
        """What its health check says. Podman runs one only when it is asked, unless systemd is there."""
        if self.binary == "podman":
            return self.succeeds("healthcheck", "run", container)
        status = self.run("inspect", "--format", "{{.State.Health.Status}}", container)
        return status.strip() == "healthy"


def find(environ: Mapping[str, str], scratch: Path) -> Engine:
    """Docker where its daemon answers, else podman. Raises DevstackError where neither can run."""
    if _succeeds(["docker", "info"], environ) and _succeeds(
        ["docker", "compose", "version"], environ
    ):
        return Engine("docker", ("docker", "compose"), environ)
    missing = [name for name in ("podman", "podman-compose") if not shutil.which(name)]
    if missing:
        raise DevstackError(
            "there is no Docker with compose whose daemon answers. Start it, or install "
            f"{' and '.join(missing)} (Debian: apt install podman runc netavark aardvark-dns catatonit "
            "iptables; podman-compose is on PyPI)"
        )
    config = scratch / "containers.conf"
    config.write_text(podman_config())
    return Engine("podman", ("podman-compose",), {**environ, "CONTAINERS_CONF": str(config)})


def podman_config() -> str:
    """Of podman on this machine: what it takes by default may be refused in a sandbox, or needs systemd."""
    limits = []
    for name, kind in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(kind)[1]
        if name == "nproc":
            # A container's bound must not be above the one that podman sets for itself.
            hard = min(hard % 2**63, int(Path("/proc/sys/kernel/pid_max").read_text()))
        if hard != resource.RLIM_INFINITY:
            limits.append(f'"{name}={hard}:{hard}"')
    lines = ["[containers]", f"default_ulimits = [{', '.join(limits)}]"]
    engine = []
    if not Path("/run/systemd/system").exists():
        lines.append('log_driver = "k8s-file"')
        engine += ['events_logger = "file"', 'cgroup_manager = "cgroupfs"']
    # crun, podman's choice, refuses machines with cgroups of version 1.
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists() and shutil.which("runc"):
        engine.append('runtime = "runc"')
    return "\n".join([*lines, "[engine]", *engine, ""])


def services() -> dict[str, dict[str, Any]]:
    """Of the compose file, in its order."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def images() -> dict[str, str]:
    """Image with tag, as the files name it, to the stage that stands for it."""
    dockerfile = (DOCKER / "Dockerfile").read_text()
    named = {*re.findall(r"^FROM (\S+:\S+)", dockerfile, re.MULTILINE)}
    named |= {each["image"] for each in services().values() if ":" in each["image"]}
    return {name: name.rpartition("/")[2].partition(":")[0] for name in sorted(named)}


def qualified(image: str) -> str:
    """With the registry that a name without one stands for."""
    return f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"


def prepare(engine: Engine, *, pulls: bool, say: Callable[[str], None]) -> set[str]:
    """Every image is there afterwards, but those that are returned: neither pulled nor stood in for."""
    wanted = {
        name: stage
        for name, stage in images().items()
        if not engine.succeeds("image", "inspect", qualified(name))
    }
    for name in list(wanted):
        if not pulls:
            break
        say(f"pulling {name}")
        try:
            engine.run("pull", "--quiet", qualified(name), timeout_s=PULL_S)
        except DevstackError as error:
            say(f"it cannot be pulled: {str(error).splitlines()[-1]}")
            break
        wanted.pop(name)
    stages = set(
        re.findall(r"^FROM .* AS (\S+)$", (STANDINS / "Dockerfile").read_text(), re.MULTILINE)
    )
    built = {name: stage for name, stage in wanted.items() if stage in stages}
    if built:
        _standins(engine, built, say)
    return wanted.keys() - built.keys()


def _standins(engine: Engine, wanted: Mapping[str, str], say: Callable[[str], None]) -> None:
    if not engine.succeeds("image", "inspect", BASE):
        say(f"making a minimal Debian {DEBIAN} for the stand-ins")
        _debian(engine)
    jars = apache_kafka.jars(engine.environ)
    for name, stage in wanted.items():
        say(f"building a stand-in for {name}")
        engine.run(
            *("build", "--quiet", "--network", "host", "--build-arg", f"BASE={BASE}"),
            *("--build-context", f"jars={jars}", "--target", stage, "--tag", qualified(name)),
            str(STANDINS),
        )


def _debian(engine: Engine) -> None:
    """Imports BASE: made by debootstrap of this machine's own mirror, trusting what this machine trusts."""
    if not shutil.which("debootstrap"):
        raise DevstackError("install debootstrap: the stand-ins for images are made with it")
    if os.geteuid():
        raise DevstackError("debootstrap needs root: run this as root where no image can be pulled")
    wanted = ["--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    mirror = _run(["apt-get", "indextargets", *wanted], engine.environ).split()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "debian"
        _run(
            [
                "debootstrap",
                "--variant=minbase",
                "--include=ca-certificates",
                DEBIAN,
                str(root),
                mirror,
            ],
            engine.environ,
        )
        trusted = Path("etc/ssl/certs/ca-certificates.crt")
        if (Path("/") / trusted).exists():
            shutil.copyfile(Path("/") / trusted, root / trusted)
        archive = Path(folder) / "debian.tar"
        _run(["tar", "-C", str(root), "-cf", str(archive), "."], engine.environ)
        path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        engine.run("import", "--change", path, str(archive), BASE)


def fill_in(say: Callable[[str], None]) -> None:
    """docker/.env has secrets of its own, and HAProxy a certificate, where there were none."""
    if not ENV.exists():
        say(f"writing {ENV.relative_to(ROOT)} with new secrets")
        ENV.touch(mode=0o600)
        ENV.write_text(filled((DOCKER / "env.example").read_text()))
    if not CERTIFICATE.exists():
        say(
            f"writing {CERTIFICATE.relative_to(ROOT)}: a certificate of localhost that nobody signed"
        )
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        with tempfile.TemporaryDirectory() as folder:
            key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
            argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
            argv += ["-subj", "/CN=localhost", "-addext", names]
            _run([*argv, "-keyout", str(key), "-out", str(certificate)], os.environ)
            CERTIFICATE.write_text(certificate.read_text() + key.read_text())
        # HAProxy's user in the container reads it; it is of no worth elsewhere.
        CERTIFICATE.chmod(0o644)


def filled(example: str) -> str:
    """The example with a secret for each one that must be there, and the addresses of this machine."""

    def value(match: re.Match[str]) -> str:
        name, given = match.groups()
        if name == "FLOWER_BASIC_AUTH":
            return f"{name}=flower:{secrets.token_urlsafe(24)}"
        if name in ("NOTIFY_SECRET_KEY", "NOTIFY_KEY_PEPPER") or (
            name.endswith("_PASSWORD") and not name.startswith("ALERTMANAGER_")
        ):
            return f"{name}={secrets.token_urlsafe(48)}"
        return f"{name}={LOCAL.get(name, given)}"

    return re.sub(r"^(\w+)=(.*)$", value, example, flags=re.MULTILINE)


def up(engine: Engine, *, left_out: Iterable[str], say: Callable[[str], None]) -> None:
    """Every service runs and is healthy afterwards, but those whose image is left out."""
    out = set(left_out)
    having = [name for name, service in services().items() if service["image"] not in out]
    if missing := [name for name in services() if name not in having]:
        say(f"left out, for want of an image: {', '.join(missing)}")
    say("building the image")
    engine.service("build", "setup")
    rest = [name for name in having if name not in (*STORES, "setup", "haproxy")]
    _start(engine, STORES, say)
    say("migrating, and making roles and the topic")
    engine.service("run", "--rm", "--no-deps", "-T", "setup")
    _start(engine, rest, say)
    _start(engine, ["haproxy"], say)


def _start(engine: Engine, names: Sequence[str], say: Callable[[str], None]) -> None:
    say(f"starting {', '.join(names)}")
    engine.service("up", "--detach", "--no-deps", *names)
    for name in names:
        for container in engine.containers(name):
            wait_healthy(engine, container)


def wait_healthy(engine: Engine, container: str) -> None:
    """Returns when it is. Raises DevstackError with its last lines after HEALTHY_S."""
    deadline = time.monotonic() + HEALTHY_S
    while not engine.is_healthy(container):
        if time.monotonic() > deadline:
            logs = _ended([engine.binary, "logs", "--tail", "20", container], engine.environ)
            raise DevstackError(
                f"{container} is not healthy after {HEALTHY_S} s:\n{logs.stdout}{logs.stderr}"
            )
        time.sleep(1)


def app(engine: Engine, name: str = "containers") -> str:
    """The id of the app of this name, made where it is not there."""
    manage = ("exec", engine.containers("web")[0], "python", "manage.py", "app")
    listed = json.loads(engine.run(*manage, "list", "--json"))["apps"]
    for each in listed:
        if each["name"] == name:
            return str(each["id"])
    return str(json.loads(engine.run(*manage, "create", name, "--json"))["id"])


def request(method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of the answer through HAProxy; status 0 where there was no answer."""
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    asked = urllib.request.Request(  # noqa: S310 - API is https
        f"{API}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(asked, context=context, timeout=30) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, ValueError) as error:
        return 0, str(error)


def one_update(engine: Engine, say: Callable[[str], None]) -> None:
    """A new record's update is in PostgreSQL afterwards. Raises DevstackError after APPLIED_S."""
    app_id, record, tags = app(engine), uuid.uuid4(), {"level": secrets.token_hex(4)}
    say(f"sending one update to {API}/players/{record}")
    body = {"app_id": app_id, "device_type": 1, "tags": tags}
    # Web reads its apps about once a second: a new one is unknown before.
    _until(lambda: request("PUT", f"/players/{record}", body), lambda found: found[0] == 200)
    read = f"/players/{record}?app_id={app_id}"
    _until(lambda: request("GET", read), lambda found: found[0] == 200 and found[1]["tags"] == tags)
    row = psql(engine, f"SELECT tags FROM record WHERE id = '{record}'")
    say(f"its row in PostgreSQL: {row}")


def psql(engine: Engine, statement: str) -> str:
    """What PostgreSQL answers the owner of the tables."""
    container = engine.containers("postgres")[0]
    return engine.run("exec", container, "psql", "-U", "notify", "-Atc", statement).strip()


def _until(ask: Callable[[], Any], right: Callable[[Any], bool]) -> None:
    deadline = time.monotonic() + APPLIED_S
    while not right(found := ask()):
        if time.monotonic() > deadline:
            raise DevstackError(f"not after {APPLIED_S} s; the last answer: {found}")
        time.sleep(0.5)


def down(engine: Engine, *, reset: bool) -> None:
    """Nothing runs afterwards; the data stays, unless `reset`."""
    engine.service("down", *(["--volumes"] if reset else []))


def _run(argv: Sequence[str], environ: Mapping[str, str], timeout_s: float | None = None) -> str:
    done = _ended(argv, environ, timeout_s)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise DevstackError(f"{' '.join(argv[:6])} ... ended with {done.returncode}:\n{said}")
    return done.stdout


def _succeeds(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    return bool(shutil.which(argv[0])) and _ended(argv, environ).returncode == 0


def _ended(
    argv: Sequence[str], environ: Mapping[str, str], timeout_s: float | None = None
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            argv, env=dict(environ), capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"no end after {timeout_s} s")


def main(argv: Sequence[str] | None = None) -> int:
    """0 if the stack runs and an update went through it."""
    parser = argparse.ArgumentParser(prog="containers", description=__doc__)
    parser.add_argument("--down", action="store_true", help="stop it; the data stays")
    parser.add_argument("--reset", action="store_true", help="stop it and remove its data")
    parser.add_argument("--standins", action="store_true", help="pull nothing: build stand-ins")
    options = parser.parse_args(argv)

    def say(text: str) -> None:
        print(f"containers: {text}", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        try:
            engine = find(os.environ, Path(scratch))
            if options.down or options.reset:
                down(engine, reset=options.reset)
                return 0
            fill_in(say)
            left_out = prepare(engine, pulls=not options.standins, say=say)
            up(engine, left_out=left_out, say=say)
            one_update(engine, say)
        except DevstackError as error:
            print(f"containers: {error}", file=sys.stderr)
            return 1
    say(f"it runs: {API}, the operators' port at https://localhost:8081")
    return 0


if __name__ == "__main__":
    sys.exit(main())
