"""Health for orchestrators and load balancers, each of a different question.

Live: does the process answer at all. Ready: can this process accept updates; PostgreSQL need not be
there for it. Pipeline: do accepted updates become rows; it says nothing against accepting more.
"""

import time

from django.http import HttpResponse

from notify.producer import Unavailable
from notify.web.answers import Refused, ok
from notify.web.apps_cache import NotKnownYet
from notify.web.endpoint import Call
from notify.web.reads import ReadsAway

#: Seconds after which a probe may look again.
_AGAIN = {"Retry-After": "1"}


def live(call: Call) -> HttpResponse:
    """GET /healthz/live: 200."""
    return ok({"status": "ok"})


def ready(call: Call) -> HttpResponse:
    """GET /healthz/ready: 200 if the apps are known and Kafka answers this process, else 503."""
    try:
        known = call.services.apps.known()
        call.services.producer.check(partitions=known.partitions)
    except (NotKnownYet, Unavailable) as error:
        raise Refused(503, str(error), headers=_AGAIN) from None
    return ok({"status": "ok"})


def pipeline(call: Call) -> HttpResponse:
    """GET /healthz/pipeline: 200 if every stream ticks and its lanes land, else 503 saying what
    does not. A lane that stands still is noticed at the second look."""
    try:
        streams = call.services.reads.streams()
    except ReadsAway as error:
        raise Refused(503, str(error), headers=_AGAIN) from None
    problems = call.services.pipeline.problems(streams, time.monotonic())
    if problems:
        raise Refused(503, *problems, headers=_AGAIN)
    return ok({"status": "ok", "partitions": len(streams)})
