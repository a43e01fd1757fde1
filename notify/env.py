"""Reads settings from the environment; nothing else reads it. Errors name the variable and valid values."""

import ipaddress
import logging
import os
import re
from pathlib import Path
from typing import Final

from django.core.exceptions import ImproperlyConfigured

_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("", "0", "false", "no", "off")


def text(name: str, default: str) -> str:
    """The text of the variable; `default` if it is unset."""
    return os.environ.get(name, default)


def secret(name: str, default: str) -> str:
    """As `text`, an empty one being unset; or what the file named by the variable NAME_FILE holds,
    without its last line end.

    Raises ImproperlyConfigured, never with the secret in it, where both are set, or the file cannot
    be read.
    """
    path = os.environ.get(f"{name}_FILE")
    if not path:
        return text(name, default) or default
    if os.environ.get(name):
        raise ImproperlyConfigured(f"{name} and {name}_FILE are both set: keep one of them")
    try:
        return Path(path).read_text().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(
            f"{name}_FILE={path}: it cannot be read as text ({type(error).__name__}): mount it, or let "
            "this account read it"
        ) from None


def password(name: str) -> str:
    """Like `secret`, but raises ImproperlyConfigured for an empty one too."""
    if not (found := secret(name, "")):
        raise ImproperlyConfigured(f"{name} is not set: set it, or {name}_FILE")
    return found


def is_given(name: str) -> bool:
    """Whether the variable, or NAME_FILE, is set to anything."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def texts(name: str, default: str) -> list[str]:
    """The items of a comma-separated list, without empty ones."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def header(name: str, default: str) -> str:
    """The name of an HTTP header. Raises ImproperlyConfigured for one that a client could write too:
    WSGI takes `_` in a name for `-`."""
    value = text(name, default)
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ImproperlyConfigured(
            f"{name}={value!r}: set it to the name of a header, of letters, digits and hyphens alone"
        )
    return value


def address(name: str, default: str) -> str:
    """An IP address. Raises ImproperlyConfigured for anything else, names of hosts among them."""
    raw = text(name, default)
    try:
        return str(ipaddress.ip_address(raw))
    except ValueError:
        raise ImproperlyConfigured(
            f"{name}={raw!r}: set it to an IP address of this host, such as 127.0.0.1, or to 0.0.0.0 or :: "
            "for all addresses"
        ) from None


def log_level(name: str, default: str) -> str:
    """The name of a level of `logging`, in capitals. Raises ImproperlyConfigured for anything else."""
    raw = text(name, default)
    level = logging.getLevelNamesMapping().get(raw.upper())
    if not level:
        raise ImproperlyConfigured(
            f"{name}={raw!r}: set it to DEBUG, INFO, WARNING, ERROR or CRITICAL"
        )
    return logging.getLevelName(level)


def integer(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    """A whole number from `least` to `most`, None being no end. Raises ImproperlyConfigured for
    anything else."""
    raw = text(name, str(default))
    try:
        value = int(raw)
    except ValueError:
        value = least - 1
    if value < least or (most is not None and value > most):
        wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ImproperlyConfigured(f"{name}={raw!r}: set it to a whole number {wanted}")
    return value


def flag(name: str, *, default: bool) -> bool:
    """1/true/yes/on or 0/false/no/off. Raises ImproperlyConfigured for anything else."""
    raw = text(name, "1" if default else "0").lower()
    if raw not in _TRUE + _FALSE:
        raise ImproperlyConfigured(f"{name}={raw!r}: set it to 1 or 0")
    return raw in _TRUE
