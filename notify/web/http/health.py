"""Health checks for orchestrators and load balancers.

Live: whether the process answers at all. Ready: whether this process can accept updates, for which
PostgreSQL need not answer. Pipeline: whether accepted updates are applied; if not, web still accepts more.
"""

from django.http import HttpResponse

from notify.kafka.producer import KafkaUnavailable
from notify.monitoring.partition_state import StateBounds
from notify.web.access.apps_cache import NotKnownYet
from notify.web.http.answer_bodies import Status
from notify.web.http.answers import Refused, ok
from notify.web.http.endpoint import Call
from notify.web.http.pipeline import problems
from notify.web.reads import ReadsAway

#: The seconds until a probe may ask again.
_AGAIN = {"Retry-After": "1"}


def live(call: Call) -> HttpResponse:
    """GET /healthz/live: 200."""
    return ok(Status("ok"))


def ready(call: Call) -> HttpResponse:
    """GET /healthz/ready: 200 if the apps are known and Kafka answers this process, else 503."""
    try:
        known = call.services.apps.known()
        call.services.producer.check(partitions=known.partitions)
    except (NotKnownYet, KafkaUnavailable) as error:
        raise Refused(503, str(error), headers=_AGAIN) from None
    return ok(Status("ok"))


def pipeline(call: Call) -> HttpResponse:
    """GET /healthz/pipeline: 200 if every partition is read, decided and applied, else 503 saying what
    is not."""
    try:
        streams = call.services.reads.streams()
    except ReadsAway as error:
        raise Refused(503, str(error), headers=_AGAIN) from None
    wrong = problems(streams, StateBounds.of_settings())
    if wrong:
        raise Refused(503, *wrong, headers=_AGAIN)
    return ok(Status("ok", len(streams)))
