"""The wheel has all of the product and nothing else, and runs with the packages of base.txt alone.

Nothing here asks the network: the build backend is one of the locked packages.
"""

import os
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devstack import ROOT
from devstack.install import pinned
from notify.celery import APPLY, ISOLATE

PACKAGES: Final = ("notify", "ingest", "workers")
#: Imports every module, and so reads every SQL file; prints the project's migrations and Celery's tasks.
FINDS: Final = """
from importlib import import_module
from pkgutil import walk_packages
import notify.wsgi, ingest, workers
from django.db.migrations.loader import MigrationLoader
from django.template.loader import get_template
for package in (notify, ingest, workers):
    for module in walk_packages(package.__path__, f"{package.__name__}."):
        if module.name not in ("notify.telemetry.spans", "notify.kafka.librdkafka"):  # need extras
            import_module(module.name)
for template in ("admin/notify/hot.html", "unfold/helpers/welcomemsg.html"):
    get_template(template)
print(*(name for app, name in MigrationLoader(None).disk_migrations if app == "notify"))
print(*(name for name in notify.celery.app.tasks if not name.startswith("celery.")))
"""


def _run(*argv: str | Path, cwd: Path, **env: str) -> str:
    """What it prints. In an environment of its own, so that nothing of the checkout is found."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "NOTIFY_DEBUG": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make wheel` does."""
    directory = tmp_path_factory.mktemp("wheel")
    arguments = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet")
    pip = (sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check")
    _run(*pip, *arguments, "--wheel-dir", directory, ROOT, cwd=directory)
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtualenv with the wheel, and of all installed packages only those of base.txt."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory, with_pip=False)
    (packages,) = directory.glob("lib/*/site-packages")
    for name in pinned((ROOT / "requirements" / "base.txt").read_text()):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform or Python
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    into = ("--python", directory / "bin" / "python", "install", "--no-deps", "--no-index")
    _run(*pip, *into, wheel, cwd=directory)
    return directory


def test_the_wheel_has_every_file_of_the_product_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*"))
    assert names == {
        str(file.relative_to(ROOT))
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_wheel_asks_for_what_the_runtimes_lock_has(environment: Path) -> None:
    (info,) = environment.glob("lib/*/site-packages/notify-*.dist-info")
    asked = map(Requirement, metadata.Distribution.at(info).requires or ())
    names = {canonicalize_name(each.name) for each in asked if each.marker is None}
    assert names
    assert names <= pinned((ROOT / "requirements" / "base.txt").read_text())


def test_the_command_lists_the_processes_and_the_operators_commands(environment: Path) -> None:
    shown = _run(environment / "bin" / "notify", "--help", cwd=environment)
    for command in ("bridge", "watch", "status", "migrate", "topic", "app"):
        assert f"    {command}\n" in shown


def test_the_installed_project_has_no_issues(environment: Path) -> None:
    shown = _run(environment / "bin" / "notify", "check", cwd=environment)
    assert "System check identified no issues" in shown


def test_every_module_imports_and_finds_its_files(environment: Path) -> None:
    python = (environment / "bin" / "python", "-P", "-c", FINDS)
    migrations, tasks = _run(*python, cwd=environment).splitlines()
    shipped = (ROOT / "notify" / "migrations").glob("[0-9]*.py")
    assert set(migrations.split()) == {file.stem for file in shipped}
    assert set(tasks.split()) == {APPLY, ISOLATE}


def test_the_installed_package_finds_its_static_files(environment: Path) -> None:
    command = (environment / "bin" / "notify", "findstatic", "--first", "--verbosity", "0")
    shown = _run(*command, "notify/admin.css", cwd=environment)
    assert Path(shown.strip()).is_relative_to(environment)
    _run(*command, "unfold/css/styles.css", cwd=environment)
