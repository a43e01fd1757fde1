"""System checks: what must be true of the settings before a process starts."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from notify.domain.lanes import LANES_MAX


@register(Tags.security, deploy=True)
def secrets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Production has secrets of its own."""
    found: list[CheckMessage] = []
    if settings.SECRET_KEY.startswith("insecure-"):
        found.append(
            Error(
                "The secret key is the development one.",
                hint="Set NOTIFY_SECRET_KEY.",
                id="notify.E001",
            )
        )
    if not settings.NOTIFY_KEY_PEPPER:
        found.append(
            Error(
                "App keys are hashed without a pepper.",
                hint="Set NOTIFY_KEY_PEPPER.",
                id="notify.E002",
            )
        )
    return found


@register()
def limits(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The limits fit together."""
    found: list[CheckMessage] = []
    if settings.NOTIFY_LANES > LANES_MAX:
        found.append(
            Error(
                f"NOTIFY_LANES is over {LANES_MAX}, the queues that workers listen on.",
                hint=f"Set it to at most {LANES_MAX}.",
                id="notify.E003",
            )
        )
    if settings.NOTIFY_CHUNK_MESSAGES > settings.NOTIFY_WINDOW_OFFSETS:
        found.append(
            Error(
                "A chunk is larger than the window.",
                hint="Set NOTIFY_CHUNK_MESSAGES to at most NOTIFY_WINDOW_OFFSETS.",
                id="notify.E004",
            )
        )
    return found
