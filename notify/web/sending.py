"""Sends updates to Kafka: the last step of each view that accepts updates."""

from collections.abc import Sequence

from django.conf import settings

from notify.domain.records.update import DELETE, Update
from notify.kafka.producer import KafkaUnavailable, Overloaded
from notify.web.access.apps_cache import KnownApp
from notify.web.http import answers
from notify.web.http.endpoint import Call

#: The seconds that a full buffer takes to drain, if Kafka accepts anything at all.
OVERLOADED_RETRY_AFTER_S = 1


def send(call: Call, app: KnownApp, made: Sequence[tuple[Update, bytes]]) -> None:
    """Sends the encoded updates of the app in this order, waits until Kafka has acked all, and logs each.
    Raises Refused 503."""
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
    except KafkaUnavailable as error:
        _note_deletions(call, app, made)  # Kafka may have them
        call.services.unavailable("kafka_away")
        raise answers.busy(str(error), retry_after_s=settings.NOTIFY_RETRY_AFTER_S) from None
    _note_deletions(call, app, made)
    if call.services.ack_log is not None:
        call.services.ack_log.acked(call.trace.id, [update for update, _ in made], acked)


def _note_deletions(call: Call, app: KnownApp, made: Sequence[tuple[Update, bytes]]) -> None:
    if deleted := [update.record for update, _ in made if update.op == DELETE]:
        call.services.deleted.note(app.id, deleted)
