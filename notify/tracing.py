"""Whether spans are made (NOTIFY_OTEL): where not, nothing of OpenTelemetry is imported by us."""

from importlib import import_module
from typing import Final

from django.core.exceptions import ImproperlyConfigured

_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def checked(*, is_on: bool) -> bool:
    """`is_on`. Raises ImproperlyConfigured where it is and the libraries are missing."""
    for name in _NEEDED if is_on else ():
        try:
            import_module(name)
        except ImportError as error:
            raise ImproperlyConfigured(
                f"NOTIFY_OTEL=1 needs OpenTelemetry ({error}): install the extra, pip install "
                "'notify[otel]', or set NOTIFY_OTEL=0"
            ) from None
    return is_on
