"""One update's trace, from real web and bridge processes over OTLP."""

import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from devstack import product
from tests.running import running

pytestmark = pytest.mark.timeout(900)
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """An OTLP/HTTP receiver; `spans` of one trace, by name."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self, trace: str) -> dict[str, tuple[str, Any]]:
        return {
            span.name: (
                next(
                    a.value.string_value
                    for a in group.resource.attributes
                    if a.key == "service.name"
                ),
                span,
            )
            for request in self.requests
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
            if span.trace_id.hex() == trace
        }


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.usefixtures("postgres", "redis_url", "kafka")
def test_from_the_call_to_the_tick(collector: Collector, tmp_path: Path) -> None:
    environ = {
        "NOTIFY_OTEL": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with running(tmp_path, f"o{uuid.uuid4().hex[:10]}", environ=environ) as run:
        web = product.start_web(run.stack)
        product.start_bridge(run.stack)
        product.start_worker(run.stack, "worker")
        product.wait_ready(run.stack, web, timeout_s=300)
        record = str(uuid.uuid4())
        body = json.dumps({"app_id": run.app.app_id, "tags": {"secret": "s3cret"}}).encode()
        asked = Request(
            f"{web}/api/v1/players/{record}",
            body,
            {
                "Authorization": f"Key {run.app.key}",
                "Content-Type": "application/json",
                "traceparent": f"00-{TRACE}-{PARENT}-01",
            },
            method="PUT",
        )
        urlopen(asked, timeout=180).close()
        run.wait("both spans", lambda: len(collector.spans(TRACE)) == 2)
        spans = collector.spans(TRACE)
        (from_bridge, tick) = spans.pop("tick")
        ((name, (from_web, call)),) = spans.items()
        assert name.startswith("PUT ")
        assert (from_web, from_bridge) == ("notify-web", "notify-bridge")
        assert call.parent_span_id.hex() == PARENT
        assert tick.parent_span_id == call.span_id
        assert call.start_time_unix_nano <= tick.end_time_unix_nano
        said = " ".join(str(each) for each in collector.requests)
        for hidden in ("s3cret", record, run.app.app_id, run.app.key):
            assert hidden not in said
        line = f'"trace_id": "{TRACE}"'
        run.wait("web logs it", lambda: line in run.stack.log("web").read_text())
