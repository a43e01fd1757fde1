"""The only reader of the environment. Each reader names the variable and what it must be."""

import os
from typing import Final

from django.core.exceptions import ImproperlyConfigured

_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("", "0", "false", "no", "off")


def text(name: str, default: str) -> str:
    """The variable's text, or `default` where it is unset."""
    return os.environ.get(name, default)


def texts(name: str, default: str) -> list[str]:
    """A comma-separated list; empty items are dropped."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def integer(name: str, default: int, *, least: int = 0) -> int:
    """A whole number of at least `least`. Raises ImproperlyConfigured for anything else."""
    raw = text(name, str(default))
    try:
        value = int(raw)
    except ValueError:
        value = least - 1
    if value < least:
        raise ImproperlyConfigured(f"{name}={raw!r}: set it to a whole number of at least {least}")
    return value


def flag(name: str, *, default: bool) -> bool:
    """1/true/yes/on or 0/false/no/off. Raises ImproperlyConfigured for anything else."""
    raw = text(name, "1" if default else "0").lower()
    if raw not in _TRUE + _FALSE:
        raise ImproperlyConfigured(f"{name}={raw!r}: set it to 1 or 0")
    return raw in _TRUE
