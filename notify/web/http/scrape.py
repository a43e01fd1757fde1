"""/metrics of the web processes."""

from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from notify.telemetry import metrics
from notify.web.http.endpoint import Call


def show(call: Call) -> HttpResponse:
    """GET /metrics, in Prometheus's text format. It is not for the public: keep it inside the cluster."""
    return HttpResponse(generate_latest(metrics.registry()), content_type=CONTENT_TYPE_LATEST)
