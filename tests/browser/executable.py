"""Where Chromium is on this machine."""

import os
import shutil
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
MISSING: Final = "no Chromium: set NOTIFY_CHROMIUM or install the package chromium"


def executable() -> str | None:
    """NOTIFY_CHROMIUM, or the first that is on PATH; None without one."""
    given = os.environ.get("NOTIFY_CHROMIUM")
    return shutil.which(given) if given else next(filter(None, map(shutil.which, NAMES)), None)


def arguments() -> list[str]:
    """What it must be started with: as root it has no sandbox."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []
