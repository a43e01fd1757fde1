"""Whether to make OpenTelemetry spans (NOTIFY_OTEL). If not, we import nothing of OpenTelemetry."""

import os
from importlib import import_module
from typing import Final

from django.core.exceptions import ImproperlyConfigured

_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def checked(*, is_on: bool) -> bool:
    """`is_on`, but for OTEL_SDK_DISABLED=true. Raises ImproperlyConfigured where the libraries are
    missing, or refuse a variable: here, not at each request."""
    if not is_on or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    try:
        for name in _NEEDED:
            import_module(name)
        import_module("notify.telemetry.spans").tracer_provider("check").shutdown()
    except ImportError as error:
        raise ImproperlyConfigured(
            f"NOTIFY_OTEL=1 needs OpenTelemetry ({error}): install requirements/otel.txt "
            "as docs/logs.md shows, or set NOTIFY_OTEL=0"
        ) from None
    except ValueError as error:
        raise ImproperlyConfigured(
            f"OpenTelemetry refuses a variable of its own ({error}): mend the OTEL_... that it "
            "is about, or set NOTIFY_OTEL=0"
        ) from None
    return True
