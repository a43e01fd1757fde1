"""The secrets that each kind of process needs. Without them, or with those for development, none starts."""

from collections.abc import Callable, Mapping
from typing import Final

from django.conf import settings

from notify import env

#: How a secret for development begins.
INSECURE: Final = "insecure-"
#: By process, the variables that have its secrets, or a server's address and password.
USED: Final[Mapping[str, tuple[str, ...]]] = {
    "web": ("NOTIFY_SECRET_KEY", "NOTIFY_KEY_PEPPER", "DATABASE_URL", "REDIS_URL"),
    "bridge": ("DATABASE_URL", "REDIS_URL"),
    "worker": ("DATABASE_URL", "REDIS_URL"),
    "watch": ("DATABASE_URL", "REDIS_URL"),
    "flower": ("REDIS_URL",),
    "an app key": ("NOTIFY_KEY_PEPPER",),
}
_HELD: Final[Mapping[str, Callable[[], bool]]] = {
    "NOTIFY_SECRET_KEY": lambda: _is_secret(settings.SECRET_KEY),
    "NOTIFY_KEY_PEPPER": lambda: _is_secret(settings.NOTIFY_KEY_PEPPER),
    "DATABASE_URL": lambda: env.is_given("DATABASE_URL"),
    "REDIS_URL": lambda: env.is_given("REDIS_URL"),
}


def missing(process: str) -> list[str]:
    """The variables of USED that are not set or have a value for development."""
    return [name for name in USED[process] if not _HELD[name]()]


def problem(process: str) -> str:
    """Why the process must not start, and what to set. Empty if it may start, or in development."""
    names = [] if settings.DEBUG else missing(process)
    if not names:
        return ""
    return (
        f"{process} needs {', '.join(names)}: not set, or set to a value for development. Set it, or set "
        f"{names[0]}_FILE to a file that contains it (docs/security.md). For development only, "
        "NOTIFY_DEBUG=1 lets it start without."
    )


def _is_secret(value: str) -> bool:
    return bool(value) and not value.startswith(INSECURE)
