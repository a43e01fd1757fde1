"""The last step of a view that accepts updates: into Kafka, or a 503."""

from collections.abc import Sequence

from django.conf import settings

from notify.domain.update import DELETE, Update
from notify.producer import Overloaded, Unavailable
from notify.web import answers
from notify.web.apps_cache import KnownApp
from notify.web.endpoint import Call

#: Seconds until a full buffer has drained, if Kafka takes anything at all.
OVERLOADED_RETRY_AFTER_S = 1


def send(call: Call, app: KnownApp, made: Sequence[tuple[Update, bytes]]) -> None:
    """Returns once Kafka has acked all of the app's updates, encoded, in this order. Each is then
    logged. Raises Refused 503."""
    partitions = call.services.apps.known().partitions
    try:
        acked = call.services.producer.send(
            app.id,
            [value for _, value in made],
            partitions=partitions,
            traceparent=call.trace.traceparent,
        )
    except Overloaded as error:
        call.services.unavailable("overloaded")
        raise answers.busy(str(error), retry_after_s=OVERLOADED_RETRY_AFTER_S) from None
    except Unavailable as error:
        call.services.unavailable("kafka_away")
        raise answers.busy(str(error), retry_after_s=settings.NOTIFY_RETRY_AFTER_S) from None
    if any(update.op == DELETE for update, _ in made):
        call.services.deleted.note(app.id)
    if call.services.ack_log is not None:
        call.services.ack_log.acked(call.trace.id, [update for update, _ in made], acked)
