"""OpenTelemetry's spans, imported only where NOTIFY_OTEL is on.

They carry routes, statuses, partitions and offsets: no app, no record, no body. What is sampled and
where it goes is said by OpenTelemetry's own variables (OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_...).
"""

import os
from functools import cache
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_CONTEXT: Final = TraceContextTextMapPropagator()
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


@cache
def provider(process: str) -> TracerProvider:
    """This process's, made at first use (after a fork); what waits is sent when the process ends."""
    return tracer_provider(process)


def tracer_provider(process: str) -> TracerProvider:
    """A new one, with a thread. Raises ValueError for a variable that OpenTelemetry refuses."""
    name = os.environ.get("OTEL_SERVICE_NAME") or f"notify-{process}"
    new = TracerProvider(resource=Resource.create({"service.name": name}))
    new.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return new


class CallSpan:
    """A request to web, under the client's `given` traceparent, or a trace of its own.

    `traceparent` is the span itself as the parent of others.
    """

    def __init__(self, route: str, method: str, given: str | None) -> None:
        tracer = provider("web").get_tracer("notify")
        is_known = method in _METHODS  # another is a text of the client's, and goes nowhere
        self._span = tracer.start_span(
            f"{method if is_known else 'HTTP'} {route}",
            context=_under(given),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method if is_known else "_OTHER",
                "http.route": route,
            },
        )
        made = self._span.get_span_context()
        self.traceparent = (
            f"00-{made.trace_id:032x}-{made.span_id:016x}-{int(made.trace_flags):02x}"
        )

    def answered(self, status: int) -> None:
        """It was answered, and ends."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def tick(given: str, began_ns: int, ended_ns: int, attributes: dict[str, Any]) -> None:
    """What a bridge did with the message whose header was `given`, in nanoseconds since 1970."""
    tracer = provider("bridge").get_tracer("notify")
    span = tracer.start_span(
        "tick",
        context=_under(given),
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        start_time=began_ns,
    )
    span.end(ended_ns)


def _under(traceparent: str | None) -> Context | None:
    return None if traceparent is None else _CONTEXT.extract({"traceparent": traceparent})
