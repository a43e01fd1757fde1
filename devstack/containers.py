"""`make containers`: runs docker/compose.yaml with Docker or podman, and sends one update through it.

It pulls the images. If that fails, it builds stand-ins from Debian's packages (docker/standins) and names
the services that it leaves out. You can run it again at any time; data is kept until `--reset`.
"""

import argparse
import dataclasses
import json
import os
import re
import resource
import secrets
import shutil
import socket
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
from typing import Any, Final, TypeVar

import yaml

from devstack import ROOT, apache_kafka
from devstack.services import DevstackError

DOCKER: Final = ROOT / "docker"
COMPOSE: Final = DOCKER / "compose.yaml"
#: Adds two brokers to COMPOSE.
THREE_BROKERS: Final = DOCKER / "compose.three-brokers.yaml"
ENV: Final = DOCKER / ".env"
CERTIFICATE: Final = DOCKER / "tls" / "site.pem"
STANDINS: Final = DOCKER / "standins"
#: The Debian release of the stand-ins: it has the same Python as docker/Dockerfile.
DEBIAN: Final = "trixie"
BASE: Final = f"localhost/notify-standin-debian:{DEBIAN}"
PROJECT: Final = "notify"
APP: Final = "containers"
API: Final = "https://localhost:8080"
#: The services of `--trial`: those that an update passes, and our other processes.
TRIAL: Final = (
    *("kafka", "postgres", "redis", "setup", "web", "web-2", "bridge", "worker"),
    *("watch", "flower", "haproxy"),
)
TRIAL_PROJECT: Final = "notify-trial"
#: The ports of this machine that they publish.
TRIAL_PORTS: Final = (8080, 8081, 5555)
#: Services with one of these images start first.
STORES: Final = ("kafka", "postgres", "redis")
#: How long a container may take to be healthy, an update to be in PostgreSQL, and an image to be pulled.
HEALTHY_S: Final = 180
APPLIED_S: Final = 60
PULL_S: Final = 600
#: How long a command in a container is repeated while its error says that it did not reach a service.
REPEATED_S: Final = 60
_UNREACHED: Final = re.compile("does not answer|resolve|name resolution|Name or service not known")
#: Values for this machine, in place of those in env.example.
LOCAL: Final = {
    "NOTIFY_ALLOWED_HOSTS": "",
    "NOTIFY_CSRF_TRUSTED_ORIGINS": "https://localhost:8081",
    "NOTIFY_ADMIN_URL": "https://localhost:8081",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Engine:
    """Docker or podman. `binary` manages containers and images, `compose` manages the services of `files`."""

    binary: str
    compose: tuple[str, ...]
    environ: Mapping[str, str]
    files: tuple[Path, ...] = (COMPOSE,)
    #: Names the containers, volumes and network. Stacks of different projects share none of them.
    project: str = PROJECT

    def run(self, *argv: str, timeout_s: float | None = None) -> str:
        """Runs a command of the engine and returns its output. Raises DevstackError if it fails."""
        return _run([self.binary, *argv], self.environ, timeout_s)

    def succeeds(self, *argv: str) -> bool:
        """Whether a command of the engine exits with 0."""
        return _ended([self.binary, *argv], self.environ).returncode == 0

    @property
    def compose_command(self) -> tuple[str, ...]:
        """The words before a command of compose. They name the project and the files."""
        files = (word for file in self.files for word in ("-f", str(file)))
        return (*self.compose, "-p", self.project, *files)

    def service(self, *argv: str) -> str:
        """Like `run`, with compose."""
        return _run([*self.compose_command, *argv], self.environ)

    def containers(self, service: str) -> list[str]:
        """The names of the service's containers, running or not."""
        labels = {"project": self.project, "service": service}
        filters = [
            word
            for label, value in labels.items()
            for word in ("--filter", f"label=com.docker.compose.{label}={value}")
        ]
        found = self.run("ps", "--all", "--format", "{{.Names}}", *filters)
        return sorted(found.split())

    def is_healthy(self, container: str) -> bool:
        """Whether its health check passes. Without systemd, podman runs a health check only on request."""
        if self.binary == "podman":
            return self.succeeds("healthcheck", "run", container)
        status = self.run("inspect", "--format", "{{.State.Health.Status}}", container)
        return status.strip() == "healthy"


def find(environ: Mapping[str, str], scratch: Path) -> Engine:
    """Docker if its daemon answers, else podman. Raises DevstackError if neither works."""
    if _succeeds(["docker", "info"], environ) and _succeeds(
        ["docker", "compose", "version"], environ
    ):
        return Engine("docker", ("docker", "compose"), environ)
    path = f"{sys.prefix}/bin{os.pathsep}{environ.get('PATH', '')}"
    compose = shutil.which("podman-compose", path=path)
    if not compose or not shutil.which("podman"):
        raise DevstackError(
            "no Docker daemon answers, or Docker has no compose plugin. Start Docker, or install podman "
            "(Debian: apt install podman runc netavark aardvark-dns catatonit iptables) and "
            "requirements/dev.txt, which has podman-compose"
        )
    config = scratch / "containers.conf"
    config.write_text(podman_config())
    return Engine("podman", (compose,), {**environ, "CONTAINERS_CONF": str(config)})


def podman_config() -> str:
    """podman's configuration for this machine: its defaults may be refused in a sandbox, or need systemd."""
    limits = []
    for name, kind in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(kind)[1]
        if name == "nproc":
            # A container's limit must not be above the one that podman sets for itself.
            hard = min(hard % 2**63, int(Path("/proc/sys/kernel/pid_max").read_text()))
        if hard != resource.RLIM_INFINITY:
            limits.append(f'"{name}={hard}:{hard}"')
    lines = ["[containers]", f"default_ulimits = [{', '.join(limits)}]"]
    engine = []
    if not Path("/run/systemd/system").exists():
        lines.append('log_driver = "k8s-file"')
        engine += ['events_logger = "file"', 'cgroup_manager = "cgroupfs"']
    # crun, podman's default, does not run on machines with cgroups version 1.
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists() and shutil.which("runc"):
        engine.append('runtime = "runc"')
    return "\n".join([*lines, "[engine]", *engine, ""])


def services(files: Sequence[Path] = (COMPOSE,)) -> dict[str, dict[str, Any]]:
    """The services of the compose files, in their order. Keys of a later file replace those of an earlier."""
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        for name, service in yaml.safe_load(file.read_text())["services"].items():
            found[name] = found.get(name, {}) | service
    return found


def images() -> dict[str, str]:
    """The images that the stack needs, with their tags; and for each the build stage of its stand-in."""
    dockerfile = (DOCKER / "Dockerfile").read_text()
    named = {*re.findall(r"^FROM (\S+:\S+)", dockerfile, re.MULTILINE)}
    named |= {each["image"] for each in services().values() if ":" in each["image"]}
    return {name: _stage(name) for name in sorted(named)}


def _stage(image: str) -> str:
    return image.rpartition("/")[2].partition(":")[0]


def qualified(image: str) -> str:
    """The image's name with the registry that Docker assumes."""
    return f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"


def missing(engine: Engine) -> set[str]:
    """The images that the stack needs and this machine does not have."""
    return {name for name in images() if not engine.succeeds("image", "inspect", qualified(name))}


def prepare(
    engine: Engine, *, pulls: bool, say: Callable[[str], None], without: Iterable[str] = ()
) -> set[str]:
    """Pulls or builds every image. Returns those that could be neither pulled nor replaced by a stand-in.

    Does nothing for the images of `without`, and returns none of them.
    """
    stage_of = images()
    wanted = {name: stage_of[name] for name in sorted(missing(engine) - set(without))}
    for name in list(wanted):
        if not pulls:
            break
        say(f"pulling {name}")
        try:
            engine.run("pull", "--quiet", qualified(name), timeout_s=PULL_S)
        except DevstackError as error:
            say(f"cannot pull it: {str(error).splitlines()[-1]}")
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
    _base(engine, say)
    jars = apache_kafka.jars(engine.environ)
    for name, stage in wanted.items():
        say(f"building a stand-in for {name}")
        engine.run(
            *("build", "--quiet", "--network", "host", "--build-arg", f"BASE={BASE}"),
            *("--build-context", f"jars={jars}", "--target", stage, "--tag", qualified(name)),
            str(STANDINS),
        )


def _base(engine: Engine, say: Callable[[str], None]) -> None:
    if not engine.succeeds("image", "inspect", BASE):
        say(f"creating a minimal Debian {DEBIAN} for the stand-ins")
        _debian(engine)


def _debian(engine: Engine) -> None:
    """Creates BASE with debootstrap, from this machine's own mirror and with its trusted certificates."""
    if not shutil.which("debootstrap"):
        raise DevstackError(
            "debootstrap is missing, which makes the stand-ins for images: install it"
        )
    if os.geteuid():
        raise DevstackError(
            "no image can be pulled, and debootstrap, which makes stand-ins, needs root: run this as root"
        )
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
    """Creates docker/.env with new secrets, and a certificate for HAProxy, if they are missing."""
    if not ENV.exists():
        say(f"writing {ENV.relative_to(ROOT)} with new secrets")
        ENV.touch(mode=0o600)
        ENV.write_text(filled((DOCKER / "env.example").read_text()))
    if not CERTIFICATE.exists():
        say(f"writing {CERTIFICATE.relative_to(ROOT)}: a self-signed certificate for localhost")
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        with tempfile.TemporaryDirectory() as folder:
            key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
            argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
            argv += ["-subj", "/CN=localhost", "-addext", names]
            _run([*argv, "-keyout", str(key), "-out", str(certificate)], os.environ)
            CERTIFICATE.write_text(certificate.read_text() + key.read_text())
        # HAProxy's user in the container must be able to read it. It is good for nothing else.
        CERTIFICATE.chmod(0o644)


def filled(example: str) -> str:
    """The example file with a new value for each required secret, and the values of LOCAL."""

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
    """Starts every service and waits until it is healthy. Skips services with an image in `left_out`."""
    out = set(left_out)
    images_of = {name: service["image"] for name, service in services(engine.files).items()}
    having = {name: image for name, image in images_of.items() if image not in out}
    if without := [name for name in images_of if name not in having]:
        say(f"left out, because there is no image: {', '.join(without)}")
    say("building the image")
    engine.service("build", "setup")
    stores = [name for name, image in having.items() if _stage(image) in STORES]
    rest = [name for name in having if name not in (*stores, "setup", "haproxy")]
    _start(engine, stores, say)
    say("creating tables, roles and the topic")
    repeated(lambda: engine.service("run", "--rm", "--no-deps", "-T", "setup"), say)
    _start(engine, rest, say)
    _start(engine, ["haproxy"], say)


def _start(engine: Engine, names: Sequence[str], say: Callable[[str], None]) -> None:
    say(f"starting {', '.join(names)}")
    engine.service("up", "--detach", "--no-deps", *names)
    for name in names:
        for container in engine.containers(name):
            wait_healthy(engine, container)


def wait_healthy(engine: Engine, container: str) -> None:
    """Waits until the container is healthy. After HEALTHY_S raises DevstackError with the end of its log."""
    deadline = time.monotonic() + HEALTHY_S
    while not engine.is_healthy(container):
        if time.monotonic() > deadline:
            logs = _ended([engine.binary, "logs", "--tail", "20", container], engine.environ)
            raise DevstackError(
                f"{container} is not healthy after {HEALTHY_S} s:\n{logs.stdout}{logs.stderr}"
            )
        time.sleep(1)


def repeated(command: Callable[[], T], say: Callable[[str], None]) -> T:
    """What a command in a container returns. Repeats it for REPEATED_S while it finds no service.

    podman's name server before aardvark-dns 1.11 loses questions whenever a container starts or stops, so
    that names are not found though their services run: for up to 20 s with 1.4, the version of Debian 12.
    """
    deadline = time.monotonic() + REPEATED_S
    while True:
        try:
            return command()
        except DevstackError as error:
            if time.monotonic() > deadline or not _UNREACHED.search(str(error)):
                raise
            say(f"trying again: {error}")
        time.sleep(1)


def app(engine: Engine) -> str:
    """The id of the app `containers`. Creates the app if it is missing."""
    manage = ("exec", engine.containers("web")[0], "python", "manage.py", "app")
    listed = json.loads(engine.run(*manage, "list", "--json"))["apps"]
    for each in listed:
        if each["name"] == APP:
            return str(each["id"])
    return str(json.loads(engine.run(*manage, "create", APP, "--json"))["id"])


def request(method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Sends a request through HAProxy. Returns the answer's status and JSON; status 0 without an answer."""
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
    """Sends an update of a new record and waits until it is in PostgreSQL, at most APPLIED_S."""
    app_id = repeated(lambda: app(engine), say)
    record, tags = uuid.uuid4(), {"level": secrets.token_hex(4)}
    say(f"sending one update to {API}/players/{record}")
    body = {"app_id": app_id, "device_type": 1, "tags": tags}
    # Web reads the apps about once a second, so it may not know a new one yet.
    _until(lambda: request("PUT", f"/players/{record}", body), lambda found: found[0] == 200)
    read = f"/players/{record}?app_id={app_id}"
    _until(lambda: request("GET", read), lambda found: found[0] == 200 and found[1]["tags"] == tags)
    row = psql(engine, f"SELECT tags FROM record WHERE id = '{record}'")
    say(f"its row in PostgreSQL: {row}")


def psql(engine: Engine, statement: str) -> str:
    """Runs a statement as the owner of the tables and returns the output."""
    container = engine.containers("postgres")[0]
    return engine.run("exec", container, "psql", "-U", "notify", "-Atc", statement).strip()


def _until(ask: Callable[[], Any], right: Callable[[Any], bool]) -> None:
    deadline = time.monotonic() + APPLIED_S
    while not right(found := ask()):
        if time.monotonic() > deadline:
            raise DevstackError(
                f"the update is not applied after {APPLIED_S} s; the last answer: {found}"
            )
        time.sleep(0.5)


def prepare_trial(engine: Engine, say: Callable[[str], None]) -> Engine:
    """The engine for `trial`, with its images. Raises DevstackError if this machine cannot run it.

    Removes what a trial that was killed has left.
    """
    of_trial = dataclasses.replace(engine, project=TRIAL_PROJECT)
    label = f"label=com.docker.compose.project={TRIAL_PROJECT}"
    if engine.run("ps", "--all", "--quiet", "--filter", label).strip():
        down(of_trial, reset=True)
    for port in TRIAL_PORTS:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", port))
            except OSError as error:
                raise DevstackError(f"port {port} of 127.0.0.1 is not free: {error}") from None
    if engine.binary == "podman":
        # podman answers also where the kernel lets it start no container, or gives it no network.
        _base(engine, say)
        engine.run("run", "--rm", "--publish", f"127.0.0.1:{TRIAL_PORTS[0]}:80", BASE, "true")
    fill_in(say)
    if lacking := prepare(engine, pulls=True, say=say, without=_beside_trial()):
        raise DevstackError(f"there is no image {', '.join(sorted(lacking))}")
    return of_trial


def trial(engine: Engine, say: Callable[[str], None]) -> None:
    """Starts the services of TRIAL as a stack of its own, sends one update, and removes the stack."""
    try:
        up(engine, left_out=_beside_trial(), say=say)
        one_update(engine, say)
    finally:
        down(engine, reset=True)


def _beside_trial() -> set[str]:
    """The images of the services that a trial leaves out."""
    return {service["image"] for name, service in services().items() if name not in TRIAL}


def down(engine: Engine, *, reset: bool) -> None:
    """Stops the stack. Keeps its data, unless `reset`."""
    engine.service("down", *(["--volumes"] if reset else []))


def _run(argv: Sequence[str], environ: Mapping[str, str], timeout_s: float | None = None) -> str:
    done = _ended(argv, environ, timeout_s)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise DevstackError(
            f"{' '.join(argv[:6])} ... failed with exit code {done.returncode}:\n{said}"
        )
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
        return subprocess.CompletedProcess(argv, 124, "", f"timed out after {timeout_s} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 if the stack runs and an update went through it."""
    parser = argparse.ArgumentParser(prog="containers", description=__doc__)
    parser.add_argument("--down", action="store_true", help="stop the stack; keep its data")
    parser.add_argument("--reset", action="store_true", help="stop the stack and delete its data")
    parser.add_argument("--standins", action="store_true", help="pull no images: build stand-ins")
    parser.add_argument(
        "--trial",
        action="store_true",
        help="start a part, send an update, remove it; or say why not",
    )
    options = parser.parse_args(argv)

    def say(text: str) -> None:
        print(f"containers: {text}", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        try:
            engine = find(os.environ, Path(scratch))
            if options.trial:
                engine = prepare_trial(engine, say)
        except DevstackError as error:
            if not options.trial:
                print(f"containers: {error}", file=sys.stderr)
                return 1
            say(f"SKIPPED: {error}")
            return 0
        try:
            if options.down or options.reset:
                down(engine, reset=options.reset)
                return 0
            if options.trial:
                trial(engine, say)
                say("the trial is over, and its stack is removed")
                return 0
            fill_in(say)
            left_out = prepare(engine, pulls=not options.standins, say=say)
            up(engine, left_out=left_out, say=say)
            one_update(engine, say)
        except DevstackError as error:
            print(f"containers: {error}", file=sys.stderr)
            return 1
    say(f"the stack runs: API at {API}, operators' port at https://localhost:8081")
    return 0


if __name__ == "__main__":
    sys.exit(main())
